"""Faults of Postgres and its connections: crashes, disconnects, locks, deadlocks, no free connection, no free space."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncpg
import psutil  # type: ignore[import-untyped]

from support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from support.chaos.arena import Arena
    from vaultstream.store.jobs import Job


@dataclass(frozen=True)
class HeldCommit:
    """A signer's transaction that has passed the fence and waits to insert its signatures."""

    backend: int
    signer: int


@asynccontextmanager
async def commits_held(arena: Arena, job: Job, *, patience: float = 45.0) -> AsyncIterator[HeldCommit | None]:
    """Blocks every commit in the middle with a lock on the signatures table; yields one blocked commit, if any.

    It waits for a lease first: signers rehearse a commit before they have one, and would not get any further.
    """
    leased = (
        f"SELECT EXISTS (SELECT FROM vaultstream.keys WHERE job_no = {job.job_no} AND holder IS NOT NULL)"
    )
    with suppress(AssertionError):
        await eventually(lambda: arena.lab.value(leased), seconds=patience, what="a lease")
    async with arena.connection() as connection, connection.transaction():
        await connection.execute(f"LOCK TABLE {job.signatures_table} IN SHARE MODE")
        held = None
        with suppress(AssertionError):
            held = await eventually(
                lambda: _held_commit(connection, job), seconds=patience, what="a commit is held"
            )
        yield held


async def _held_commit(connection: asyncpg.Connection, job: Job) -> HeldCommit | None:
    await connection.execute("SELECT pg_stat_clear_snapshot()")  # a transaction keeps its first snapshot
    row = await connection.fetchrow(
        "SELECT a.pid, a.application_name FROM pg_locks l JOIN pg_stat_activity a USING (pid) "
        "WHERE l.relation = $1::regclass AND NOT l.granted AND a.application_name LIKE 'vaultstream-signing%' "
        "AND EXISTS (SELECT FROM vaultstream.keys k WHERE k.job_no = $2 "
        "AND split_part(k.holder, ':', 2) = regexp_replace(a.application_name, '.*:', ''))",
        job.signatures_table,
        job.job_no,
    )
    return HeldCommit(row["pid"], int(row["application_name"].rpartition(":")[2])) if row else None


async def crash(arena: Arena) -> bool:
    """Stops Postgres in immediate mode, like a crash, and starts it again."""
    postgres, _ = await arena.local.ensure_running()
    assert postgres is not None
    psutil.Process(postgres.pid).send_signal(signal.SIGQUIT)
    psutil.wait_procs([psutil.Process(postgres.pid)] if psutil.pid_exists(postgres.pid) else [], timeout=0.05)
    await arena.local.ensure_running()
    return True


async def end_sessions(arena: Arena, pattern: str = "vaultstream-%", *, limit: int = 1000) -> int:
    """Terminates sessions of workers in Postgres, whatever they are doing; returns how many."""
    async with arena.connection() as connection:
        return int(
            await connection.fetchval(
                "SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity "
                "WHERE datname = current_database() AND application_name LIKE $1 "
                "AND application_name NOT LIKE '%chaos' ORDER BY random() LIMIT $2) s",
                pattern,
                limit,
            )
        )


async def lose_a_commits_answer(arena: Arena, job: Job, *, patience: float = 45.0) -> bool:
    """Lets a commit succeed in Postgres and cuts the connection before its answer arrives: its outcome is unknown."""
    before = arena.postgres.cuts
    async with AsyncExitStack() as stack:
        async with commits_held(arena, job, patience=patience) as held:
            if held is None:
                return False
            stack.enter_context(arena.postgres.deaf())
        async with arena.connection() as connection:
            await eventually(
                lambda: connection.fetchval(
                    "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $1 AND state = 'active'",
                    held.backend,
                ),
                seconds=patience,
                what="the commit has ended",
            )
    return arena.postgres.cuts > before


_DEADLOCK = "will be retried: deadlock detected"


async def deadlock(arena: Arena, job: Job, *, patience: float = 45.0) -> bool:
    """Makes a signer the victim of a deadlock in its commit: it locks its batch, we its key, and each waits for the other.

    The signer's log shows whether it happened: if several commits wait for us, the first may be the victim, and we may
    then wait for the next one until we time out.
    """
    before = arena.told(_DEADLOCK)
    with suppress(AssertionError, asyncpg.DeadlockDetectedError, asyncpg.LockNotAvailableError):
        async with arena.connection() as connection, connection.transaction():
            # The signer's session checks for a deadlock after a second; ours never does.
            await connection.execute("SET LOCAL deadlock_timeout = '1h'; SET LOCAL lock_timeout = '4s'")
            leased = "SELECT key_no FROM vaultstream.keys WHERE job_no = $1 AND holder IS NOT NULL FOR UPDATE SKIP LOCKED"
            await eventually(
                lambda: connection.fetch(leased, job.job_no), seconds=patience, what="a key is leased"
            )
            await eventually(
                lambda: _commit_waits(connection), seconds=patience, what="a commit waits for a key"
            )
            await connection.execute(
                "SELECT FROM vaultstream.batches WHERE job_no = $1 AND state = 'pending' ORDER BY batch_no FOR UPDATE",
                job.job_no,
            )
    with suppress(AssertionError):
        await eventually(lambda: arena.told(_DEADLOCK) > before, seconds=1)
    return arena.told(_DEADLOCK) > before


