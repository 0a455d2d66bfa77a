"""The faults of a storm, each with its weight and the function that causes it at random."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from support.chaos import nats, postgres, processes
from support.chaos.points import SIGNER_POINTS, START
from support.chaos.processes import PAST_A_LEASE
from vaultstream.bus.subjects import KEYS_STREAM, RECORDS_STREAM

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from support.chaos.arena import Arena
    from vaultstream.store.jobs import Job

_PATIENCE = 4.0
"""Seconds that a storm waits for a worker to reach an armed fault."""


@dataclass
class Target:
    """What a storm can disturb."""

    arena: Arena
    job: Job
    chance: random.Random
    run: int = 0
    """Process id of `vaultstream run`; 0 between two runs."""
    disk: Path | None = None
    """The small file system with the job's signatures, if there is one."""


@dataclass(frozen=True)
class Fault:
    """One kind of fault: how often it is picked, and the function that causes it and returns whether it did."""

    name: str
    weight: int
    make: Callable[[Target], Awaitable[object]]
    heavy: bool = False
    """Whether it stops everything for a while; then it is caused only if a batch was settled since the last such fault."""
    opening: bool = False
    """Whether it is caused only while a job starts."""


async def _kill_signer(at: Target) -> object:
    return processes.signal_worker(at.arena, "signing", signal.SIGKILL, at.chance)


async def _kill_records(at: Target) -> object:
    return processes.signal_worker(at.arena, "records", signal.SIGKILL, at.chance)


async def _kill_keys(at: Target) -> object:
    return processes.signal_worker(at.arena, "keys", signal.SIGKILL, at.chance)


async def _term_signer(at: Target) -> object:
    return processes.signal_worker(at.arena, "signing", signal.SIGTERM, at.chance)


async def _freeze(at: Target) -> object:
    role = at.chance.choice(["signing", "signing", "signing", "records", "keys"])
    pid = processes.signal_worker(at.arena, role, signal.SIGSTOP, at.chance)
    if pid is not None:
        await processes.freeze(at.arena, pid, seconds=at.chance.uniform(0.05, 2 * PAST_A_LEASE))
    return pid


def _at_point(
    point: str, action: str, *, patience: float = _PATIENCE
) -> Callable[[Target], Awaitable[object]]:
    async def make(at: Target) -> object:
        pid = await processes.at_point(at.arena, point, action, patience=patience)
        if pid is not None and action == "stop":
            await processes.freeze(at.arena, pid, seconds=at.chance.uniform(0.5, 2) * PAST_A_LEASE)
        return pid

    return make


async def _shift_clocks(at: Target) -> object:
    """One signer exits, and the next one that starts has shifted clocks."""
    processes.signal_worker(at.arena, "signing", signal.SIGTERM, at.chance)
    ahead = at.chance.choice([-3600, 3600, 86_400])
    return await processes.at_point(at.arena, START, str(ahead), patience=_PATIENCE)


async def _in_the_commit(at: Target) -> object:
    """Stops or kills a signer at the point, disconnects it from Postgres, or makes it wait past its lease."""
    what = at.chance.choice(["stop", "kill", "cut", "wait"])
    async with postgres.commits_held(at.arena, at.job, patience=_PATIENCE) as held:
        if held is None:
            return False
        if what == "stop":
            at.arena.send(held.signer, signal.SIGSTOP)
        elif what == "kill":
            at.arena.send(held.signer, signal.SIGKILL)
        elif what == "cut":
            await at.arena.lab.value("SELECT pg_terminate_backend($1)", held.backend)
        await asyncio.sleep(at.chance.choice([0.1, PAST_A_LEASE]))  # time is the fault here
    if what == "stop":
        await processes.freeze(at.arena, held.signer, seconds=at.chance.uniform(0, PAST_A_LEASE))
    return True


async def _run_again(at: Target) -> object:
    if at.run == 0:
        return False
    os.kill(at.run, at.chance.choice([signal.SIGKILL, signal.SIGTERM]))
    return True


async def _unknown_outcome(at: Target) -> object:
    return await postgres.lose_a_commits_answer(at.arena, at.job, patience=_PATIENCE)


async def _deadlock(at: Target) -> object:
    return await postgres.deadlock(at.arena, at.job, patience=_PATIENCE)


async def _crash_postgres(at: Target) -> object:
    return await postgres.crash(at.arena)


async def _end_one_session(at: Target) -> object:
    return await postgres.end_sessions(at.arena, limit=1)


async def _end_sessions(at: Target) -> object:
    return await postgres.end_sessions(at.arena)


async def _cut_postgres(at: Target) -> object:
    return at.arena.postgres.cut()


async def _no_connection_left(at: Target) -> object:
    async with postgres.no_connection_left(at.arena) as taken:
        await asyncio.sleep(at.chance.uniform(0.1, 1))  # time is the fault here
    return taken


async def _serializable(at: Target) -> object:
    return await postgres.serializable(at.arena, seconds=at.chance.uniform(0.5, 3))


