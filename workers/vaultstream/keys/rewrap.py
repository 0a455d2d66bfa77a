"""Rotates the key-encryption key: adds a new one to the file, rewraps a job's keys under it, drops the old one.

In that order, every wrapped key can be unwrapped with the file at any moment: a process that was killed on the way leaves
nothing to repair, and running it again finishes. Signers read the file again when they meet an envelope under a
key-encryption key that they don't know.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vaultstream.crypto.envelope import rewrap
from vaultstream.crypto.keyring import load_keyring, prune_keyring, rotate_keyring
from vaultstream.errors import UsageError
from vaultstream.keys.changes import KEK_LOCK
from vaultstream.role import WorkerRole
from vaultstream.store import keys as store
from vaultstream.store.lockers import advisory_lockers, hint_to_end, named
from vaultstream.store.sessions import list_worker_sessions
from vaultstream.store.sql import query

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from vaultstream.crypto.envelope import WrappedKey
    from vaultstream.crypto.keyring import KeyRing
    from vaultstream.store.database import Connection, Pool
    from vaultstream.store.jobs import Job

KEYS_PER_TRANSACTION = 64
"""Keys rewrapped in one transaction."""


@dataclass(frozen=True)
class Rewrapped:
    """What a rewrap did.

    Attributes:
        kek_id: the key-encryption key that now wraps the job's keys.
        keys: how many keys were rewrapped under it.
        dropped: key-encryption keys removed from the file.
        kept: those that other jobs still need.
        waiting_for: jobs whose keys are being generated; because of them, no KEK was removed.
    """

    kek_id: str
    keys: int
    dropped: list[str]
    kept: list[str]
    waiting_for: list[str]


@asynccontextmanager
async def rewrapping(pool: Pool) -> AsyncIterator[Connection]:
    """Locks out other rewraps, and commands that make keys, in this database.

    Raises:
        UsageError: one of them is running.
    """
    async with pool.acquire() as connection:
        if not await connection.fetchval(query("try_kek_lock"), KEK_LOCK):
            lockers = await advisory_lockers(connection, KEK_LOCK)
            raise UsageError(
                f"Another command is making or rewrapping keys: {named(lockers)}.",
                hint=f"Run this again when it has finished. {hint_to_end(lockers)}",
            )
        try:
            yield connection
        finally:
            await connection.execute(query("release_kek_lock"), KEK_LOCK)


async def rewrap_keys(
    connection: Connection, job: Job, kek_file: Path, *, rotate: bool
) -> tuple[KeyRing, int]:
    """Rewraps a job's keys under the primary key-encryption key, a new one if `rotate`; returns the ring and the count.

    Args:
        connection: from `rewrapping`.
        job: whose keys.
        kek_file: the file of key-encryption keys, which this user must be able to replace.
        rotate: whether to make a new primary first.

    Raises:
        CustodyError: the file can't be used, or a key can't be unwrapped with it.
    """
    ring = rotate_keyring(kek_file) if rotate else load_keyring(kek_file)
    moved = 0
    while left := _left(await store.list_wrapped(connection, job), ring):
        for start in range(0, len(left), KEYS_PER_TRANSACTION):
            portion = [rewrap(ring, key) for key in left[start : start + KEYS_PER_TRANSACTION]]
            moved += await store.replace_wrapped(connection, portion)
    return ring, moved


async def drop_unused(connection: Connection, kek_file: Path) -> tuple[list[str], list[str], list[str]]:
    """Drops the key-encryption keys that no wrapped key of this database needs.

    A keys worker that is generating keys may have read the file before, so nothing is dropped until it has stored them.

    Returns:
        The ids dropped, those kept beside the primary, and the jobs whose keys are being generated.
    """
    before = load_keyring(kek_file)
    workers = [s.job_no for s in await list_worker_sessions(connection) if s.role == WorkerRole.KEYS]
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        making = [row["name"] for row in await connection.fetch(query("list_jobs_making_keys"), workers)]
        used = await store.kek_ids_in_use(connection)
    after = before if making else prune_keyring(kek_file, used)
    return [kek for kek in before.ids if kek not in after.ids], list(after.ids[1:]), making


async def rewrap_job(
    connection: Connection, job: Job, kek_file: Path, *, rotate: bool, prune: bool
) -> Rewrapped:
    """Does all of it except publishing; safe while the job runs. Parameters and errors as `rewrap_keys`."""
    ring, moved = await rewrap_keys(connection, job, kek_file, rotate=rotate)
    dropped, kept, making = await drop_unused(connection, kek_file) if prune else ([], list(ring.ids[1:]), [])
    return Rewrapped(ring.primary.kek_id, moved, dropped, kept, making)


def _left(wrapped: list[WrappedKey], ring: KeyRing) -> list[WrappedKey]:
    return [key for key in wrapped if key.kek_id != ring.primary.kek_id]
