"""What others say about signed checkpoints: cosignatures of witnesses, and timestamps. None of it is verified here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from vaultstream.store.sql import arguments, query

if TYPE_CHECKING:
    from vaultstream.store.database import Connection
    from vaultstream.store.logs import Log


class AttestationKind(StrEnum):
    """What is said about a checkpoint."""

    COSIGNATURE = "cosignature"
    """A line of a signed note; the attester is the witness's verifier key."""
    TIMESTAMP = "timestamp"
    """An answer of RFC 3161 in DER; the attester is the authority's address."""


@dataclass(frozen=True)
class AttestedCheckpoint:
    """A signed checkpoint and what others say about it."""

    checkpoint_no: int
    size: int
    note: bytes
    """As its log signed it."""
    attestations: Mapping[tuple[AttestationKind, str], Sequence[bytes]]
    """By kind and attester, oldest first."""

    def of(self, kind: AttestationKind) -> dict[str, Sequence[bytes]]:
        """Returns the attestations of a kind, by attester."""
        return {attester: values for (each, attester), values in self.attestations.items() if each is kind}


async def newest_attested(
    connection: Connection, log: Log, kind: AttestationKind | None = None
) -> AttestedCheckpoint | None:
    """Returns the newest checkpoint of a log, or the newest with an attestation of a kind; None: there is none."""
    rows = await connection.fetch(query("newest_attested"), log.log_no, kind and kind.value)
    if not rows:
        return None
    attestations: dict[tuple[AttestationKind, str], list[bytes]] = {}
    for row in rows:
        if row["kind"] is not None:
            attestations.setdefault((AttestationKind(row["kind"]), row["attester"]), []).append(row["value"])
    first = rows[0]
    return AttestedCheckpoint(first["checkpoint_no"], first["size"], first["note"].encode(), attestations)


async def add_attestation(
    connection: Connection, checkpoint: AttestedCheckpoint, kind: AttestationKind, attester: str, value: bytes
) -> None:
    """Stores an attestation of a checkpoint, unless it is there."""
    text = query("add_attestation")
    values = arguments(
        text, checkpoint_no=checkpoint.checkpoint_no, kind=kind.value, attester=attester, value=value
    )
    async with connection.transaction(isolation="read_committed"):
        await connection.execute(text, *values)


async def seen_by(connection: Connection, log: Log, attester: str) -> int:
    """Returns the largest size of a log that a witness has cosigned; 0: none."""
    return int(await connection.fetchval(query("seen_by"), log.log_no, attester))