async def _no_room(at: Target) -> object:
    return at.disk is not None and await postgres.fill(at.disk, seconds=at.chance.uniform(0.1, 1.5))


async def _leases_taken_away(at: Target) -> object:
    return await postgres.take_leases_away(at.arena, at.job)


async def _kill_nats(at: Target) -> object:
    return await nats.kill(at.arena)


async def _wipe_nats(at: Target) -> object:
    return await nats.kill(at.arena, wipe=True)


async def _freeze_nats(at: Target) -> object:
    return await nats.freeze(at.arena, seconds=at.chance.uniform(0.1, 3))


async def _cut_nats(at: Target) -> object:
    return at.arena.nats.cut()


async def _slow_nats(at: Target) -> object:
    milliseconds, seconds = at.chance.choice([5, 50, 300]), at.chance.uniform(0.3, 2)
    return await nats.delay(at.arena, milliseconds=milliseconds, seconds=seconds)


async def _deaf_nats(at: Target) -> object:
    before = at.arena.nats.cuts
    with at.arena.nats.deaf():
        await asyncio.sleep(at.chance.uniform(0.05, 1))  # time is the fault here
    return at.arena.nats.cuts > before


async def _delete_consumer(at: Target) -> object:
    return await nats.delete_consumer(at.arena, at.job)


def _delete_stream(stream: str) -> Callable[[Target], Awaitable[object]]:
    async def make(at: Target) -> object:
        return await nats.delete_stream(at.arena, stream)

    return make


async def _duplicate(at: Target) -> object:
    return await nats.republish(at.arena, at.job, at.chance, times=at.chance.randint(1, 3), mix=True)


async def _reorder(at: Target) -> object:
    return await nats.reorder(at.arena, at.job)


async def _garbage(at: Target) -> object:
    return await nats.send_garbage(at.arena, at.job, at.chance)


CATALOGUE = [
    Fault("signer killed", 6, _kill_signer),
    Fault("records worker killed", 2, _kill_records),
    Fault("keys worker killed", 2, _kill_keys),
    Fault("signer asked to leave", 3, _term_signer),
    Fault("worker stopped, and continued", 12, _freeze),
    *(Fault(f"signer stopped {point}", 4, _at_point(point, "stop")) for point in SIGNER_POINTS),
    *(Fault(f"signer killed {point}", 2, _at_point(point, "kill")) for point in SIGNER_POINTS),
    *(Fault(f"signer asked to leave {point}", 1, _at_point(point, "term")) for point in SIGNER_POINTS),
    Fault("commit held in its middle", 6, _in_the_commit),
    *(
        Fault(f"{role} worker killed {point}", 0, _at_point(point, "kill", patience=20), opening=True)
        for role, point in (
            ("records", "after-plan"),
            ("records", "before-checkpoint"),
            ("keys", "after-keys"),
        )
    ),
    Fault("signer with other clocks", 3, _shift_clocks),
    Fault("run killed or asked to leave", 4, _run_again, heavy=True),
    Fault("outcome of a commit unknown", 6, _unknown_outcome),
    Fault("deadlock in a commit", 4, _deadlock),
    Fault("Postgres crashed", 2, _crash_postgres, heavy=True),
    Fault("one session of Postgres ended", 14, _end_one_session),
    Fault("all sessions of Postgres ended", 6, _end_sessions),
    Fault("connections to Postgres cut", 8, _cut_postgres),
    Fault("no connection left in Postgres", 1, _no_connection_left, heavy=True),
    Fault("database serializable for a while", 3, _serializable),
    Fault("no room for signatures", 6, _no_room),
    Fault("leases taken away", 14, _leases_taken_away),
    Fault("NATS killed", 3, _kill_nats, heavy=True),
    Fault("NATS killed, its store wiped", 2, _wipe_nats, heavy=True),
    Fault("NATS stopped, and continued", 3, _freeze_nats, heavy=True),
    Fault("connections to NATS cut", 12, _cut_nats),
    Fault("NATS slow, then cut", 6, _slow_nats),
    Fault("answers of NATS lost, then cut", 8, _deaf_nats),
    Fault("consumer deleted", 8, _delete_consumer),
    Fault("stream of batches deleted", 5, _delete_stream(RECORDS_STREAM)),
    Fault("stream of keys deleted", 4, _delete_stream(KEYS_STREAM)),
    Fault("batches published again, mixed up", 8, _duplicate),
    Fault("batches published backwards", 6, _reorder),
    Fault("garbage and forgeries sent", 5, _garbage),
]


@asynccontextmanager
async def calm_after(at: Target) -> AsyncIterator[None]:
    """Cleans up what a storm may have left: stopped workers, armed points, dead services."""
    try:
        yield
    finally:
        for path in at.arena.points.folder.iterdir():
            path.unlink(missing_ok=True)
        at.arena.thaw()
        await at.arena.restore()
        await postgres.isolate(at.arena, None)
