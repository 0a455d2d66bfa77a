"""Faults, each made on purpose in a running job. Each tells whether it came to be; what it disturbs must end all the same."""

from __future__ import annotations

import asyncio
import shutil
import signal
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncpg
import psutil  # type: ignore[import-untyped]
from nats.js.errors import NotFoundError

from support.chaos.arena import LEASE_SECONDS
from support.waiting import eventually
from vaultstream.api import Algorithm
from vaultstream.bus.publishing import Outgoing, publish_all
from vaultstream.bus.records import RecordsStream
from vaultstream.bus.subjects import KEYS_STREAM, RECORDS_STREAM, batch_subject, key_subject
from vaultstream.crypto.envelope import WrappedKey
from vaultstream.store.batches import pending_after
from vaultstream.store.keys import list_keys

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator
    from pathlib import Path

    from support.chaos.arena import Arena
    from vaultstream.store.jobs import Job

PAST_A_LEASE = 1.3 * LEASE_SECONDS


# Processes ---------------------------------------------------------------------------------------------------------


def signal_worker(arena: Arena, role: str, number: signal.Signals, chance: random.Random) -> int | None:
    """Sends a signal to one worker of a role, by chance; returns its process id."""
    there = arena.workers(role)
    if not there:
        return None
    pid = chance.choice(there)
    return pid if arena.send(pid, number) else None


async def freeze(arena: Arena, pid: int, *, seconds: float) -> None:
    """Keeps a worker stopped for a while, and lets it go on."""
    try:
        await asyncio.sleep(seconds)  # time is the fault here: a lease runs out by nothing else
    finally:
        arena.send(pid, signal.SIGCONT)


async def at_point(arena: Arena, point: str, action: str, *, patience: float = 20.0) -> int | None:
    """Has the next worker that comes by a point stop, kill or term itself there; returns its process id.

    One that stops stays so until it is sent SIGCONT.
    """
    arena.points.clear(point)
    arena.points.arm(point, action)
    try:
        return int(await eventually(lambda: arena.points.taken(point), seconds=patience, what=point))
    except AssertionError:
        return arena.points.taken(point)
    finally:
        arena.points.clear(point)


# Postgres ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class HeldCommit:
    """A signer's transaction that has passed the fence and waits to insert its signatures."""

    backend: int
    signer: int


@asynccontextmanager
async def commits_held(arena: Arena, job: Job, *, patience: float = 45.0) -> AsyncIterator[HeldCommit | None]:
    """Holds every commit in its middle, by a lock on the table of signatures; yields one that got there, if any did."""
    async with arena.connection() as connection, connection.transaction():
        await connection.execute(f"LOCK TABLE {job.signatures_table} IN SHARE MODE")
        held = None
        with suppress(AssertionError):
            held = await eventually(
                lambda: _held_commit(connection, job), seconds=patience, what="a commit is held"
            )
        yield held


async def _held_commit(connection: asyncpg.Connection, job: Job) -> HeldCommit | None:
    await connection.execute("SELECT pg_stat_clear_snapshot()")  # a transaction keeps what it saw first
    row = await connection.fetchrow(
        "SELECT a.pid, a.application_name FROM pg_locks l JOIN pg_stat_activity a USING (pid) "
        "WHERE l.relation = $1::regclass AND NOT l.granted AND a.application_name LIKE 'vaultstream-signing%'",
        job.signatures_table,
    )
    return HeldCommit(row["pid"], int(row["application_name"].rpartition(":")[2])) if row else None


async def crash_postgres(arena: Arena) -> bool:
    """Stops Postgres in immediate mode, as a crash does, and starts it again."""
    postgres, _ = await arena.local.ensure_running()
    assert postgres is not None
    psutil.Process(postgres.pid).send_signal(signal.SIGQUIT)
    psutil.wait_procs([psutil.Process(postgres.pid)] if psutil.pid_exists(postgres.pid) else [], timeout=0.05)
    await arena.local.ensure_running()
    return True


async def end_sessions(arena: Arena, pattern: str = "vaultstream-%", *, limit: int = 1000) -> int:
    """Ends sessions of workers in Postgres, whatever they are about; returns how many."""
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
    try:
        async with commits_held(arena, job, patience=patience) as held:
            arena.postgres.loses_answers = held is not None
        if held is None:
            return False
        async with arena.connection() as connection:
            await eventually(
                lambda: connection.fetchval(
                    "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $1 AND state = 'active'",
                    held.backend,
                ),
                seconds=patience,
                what="the commit has ended",
            )
        return arena.postgres.cut() > 0
    finally:
        arena.postgres.mend()


