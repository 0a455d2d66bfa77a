"""Changes of a job's keys that people ask for: more of them, or an end to some; told to the signers at once."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from vaultstream.bus.connection import BUS_ERRORS, BusAddress, connect_bus
from vaultstream.bus.keys import KeysStream
from vaultstream.errors import BusError, UsageError
from vaultstream.keys.worker import make_keys
from vaultstream.store import keys as store
from vaultstream.store.sql import query

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Sequence

    from vaultstream.crypto.keyring import KeyRing
    from vaultstream.store.database import Connection, Pool
    from vaultstream.store.jobs import Job

KEK_LOCK = 0x4B454B
"""Advisory lock of the database: shared while a command makes keys, exclusive while one rewraps them."""


async def add_keys(pool: Pool, job: Job, ring: KeyRing, count: int) -> list[str]:
    """Makes further keys for a job, beyond the `keys.count` of its spec; returns their ids.

    Raises:
        UsageError: the job was deleted, or keys are being rewrapped just now.
    """
    if job.deleted_at is not None:
        raise UsageError(f"Job {job.name} was deleted: it signs no more, and needs no keys.")
    async with pool.acquire() as connection, making_keys(connection, job):
        present = await store.ordinals(connection, job.job_no)
        start = max(job.spec.keys.count, *present, 0) + 1
        await make_keys(pool, job, ring, range(start, start + count))
        return [key.key_id for key in await store.list_keys(connection, job.job_no) if key.ordinal >= start]


@asynccontextmanager
async def making_keys(connection: Connection, job: Job) -> AsyncIterator[None]:
    """Makes sure that nobody drops the key-encryption key meanwhile, and that nobody else takes the same ordinals.

    Raises:
        UsageError: keys are being rewrapped just now.
    """
    if not await connection.fetchval(query("try_share_kek_lock"), KEK_LOCK):
        raise UsageError(
            "Keys are being rewrapped just now.",
            hint="Run this again when `vaultstream keys rewrap` has ended.",
        )
    try:
        await connection.execute(query("lock_ordinals"), KEK_LOCK, job.job_no)
        try:
            yield
        finally:
            await connection.execute(query("unlock_ordinals"), KEK_LOCK, job.job_no)
    finally:
        await connection.execute(query("unshare_kek_lock"), KEK_LOCK)


async def end_keys(connection: Connection, job: Job, key_ids: Sequence[str], *, state: str) -> list[str]:
    """Retires or revokes keys of a job, all of them or none; returns the ids of those that changed.

    Args:
        connection: to the writer.
        job: whose keys they are.
        key_ids: which keys.
        state: retired (finishes the batch it is in) or revoked (fenced at once).

    Raises:
        UsageError: the job has no key of some id; nothing was changed.
    """
    known = {key.key_id for key in await store.list_keys(connection, job.job_no)}
    if unknown := [key_id for key_id in key_ids if key_id not in known]:
        raise UsageError(
            f"Job {job.name} has no key {', '.join(map(repr, unknown))}; nothing was changed.",
            hint=f"`vaultstream keys list {job.name}` lists its keys.",
        )
    return await store.end_keys(connection, job.job_no, key_ids, state=state)


async def publish_keys(
    address: BusAddress, pool: Pool, job: Job, key_ids: Collection[str] | None = None
) -> bool:
    """Tells the signers of a job of its keys (of some, or of all) as Postgres has them now.

    Returns:
        False if NATS could not be reached; the keys worker makes up for it, and no lease depends on it.
    """
    if job.ended:
        return True  # it has no signers, and its keys have left the stream
    async with pool.acquire() as connection:
        wrapped = await store.list_wrapped(connection, job)
    try:
        async with connect_bus(address, role="keys", attempts=1) as bus:
            stream = KeysStream(bus)
            await stream.ensure()
            await stream.publish(key for key in wrapped if key_ids is None or key.key_id in key_ids)
    except (BusError, *BUS_ERRORS):
        return False
    return True
