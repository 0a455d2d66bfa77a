"""Changes of a job's keys that people ask for: add some, or retire or revoke some. Signers are notified at once."""

from __future__ import annotations

import asyncio
import itertools
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from vaultstream.bus.address import BusAddress
from vaultstream.bus.connection import BUS_ERRORS, connect_bus
from vaultstream.bus.keys import KeysStream
from vaultstream.crypto.revocations import Revocation, add_revocations
from vaultstream.errors import BusError, UsageError
from vaultstream.keys.worker import make_keys
from vaultstream.role import WorkerRole
from vaultstream.store import keys as store
from vaultstream.store.lockers import advisory_lockers, hint_to_end, named
from vaultstream.store.sql import query

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Sequence
    from datetime import datetime
    from pathlib import Path

    from vaultstream.crypto.keyring import KeyRing
    from vaultstream.store.database import Connection, Pool
    from vaultstream.store.jobs import Job

ORDINALS_WAIT_SECONDS = 30.0
"""Longest wait for another command that adds keys to the same job."""
ORDINALS_RETRY_SECONDS = 0.2
KEK_LOCK = 0x4B454B
"""Advisory lock of the database: shared while a command makes keys, exclusive while one rewraps them."""


class KeyEnd(StrEnum):
    """How a key ends."""

    RETIRED = "retired"
    """The key finishes its current batch and is no longer leased. Its signatures stay valid."""
    REVOKED = "revoked"
    """The key is fenced at once, and its signatures are marked from then on."""


@dataclass(frozen=True)
class KeyChange:
    """The result of a change of a job's keys.

    Attributes:
        key_ids: the keys that changed.
        counts: the job's keys after the change, by state.
        signers_notified: False if NATS is unreachable; then signers learn of the change at their next lease.
        job_waits: the job is not finished and has no active key left, so nothing is signed until one is added.
    """

    key_ids: list[str]
    counts: store.KeyCounts
    signers_notified: bool
    job_waits: bool


async def add_job_keys(pool: Pool, address: BusAddress, job: Job, ring: KeyRing, count: int) -> KeyChange:
    """Makes further keys for a job, beyond the `keys.count` of its spec.

    Raises:
        UsageError: the job was deleted, or its keys are being rewrapped.
    """
    if job.deleted_at is not None:
        raise UsageError(f"Job {job.name} was deleted: it signs nothing, and needs no keys.")
    async with pool.acquire() as connection, making_keys(connection, job):
        present = await store.ordinals(connection, job.job_no)
        chosen = free_ordinals(present, job.spec.keys.count, count)
        await make_keys(pool, job, ring, chosen)
        made = set(chosen)
        added = [key.key_id for key in await store.list_keys(connection, job.job_no) if key.ordinal in made]
    return await _announce(pool, address, job, added)


def free_ordinals(present: Collection[int], planned: int, count: int) -> list[int]:
    """Returns the lowest `count` ordinals that are free, beyond those of the `planned` keys, which a keys worker makes.

    A row with a high ordinal, which anyone with a login for keys may have stored, uses up no others.
    """
    return list(itertools.islice((n for n in itertools.count(planned + 1) if n not in present), count))


def choose_keys(job_name: str, key_ids: Sequence[str] | None, *, every: bool) -> Sequence[str] | None:
    """Returns which keys of a job to end: those named, or None for every key.

    Raises:
        UsageError: neither keys nor `every` is given, or both are.
    """
    if bool(key_ids) == every:
        raise UsageError(
            "Name the keys, or give --all.", hint=f"`vaultstream keys list {job_name}` lists them."
        )
    return key_ids or None