async def deadlock(arena: Arena, job: Job, *, patience: float = 45.0) -> bool:
    """Makes a signer the victim of a deadlock in its commit: it holds its batch, we its key, and each wants the other's."""
    try:
        async with arena.connection() as connection, connection.transaction():
            # The signer looks for a deadlock after a second; we never do.
            await connection.execute("SET LOCAL deadlock_timeout = '1h'; SET LOCAL lock_timeout = '10s'")
            leased = "SELECT key_no FROM vaultstream.keys WHERE job_no = $1 AND holder IS NOT NULL FOR UPDATE SKIP LOCKED"
            await eventually(
                lambda: connection.fetch(leased, job.job_no), seconds=patience, what="a key is leased"
            )
            await eventually(
                lambda: _commit_waits(connection), seconds=patience, what="a commit waits for a key"
            )
            before = await connection.fetchval("SELECT clock_timestamp()")
            await connection.execute(
                "SELECT FROM vaultstream.batches WHERE job_no = $1 AND state = 'pending' ORDER BY batch_no FOR UPDATE",
                job.job_no,
            )
            waited = await connection.fetchval("SELECT clock_timestamp() - $1::timestamptz", before)
            return bool(waited.total_seconds() > 0.05)
    except (AssertionError, asyncpg.DeadlockDetectedError, asyncpg.LockNotAvailableError):
        return False


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
    """Takes every place that Postgres has for connections, those of the workers too; yields how many it took."""
    taken: list[asyncpg.Connection] = []

    async def take_all() -> None:
        with suppress(asyncpg.TooManyConnectionsError):
            while True:
                taken.append(await asyncpg.connect(arena.url, timeout=10))

    try:
        await take_all()
        for pid in [row["pid"] for row in await taken[0].fetch(_SESSIONS)]:
            await taken[0].execute("SELECT pg_terminate_backend($1)", pid)
            await take_all()
        yield len(taken)
    finally:
        await asyncio.gather(*(connection.close(timeout=5) for connection in taken), return_exceptions=True)


_SESSIONS = (
    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
    "AND application_name LIKE 'vaultstream-%' AND application_name NOT LIKE '%chaos'"
)


@asynccontextmanager
async def signatures_on(arena: Arena, job: Job, disk: Path) -> AsyncIterator[None]:
    """Keeps a job's signatures on another file system, in a tablespace of their own. Needs root."""
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


async def take_leases_away(arena: Arena, job: Job) -> int:
    """Ends every lease in Postgres, as a clock that jumps ahead does: their holders do not know; returns how many."""
    async with arena.connection() as connection:
        return len(
            await connection.fetch(
                "UPDATE vaultstream.keys SET lease_until = greatest(leased_at, clock_timestamp()) "
                "WHERE job_no = $1 AND holder IS NOT NULL AND lease_until > clock_timestamp() RETURNING key_no",
                job.job_no,
            )
        )


# NATS --------------------------------------------------------------------------------------------------------------


async def kill_nats(arena: Arena, *, wipe: bool = False) -> bool:
    """Kills nats-server with -9 and starts it again; without its store if that is to be wiped."""
    _, nats = await arena.local.ensure_running()
    assert nats is not None
    psutil.Process(nats.pid).kill()
    if wipe:
        await eventually(lambda: not _runs(nats.pid), what="NATS is dead")
        shutil.rmtree(arena.services.data_dir / "nats" / "jetstream")
    await arena.local.ensure_running()
    return True


