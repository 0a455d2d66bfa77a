"""Has the newest checkpoint of a log attested by others: cosigned by witnesses, and stamped by an authority of timestamps.

Neither is needed to sign or to seal. Whoever is down, slow or wrong is warned about once, and asked again about a later checkpoint.

    checkpoint.cosigned   the newest checkpoint that a witness cosigned, with the cosignatures
    checkpoint.stamped    the newest checkpoint that has a timestamp, as the log signed it
    checkpoint.tsr        its timestamp, for `openssl ts -verify`
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from vaultstream.errors import TimestampError, VaultStreamError, WitnessError
from vaultstream.proof.checkpoint import open_checkpoint
from vaultstream.proof.note import add_signatures
from vaultstream.sealing.attested import cosignature_of, timestamp_of
from vaultstream.sealing.folder import write_copy
from vaultstream.sealing.growth import Growth
from vaultstream.sealing.timestamp import TimestampAuthority
from vaultstream.sealing.witness import cosign, parse_witnesses
from vaultstream.store.attestations import (
    AttestationKind,
    AttestedCheckpoint,
    add_attestation,
    newest_attested,
    seen_by,
)
from vaultstream.store.logs import find_log

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self

    from vaultstream.proof.checkpoint import SignedCheckpoint
    from vaultstream.proof.note import NoteKey
    from vaultstream.sealing.witness import Witness
    from vaultstream.settings import Settings
    from vaultstream.store.database import Connection
    from vaultstream.store.logs import Log

log = logging.getLogger(__name__)

COSIGNED, STAMPED, STAMP = "checkpoint.cosigned", "checkpoint.stamped", "checkpoint.tsr"
ATTESTED = "attested"
"""The outcome of an offer that was met; the others are refusals."""
CountOffer = Callable[[AttestationKind, str], None]
"""Is called with the kind and the outcome of each offer."""


class Attestor:
    """Offers the checkpoints of one log to the witnesses and the authority of the settings.

    Args:
        origin: of the log.
        folder: where copies are written.
        witnesses: who cosigns.
        authority: who stamps; None: nobody.
        count: see `CountOffer`.
    """

    def __init__(
        self,
        origin: str,
        folder: Path,
        *,
        witnesses: Sequence[Witness] = (),
        authority: TimestampAuthority | None = None,
        count: CountOffer = lambda _kind, _outcome: None,
    ) -> None:
        self._origin = origin
        self._folder = folder
        self._witnesses = tuple(witnesses)
        self._authority = authority
        self._count = count
        self._warned: dict[str, str] = {}
        self._querying = asyncio.Lock()
        self._growth = Growth()

    @classmethod
    def of(cls, settings: Settings, origin: str, folder: Path, count: CountOffer) -> Self:
        """Returns one with the witnesses and the authority of the settings.

        Raises:
            UsageError: one of these settings can't be used.
            ProofError: the key of a witness can't be used.
        """
        return cls(
            origin,
            folder,
            witnesses=parse_witnesses(settings.witnesses or ""),
            authority=TimestampAuthority.of(settings),
            count=count,
        )

    @property
    def needed(self) -> bool:
        """Whether anybody is to be asked."""
        return bool(self._witnesses or self._authority)

    async def attest(self, connection: Connection, keys: Sequence[NoteKey]) -> bool:
        """Has the newest checkpoint attested by those who have not; returns whether all have. Writes the copies.

        What is wrong with one of them is logged, and raises nothing.

        Args:
            connection: to Postgres.
            keys: the seal keys that sign the log.

        Raises:
            ProofError: the checkpoint in Postgres is not one of the log's, or entries of the log are missing.
        """
        found = await find_log(connection, self._origin) if self.needed else None
        newest = await newest_attested(connection, found) if found is not None else None
        if found is None or newest is None:
            return True
        offers: list[Awaitable[bool]] = []
        waiting = [each for each in self._witnesses if cosignature_of(newest, each) is None]
        if waiting:
            signed = open_checkpoint(newest.note, keys, origin=self._origin)
            seen = [await seen_by(connection, found, each.key.vkey) for each in waiting]
            offers += [
                self._cosign(connection, found, newest, witness, signed=signed, seen=size)
                for witness, size in zip(waiting, seen, strict=True)
            ]
        if self._authority is not None and timestamp_of(newest, self._authority) is None:
            offers.append(self._stamp(connection, newest, self._authority))
        # All are asked at once, and each answer is stored when it comes: who is slow holds up only himself.
        answers = await asyncio.gather(*offers, return_exceptions=True)
        await self._copy(connection, found)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return all(answers)

    async def _cosign(
        self,
        connection: Connection,
        found: Log,
        newest: AttestedCheckpoint,
        witness: Witness,
        *,
        signed: SignedCheckpoint,
        seen: int,
    ) -> bool:
        kind, vkey = AttestationKind.COSIGNATURE, witness.key.vkey

        async def path(old: int) -> list[bytes]:
            async with self._querying:
                return await self._growth.path(connection, found, old, signed.checkpoint)

        try:
            line = await cosign(witness, signed, newest.note, path, seen=seen)
        except WitnessError as error:
            self._refused(kind, vkey, error.refusal, error)
            return False
        await self._store(connection, newest, kind, vkey, line.encode())
        return True

    async def _stamp(
        self, connection: Connection, newest: AttestedCheckpoint, authority: TimestampAuthority
    ) -> bool:
        kind, url = AttestationKind.TIMESTAMP, authority.address.url
        try:
            stamped = await authority.stamp(newest.note)
        except TimestampError as error:
            self._refused(kind, url, "failed", error)
            return False
        await self._store(connection, newest, kind, url, stamped.response)
        return True

    async def _store(
        self,
        connection: Connection,
        newest: AttestedCheckpoint,
        kind: AttestationKind,
        attester: str,
        value: bytes,
    ) -> None:
        async with self._querying:  # a connection does one thing at a time
            await add_attestation(connection, newest, kind, attester, value)
        self._attested(kind, attester)

    def _attested(self, kind: AttestationKind, attester: str) -> None:
        self._count(kind, ATTESTED)
        if self._warned.pop(attester, None) is not None:
            log.info("the checkpoint has a %s again", kind, extra={"attester": attester})

    def _refused(self, kind: AttestationKind, attester: str, outcome: str, error: VaultStreamError) -> None:
        self._count(kind, outcome)
        if self._warned.get(attester) != outcome:
            self._warned[attester] = outcome
            log.warning("the checkpoint has no %s: %s", kind, error.message, extra={"hint": error.hint})

    async def _copy(self, connection: Connection, found: Log) -> None:
        """Writes the newest checkpoints that are cosigned and stamped."""
        files: dict[str, bytes] = {}
        cosigned = await newest_attested(connection, found, AttestationKind.COSIGNATURE)
        if cosigned is not None:
            lines = [line for each in self._witnesses if (line := cosignature_of(cosigned, each))]
            if lines:
                files[COSIGNED] = add_signatures(cosigned.note, b"".join(lines).decode())
        stamped = await newest_attested(connection, found, AttestationKind.TIMESTAMP)
        if stamped is not None and self._authority and (stamp := timestamp_of(stamped, self._authority)):
            files |= {STAMPED: stamped.note, STAMP: stamp}
        for name, data in files.items():
            try:
                await asyncio.to_thread(write_copy, self._folder / name, data)
            except OSError as error:
                log.warning("%s is not copied to %s: %s", name, self._folder, error.strerror or error)