async def end_job_keys(
    pool: Pool,
    address: BusAddress,
    job: Job,
    key_ids: Sequence[str] | None,
    *,
    state: KeyEnd,
    revocations: Path | None = None,
    reason: str = "",
) -> KeyChange:
    """Retires or revokes keys of a job, either all that are named or none. Keys that have ended already stay as they are.

    A revocation is written to the file of revocations before Postgres learns of it, so that none can be lost in between.
    The file also gets keys that Postgres has as revoked already.

    Args:
        pool: of connections to the writer.
        address: where signers are notified.
        job: whose keys they are.
        key_ids: which keys; None: every key of the job.
        state: how they end.
        revocations: the file of revocations; None: none is kept.
        reason: why they are revoked, for the file.

    Raises:
        UsageError: the job has no key of some id; nothing was changed.
        CustodyError: the file of revocations can't be written; nothing was changed.
    """
    async with pool.acquire() as connection:
        known = {key.key_id: key for key in await store.list_keys(connection, job.job_no)}
        wanted = list(known) if key_ids is None else key_ids
        if unknown := [key_id for key_id in wanted if key_id not in known]:
            raise UsageError(
                f"Job {job.name} has no key {', '.join(map(repr, unknown))}; nothing was changed.",
                hint=f"`vaultstream keys list {job.name}` lists its keys.",
            )
        if state is KeyEnd.REVOKED and revocations is not None:
            now = await connection.fetchval(query("current_time"))
            await asyncio.to_thread(
                add_revocations,
                revocations,
                [_revocation(known[key_id], now=now, reason=reason) for key_id in dict.fromkeys(wanted)],
            )
        changed = await store.end_keys(connection, job.job_no, wanted, state=state)
    return await _announce(pool, address, job, changed)


def _revocation(key: store.KeyInfo, *, now: datetime, reason: str) -> Revocation:
    since = key.ended_at if key.state == KeyEnd.REVOKED else None
    return Revocation.of(key.key_id, key.public_key, at=since or now, reason=reason)


async def _announce(pool: Pool, address: BusAddress, job: Job, changed: list[str]) -> KeyChange:
    notified = await publish_keys(address, pool, job, changed)
    async with pool.acquire() as connection:
        counts = await store.count_keys(connection, job.job_no)
    return KeyChange(changed, counts, notified, job_waits=not counts.active and not job.ended)


@asynccontextmanager
async def making_keys(connection: Connection, job: Job) -> AsyncIterator[None]:
    """While keys are made, keeps the key-encryption key from being dropped, and the ordinals from being used twice.

    Raises:
        UsageError: keys are being rewrapped.
    """
    if not await connection.fetchval(query("try_share_kek_lock"), KEK_LOCK):
        lockers = await advisory_lockers(connection, KEK_LOCK)
        raise UsageError(
            f"The keys are being rewrapped, by {named(lockers)}.",
            hint=f"Run this again when `vaultstream keys rewrap` has finished. {hint_to_end(lockers)}",
        )
    try:
        await _lock_ordinals(connection, job)
        try:
            yield
        finally:
            await connection.execute(query("unlock_ordinals"), KEK_LOCK, job.job_no)
    finally:
        await connection.execute(query("unshare_kek_lock"), KEK_LOCK)


async def _lock_ordinals(connection: Connection, job: Job) -> None:
    deadline = time.monotonic() + ORDINALS_WAIT_SECONDS
    while not await connection.fetchval(query("try_lock_ordinals"), KEK_LOCK, job.job_no):
        if time.monotonic() > deadline:
            lockers = await advisory_lockers(connection, KEK_LOCK, job.job_no)
            raise UsageError(
                f"Another command is adding keys to job {job.name}: {named(lockers)}.",
                hint=f"Run this again when it has finished. {hint_to_end(lockers)}",
            )
        await asyncio.sleep(ORDINALS_RETRY_SECONDS)


async def publish_keys(
    address: BusAddress, pool: Pool, job: Job, key_ids: Collection[str] | None = None
) -> bool:
    """Publishes keys of a job, some or all, to its signers as Postgres has them now.

    Returns:
        False if NATS is unreachable. The keys worker publishes them later, and no lease depends on it.
    """
    if job.ended:
        return True  # it has no signers, and its keys were removed from the stream
    async with pool.acquire() as connection:
        wrapped = await store.list_wrapped(connection, job)
    try:
        async with connect_bus(address, role=WorkerRole.KEYS, attempts=1) as bus:
            stream = KeysStream(bus)
            await stream.ensure()
            await stream.publish(key for key in wrapped if key_ids is None or key.key_id in key_ids)
    except (BusError, *BUS_ERRORS):
        return False
    return True