def _runs(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


async def freeze_nats(arena: Arena, *, seconds: float) -> bool:
    """Stops nats-server with every connection open, for a while."""
    _, nats = await arena.local.ensure_running()
    assert nats is not None
    process = psutil.Process(nats.pid)
    process.suspend()
    try:
        await asyncio.sleep(seconds)  # time is the fault here
    finally:
        process.resume()
    return True


async def delete_consumer(arena: Arena, job: Job) -> bool:
    async with arena.bus() as bus:
        with suppress(NotFoundError):
            return bool(await bus.jetstream.delete_consumer(RECORDS_STREAM, job.token))
    return False


async def delete_stream(arena: Arena, stream: str) -> bool:
    async with arena.bus() as bus:
        with suppress(NotFoundError):
            return bool(await bus.jetstream.delete_stream(stream))
    return False


async def republish(arena: Arena, job: Job, chance: random.Random, *, times: int, mix: bool) -> int:
    """Publishes every pending batch again, so many times, backwards or mixed up; returns how many messages."""
    async with arena.connection() as connection:
        numbers = await pending_after(connection, job.job_no, 0, limit=1000) * times
    if mix:
        chance.shuffle(numbers)
    async with arena.bus() as bus:
        for number in reversed(numbers):
            await RecordsStream(bus).publish(job.token, [number], generation=chance.randbytes(8).hex())
    return len(numbers)


async def reorder(arena: Arena, job: Job) -> bool:
    """Takes every message of a job out of the stream, and puts the pending batches in from the last to the first."""
    async with arena.bus() as bus:
        try:
            await bus.jetstream.purge_stream(RECORDS_STREAM, subject=f"records.{job.token}.*")
        except NotFoundError:
            return False
        async with arena.connection() as connection:
            numbers = await pending_after(connection, job.job_no, 0, limit=4000)
        await publish_all(bus, [Outgoing(batch_subject(job.token, n), b"", None) for n in reversed(numbers)])
    return bool(numbers)


async def send_garbage(arena: Arena, job: Job, chance: random.Random) -> int:
    """Sends what is no batch and no key, as anyone could who may publish there; returns how many messages were taken."""
    async with arena.connection() as connection:
        keys = await list_keys(connection, job.job_no)
    messages = [*_hostile_batches(job, chance), *_hostile_keys(job, [key.key_id for key in keys], chance)]
    taken = 0
    async with arena.bus() as bus:
        for subject, payload, headers in messages:
            try:
                await bus.jetstream.publish(subject, payload, headers=headers, timeout=5)
            except Exception as refused:
                if not bus.client.is_connected:
                    raise refused from None
            else:
                taken += 1
    return taken


def _hostile_batches(job: Job, chance: random.Random) -> list[tuple[str, bytes, dict[str, str] | None]]:
    """Messages on `records.>` that name no batch, or one that is not there, or say more than a name."""
    names = ["0", "-1", "+1", "1e3", "०१", "٣", "9" * 18, "9" * 400, "0x1", "1 ", "drop-table", "\u202e1"]
    messages: list[tuple[str, bytes, dict[str, str] | None]] = [
        (f"records.{job.token}.{name}", b"", None) for name in names if " " not in name
    ]
    messages += [
        (batch_subject(job.token, 1), chance.randbytes(1000), None),  # huge, for what it is
        (batch_subject(job.token, 1), chance.randbytes(100_000), None),  # more than the stream takes
        (batch_subject(job.token, 1), b'{"ids": [1, 2, 3], "key": "mine"}', {"Nats-Rollup": "all"}),
        (batch_subject(job.token, 2**62), b"", {"Nats-Expected-Last-Sequence": "1"}),
        (f"records.{job.token}", b"", None),
        (f"records.{job.token}.1.2.3", b"", None),
        ("records.no-such-job.1", b"\0" * 500, None),
    ]
    return messages


def _hostile_keys(
    job: Job, key_ids: list[str], chance: random.Random
) -> list[tuple[str, bytes, dict[str, str] | None]]:
    """Messages on `keys.>` that are no keys, name others, or bear a state or an envelope that is not theirs."""
    key_id = chance.choice(key_ids) if key_ids else "none"

    def forged(**changed: str | int | bytes) -> bytes:
        honest = {"job": job.token, "key_id": key_id, "version": 2**31 - 1, "state": "revoked"}
        honest |= {
            "algorithm": Algorithm.ED25519,
            "kek_id": "kek-" + "0" * 12,
            "wrapped": chance.randbytes(100),
        }
        return WrappedKey(**(honest | changed)).to_message()  # type: ignore[arg-type]

    own = key_subject(job.token, key_id)
    return [
        (own, forged(), None),
        (key_subject(job.token, chance.choice(key_ids or ["none"])), forged(job="another"), None),
        (key_subject(job.token, "nobodys"), forged(key_id="nobodys"), None),
        (key_subject(job.token, "other"), b"[" * 60_000, None),
        (key_subject(job.token, "other"), b'{"job": ' + b"9" * 60_000, None),
        (key_subject(job.token, "other"), chance.randbytes(64 * 1024 - 300), None),
        (key_subject(job.token, "other"), chance.randbytes(200_000), None),  # more than the stream takes
        (key_subject(job.token, "empty"), b"", None),
        (key_subject(job.token, "other"), b'"\xff\xfe\0\0"', {"Nats-Rollup": "sub"}),
    ]


async def delay_wire(arena: Arena, *, milliseconds: int, seconds: float) -> bool:
    """Makes what goes to and from NATS arrive late, for a while, and then cuts it."""
    arena.nats.delay_seconds = milliseconds / 1000
    try:
        await asyncio.sleep(seconds)  # time is the fault here
    finally:
        arena.nats.delay_seconds = 0
    return arena.nats.cut() > 0


STREAMS = {"records": RECORDS_STREAM, "keys": KEYS_STREAM}
