"""Postgres crashes, disconnects, refuses or runs out of space: nothing accepted is lost, no record becomes a dead letter."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from support.chaos import postgres
from support.chaos.arena import PATIENCE, RECORDS
from support.disks import enlarge, small_disk_for_all
from support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.chaos.arena import Arena
    from vaultstream.store.jobs import Job

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]


async def no_attempt_was_counted(arena: Arena, job: Job) -> bool:
    return not await arena.lab.value(
        "SELECT count(*) FROM vaultstream.batches WHERE job_no = $1 AND (attempts > 0 OR state = 'split')",
        job.job_no,
    )


async def test_postgres_stopped_in_immediate_mode_loses_nothing_it_acknowledged(arena: Arena) -> None:
    await arena.slow_down("slow", "id % 100 = 0")
    job = await arena.lab.open(batchSize=20, keys={"count": 8}, records={"table": "slow"})
    crashes = 0
    async with arena.running(job) as run:
        for share in (0.1, 0.5):
            await arena.reach(job, share)
            if not run.done():
                crashes += await postgres.crash(arena)
                await arena.lab.pool.expire_connections()
                calm_since = await arena.now()
    assert crashes == 2
    assert await no_attempt_was_counted(arena, job)
    await arena.assert_promises(job, calm_since=calm_since)


async def test_sessions_ended_all_the_time_cost_nothing_but_time(arena: Arena) -> None:
    job = await arena.lab.open(batchSize=20, keys={"count": 8})
    ended = 0
    async with arena.running(job):
        for percent in range(5, 95, 10):
            await arena.reach(job, percent / 100)
            ended += await postgres.end_sessions(arena, "vaultstream-signing%")
            calm_since = await arena.now()
    assert ended >= 20
    assert await no_attempt_was_counted(arena, job)
    await arena.assert_promises(job, calm_since=calm_since)


async def test_a_commit_whose_outcome_is_unknown_counts_once(arena: Arena) -> None:
    """Postgres commits, its answer is lost, and the connection breaks: the signer asks again and learns the outcome."""
    await arena.slow_down("slow", "id % 100 = 0")
    job = await arena.lab.open(batchSize=50, keys={"count": 8}, records={"table": "slow"})
    unknown = 0
    async with arena.running(job):
        for share in (0.05, 0.3, 0.5):
            await arena.reach(job, share)
            unknown += await postgres.lose_a_commits_answer(arena, job)
    assert unknown == 3
    assert await no_attempt_was_counted(arena, job)
    await arena.assert_promises(job)


async def test_a_signer_that_loses_a_deadlock_commits_again(arena: Arena) -> None:
    await arena.slow_down("slow", "id % 100 = 0")  # the job must not end between two deadlocks
    job = await arena.lab.open(batchSize=50, keys={"count": 4}, records={"table": "slow"})
    deadlocks = 0
    async with arena.running(job) as run:
        while deadlocks < 2 and not run.done():
            deadlocks += await postgres.deadlock(arena, job, patience=10)
    assert deadlocks == 2
    assert await no_attempt_was_counted(arena, job)
    await arena.assert_promises(job)


async def test_a_job_completes_in_a_database_that_is_serializable_by_default(arena: Arena) -> None:
    """Then the second writer of a row gets an error and must try again: signers contend for rows all the time."""
    async with arena.connection() as connection:
        name = await connection.fetchval("SELECT current_database()")
        await connection.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'")
    job = await arena.lab.open(batchSize=100, keys={"count": 3})
    async with arena.running(job, signers=3):
        await arena.reach(job, 0.01)
    errors = await arena.lab.value(
        "SELECT xact_rollback FROM pg_stat_database WHERE datname = current_database()"
    )
    assert errors > 0
    assert await no_attempt_was_counted(arena, job)
    await arena.assert_promises(job)


async def test_workers_wait_while_postgres_has_no_free_connection(arena: Arena) -> None:
    """Workers are disconnected and find every connection slot taken; workers that must start meanwhile can't."""
    job = await arena.lab.open(batchSize=10, keys={"count": 8})
    async with arena.running(job) as run:
        await arena.reach(job, 0.1)
        async with postgres.no_connection_left(arena) as taken:
            assert taken > 150
            async with postgres.no_connection_left(arena) as more:
                assert more == 0, "storms inject the same fault twice at a time"
            for pid in arena.workers("signing"):
                arena.send(pid, signal.SIGKILL)
            await eventually(lambda: arena.told("no free connection"), what="a signer starts and is refused")
            assert not run.done()
        await arena.lab.pool.expire_connections()
        calm_since = await arena.now()
    await arena.assert_promises(job, calm_since=calm_since)


@pytest.fixture
def disk() -> Iterator[Path]:
    with small_disk_for_all("1m") as mounted:
        yield mounted


async def test_workers_wait_while_the_disk_has_no_space_for_signatures(arena: Arena, disk: Path) -> None:
    """A disk of 1 MB takes some of them; the rest wait, lose no attempt, and are committed when there is space."""
    job = await arena.lab.open(batchSize=50, keys={"count": 8})
    async with postgres.signatures_on(arena, job, disk):
        async with arena.running(job) as run:
            await eventually(
                lambda: arena.told("No space left"), seconds=PATIENCE / 2, what="a commit finds the disk full"
            )
            assert not run.done()
            signed = int(await arena.lab.value(f"SELECT count(*) FROM {job.signatures_table}"))
            assert 0 < signed < RECORDS
            enlarge(disk, "64m")
        assert await no_attempt_was_counted(arena, job)
        await arena.assert_promises(job)