async def _commit_waits(connection: asyncpg.Connection) -> bool:
    await connection.execute("SELECT pg_stat_clear_snapshot()")
    return bool(
        await connection.fetchval(
            "SELECT count(*) > 0 FROM pg_stat_activity WHERE query LIKE '%commit_batches%' "
            "AND application_name LIKE 'vaultstream-signing%' AND pg_backend_pid() = ANY (pg_blocking_pids(pid))"
        )
    )


@asynccontextmanager
async def no_connection_left(arena: Arena) -> AsyncIterator[int]:
    """Takes every connection slot of Postgres, including those of the workers; yields how many it took.

    It is 0 while the same fault, injected at the same time, holds them all.
    """
    taken: list[asyncpg.Connection] = []

    async def take_all() -> None:
        with suppress(asyncpg.TooManyConnectionsError):
            while True:
                taken.append(await asyncpg.connect(arena.url, timeout=10))

    async def keep_all() -> None:
        while True:  # when a session of another database ends, its slot is free for one of ours
            await take_all()
            await asyncio.sleep(0.05)

    try:
        await take_all()
        if not taken:
            yield 0
            return
        for pid in [row["pid"] for row in await taken[0].fetch(_SESSIONS)]:
            await taken[0].execute("SELECT pg_terminate_backend($1)", pid)
            await take_all()
        keeping = asyncio.create_task(keep_all())
        try:
            yield len(taken)
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
    finally:
        await asyncio.gather(*(connection.close(timeout=5) for connection in taken), return_exceptions=True)


_SESSIONS = (
    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
    "AND application_name LIKE 'vaultstream-%' AND application_name NOT LIKE '%chaos'"
)


@asynccontextmanager
async def signatures_on(arena: Arena, job: Job, disk: Path) -> AsyncIterator[None]:
    """Stores a job's signatures on another file system, in their own tablespace. Needs root."""
    name = f"disk_{job.job_no}"
    owner = psutil.Process((await arena.local.services()).postgres_pid).username()
    place = disk / name
    place.mkdir()
    shutil.chown(place, owner)
    async with arena.connection() as connection:
        await connection.execute(f"CREATE TABLESPACE {name} LOCATION '{place}'")
        await connection.execute(f"ALTER TABLE {job.signatures_table} SET TABLESPACE {name}")
        await connection.execute(
            f"ALTER INDEX {job.signatures_table.replace(str(job.job_no), f'{job.job_no}_pkey')} SET TABLESPACE {name}"
        )
    try:
        yield
    finally:
        async with arena.connection() as connection:
            await connection.execute(f"DROP TABLE {job.signatures_table}")
            await connection.execute(f"DROP TABLESPACE {name}")


async def fill(disk: Path, *, seconds: float) -> bool:
    """Fills a file system completely for a while."""
    ballast = disk / f"ballast-{secrets.token_hex(4)}"
    try:
        with (
            ballast.open("wb") as file,
            suppress(OSError),
        ):  # others write at the same time: it is full anyway
            while free := (os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize):
                os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), free)
        await asyncio.sleep(seconds)  # time is the fault here
    finally:
        ballast.unlink(missing_ok=True)
    return True


async def isolate(arena: Arena, level: str | None) -> None:
    """Sets the isolation level of all new sessions of the database; None: the default."""
    async with arena.connection() as connection:
        await connection.execute("SELECT pg_advisory_lock(1)")  # a concurrent change would be an error
        name = await connection.fetchval("SELECT current_database()")
        change = (
            f"SET default_transaction_isolation = '{level}'"
            if level
            else "RESET default_transaction_isolation"
        )
        await connection.execute(f"ALTER DATABASE {name} {change}")


async def serializable(arena: Arena, *, seconds: float) -> bool:
    """Makes every transaction serializable for a while: the second writer of a row gets an error."""
    try:
        await isolate(arena, "serializable")
        ended = await end_sessions(arena)
        await asyncio.sleep(seconds)  # time is the fault here
    finally:
        await isolate(arena, None)
    await end_sessions(arena)
    return ended > 0


async def take_leases_away(arena: Arena, job: Job) -> int:
    """Expires every lease in Postgres, like a clock that jumps ahead; the holders do not notice. Returns how many."""
    async with arena.connection() as connection:
        return len(
            await connection.fetch(
                "UPDATE vaultstream.keys SET lease_until = greatest(leased_at, clock_timestamp()) "
                "WHERE job_no = $1 AND holder IS NOT NULL AND lease_until > clock_timestamp() RETURNING key_no",
                job.job_no,
            )
        )
