"""A signer's keys: read wrapped from `keys.>`, unwrapped on their first lease, dropped when they change."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from nats.js.errors import NotFoundError

from vaultstream.bus.connection import BUS_ERRORS
from vaultstream.bus.keys import KeysStream
from vaultstream.crypto.algorithms import private_key_from_bytes, public_key_to_bytes
from vaultstream.crypto.batch_signer import batch_signer
from vaultstream.crypto.envelope import unwrapped
from vaultstream.crypto.keyring import load_keyring
from vaultstream.crypto.revocations import Revocation, Revocations, RevocationsFile
from vaultstream.errors import BusError, CustodyError, RevokedKeyError, shown
from vaultstream.store import keys as store

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nats.js import JetStreamContext

    from vaultstream.bus.connection import Bus
    from vaultstream.crypto.envelope import WrappedKey
    from vaultstream.store.database import Pool
    from vaultstream.store.jobs import Job

log = logging.getLogger(__name__)


WRAPPED_BYTES = 8192
"""The most bytes of one wrapped key that are kept from `keys.>`: the longest, for ML-DSA or RSA, has under 2,500."""
KEPT_PER_KEY = 2
KEPT = 100
"""Keys kept from `keys.>`: so many for each key of the job, replaced ones included, and so many more. Whoever may publish there
could otherwise fill the memory of all signers. Keys that are not kept are read from Postgres."""

CHECK_SECONDS = 5.0
"""Between two checks that the subscription to changed keys is alive."""


async def _is_alive(bus: Bus, watch: JetStreamContext.PushSubscription) -> bool:
    try:
        await bus.answer(watch.consumer_info())
    except NotFoundError:
        return False
    return True


class Opened(NamedTuple):
    """Keys that may be used, and those that may not."""

    keys: dict[str, Any]
    """By key id, the key as `Custody.signer` takes it."""
    refused: dict[str, RevokedKeyError]
    """By key id, why not: the file of revocations names the key."""


def _replace(job: Job, key_id: str) -> str:
    return (
        f"Find out who changed the key, then replace it: `vaultstream keys revoke {job.name} {key_id}` and "
        f"`vaultstream keys add {job.name}`."
    )


class Custody:
    """Provides leased keys, opened for its `signer`.

    Whether a key may be used is decided by its lease, in Postgres, not here. A message that is lost or forged on `keys.>`
    costs one read from Postgres and nothing else. The file of revocations has a say too: a key that it names is not used, even
    if Postgres leases it, because a backup from before the revocation may have been restored.

    Raises:
        CustodyError: the file of key-encryption keys or that of revocations can't be used.
    """

    def __init__(
        self, job: Job, pool: Pool, bus: Bus, kek_file: Path, *, revocations: Path | None = None
    ) -> None:
        """Takes the path of the file of `revocations`; None: it is beside that of key-encryption keys."""
        self._job = job
        self.signer = batch_signer(job.spec.keys.algorithm, deterministic=job.spec.keys.deterministic)
        self._pool = pool
        self._bus = bus
        self._stream = KeysStream(bus)
        self._kek_file = kek_file
        self._keyring = load_keyring(kek_file)
        self._revocations = RevocationsFile(revocations or kek_file.with_name("revocations"))
        self._revoked: Revocations = self._revocations.current()
        self._wrapped: dict[str, WrappedKey] = {}
        self._most = KEPT_PER_KEY * job.spec.keys.count + KEPT
        self._keys: dict[str, Any] = {}
        self._watch: JetStreamContext.PushSubscription | None = None
        self._resubscribing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self.watch()
        self._resubscribing = asyncio.create_task(self._resubscribe())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._resubscribing is not None:
            self._resubscribing.cancel()
            await asyncio.gather(self._resubscribing, return_exceptions=True)
        await self._unwatch()
        self._keys.clear()

    async def watch(self) -> None:
        """Subscribes to keys, again if it did before: a stream that was recreated has no subscribers."""
        await self._unwatch()
        try:
            self._watch = await self._stream.watch(self._job.token, self._on_key)
        except BUS_ERRORS as error:
            log.info("no subscription to keys, reading them from Postgres: %s", shown(error))

    async def _resubscribe(self) -> None:
        """Subscribes again if the stream was created after this signer started, or has lost its consumer."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            try:
                if self._watch is None or not await _is_alive(self._bus, self._watch):
                    await self.watch()
            except (BusError, *BUS_ERRORS) as error:
                log.debug(
                    "no subscription to keys, reading them from Postgres: %s",
                    shown(error),
                )

    async def open(self, key_ids: Sequence[str]) -> Opened:
        """Opens keys of the job that are not open yet, with one query for all of them.

        Raises:
            CustodyError: a key can't be unwrapped with the key-encryption keys in the file, or its public half in Postgres
                belongs to another key.
        """
        if (revoked := self._revocations.current()) is not self._revoked:
            self._revoked = revoked
            self._keys.clear()
        keys = {key_id: self._keys[key_id] for key_id in key_ids if key_id in self._keys}
        refused: dict[str, RevokedKeyError] = {}
        if new := [key_id for key_id in key_ids if key_id not in keys]:
            unknown = [key_id for key_id in new if key_id not in self._wrapped]
            async with self._pool.acquire() as connection:
                halves = await store.get_halves(connection, self._job, new, wrapped=unknown)
            for key_id in new:
                if (half := halves.get(key_id)) is None:
                    raise CustodyError(f"Key {key_id} is gone.", hint="Was the job deleted?")
                if revocation := revoked.find(key_id, half.public_key):
                    refused[key_id] = self._refusal(key_id, revocation)
                    continue
                if half.wrapped is not None:
                    self._wrapped[key_id] = half.wrapped
                keys[key_id] = await self._open(key_id, half.public_key)
            # Not those that were open before: meanwhile, a message or the file may have ended some of them.
            if self._revoked is revoked:
                self._keys |= {key_id: keys[key_id] for key_id in new if key_id in keys}
        return Opened(keys, refused)

    def _refusal(self, key_id: str, revocation: Revocation) -> RevokedKeyError:
        return RevokedKeyError(
            f"Key {key_id} was revoked at {revocation.revoked_at.isoformat()} by {self._revocations.path}, and "
            "Postgres leases it: a backup from before that time was restored.",
            hint=f"The job's keys worker revokes it again; or `vaultstream keys revoke {self._job.name} {key_id}`.",
        )

    async def _open(self, key_id: str, public_key: bytes) -> Any:
        wrapped = self._wrapped.get(key_id)
        if wrapped is not None:
            try:
                return self._unwrap(wrapped, public_key)
            except CustodyError:
                log.debug("key %s from the stream can't be used, reading it from Postgres", key_id)
        return self._unwrap(await self._from_postgres(key_id), public_key)

    async def _from_postgres(self, key_id: str) -> WrappedKey:
        async with self._pool.acquire() as connection:
            wrapped = await store.get_wrapped(connection, self._job, key_id)
        if wrapped is None:
            raise CustodyError(
                f"The private half of key {key_id} is gone.",
                hint=f"Was the job deleted? If not: {_replace(self._job, key_id)}",
            )
        self._wrapped[key_id] = wrapped
        return wrapped

    def _unwrap(self, wrapped: WrappedKey, public_key: bytes) -> Any:
        wanted = self._job.spec.keys.algorithm
        if wrapped.algorithm != wanted:
            raise CustodyError(
                f"Key {wrapped.key_id} is for {wrapped.algorithm}, and job {self._job.name} signs with {wanted}.",
                hint=_replace(self._job, wrapped.key_id),
            )
        if wrapped.kek_id not in self._keyring.ids:
            self._keyring = load_keyring(self._kek_file)  # it was rotated
        with unwrapped(self._keyring, wrapped) as der:
            key = private_key_from_bytes(der)
            if public_key_to_bytes(key) != public_key:
                raise CustodyError(
                    f"The public half of key {wrapped.key_id} in Postgres does not belong to its private half: someone changed it, "
                    "and what this key signs could not be verified.",
                    hint=_replace(self._job, wrapped.key_id),
                )
            return self.signer.open(key, der)

    def _on_key(self, wrapped: WrappedKey) -> None:
        known = wrapped.key_id in self._wrapped
        if len(wrapped.wrapped) <= WRAPPED_BYTES and (known or len(self._wrapped) < self._most):
            self._wrapped[wrapped.key_id] = wrapped
        else:  # forged, or more keys than are expected: Postgres has those that are leased
            self._wrapped.pop(wrapped.key_id, None)
        if wrapped.state != "active":
            self._keys.pop(wrapped.key_id, None)

    async def _unwatch(self) -> None:
        if self._watch is not None:
            try:
                await self._watch.unsubscribe()
            except BUS_ERRORS:
                log.debug("the old subscription is already gone")
            self._watch = None
