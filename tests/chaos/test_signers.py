"""Signers are killed, stopped past their leases at every step, terminated during a batch, and given wrong clocks."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest

from support.chaos.arena import PATIENCE
from support.chaos.points import SIGNER_POINTS, START
from support.chaos.postgres import commits_held
from support.chaos.processes import signal_worker
from support.waiting import eventually

if TYPE_CHECKING:
    from support.chaos.arena import Arena
    from support.lab import Ended
    from vaultstream.store.jobs import Job

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

BEFORE_THE_COMMIT = ["after-lease", "after-read", "after-sign"]
SLOW_END = "id > 18000 AND id % 20 = 0"
"""Records that are slow to read, so that a job does not end before its messages are redelivered."""


async def settled_or_ended(arena: Arena, job: Job, run: asyncio.Task[Ended], floor: int) -> bool:
    return run.done() or await arena.settled(job) >= floor


async def leases_of(arena: Arena, pid: int) -> set[tuple[int, int]]:
    """The leases, by key and epoch, that a process holds or held when it was stopped."""
    rows = await arena.lab.rows(
        "SELECT key_no, epoch FROM vaultstream.keys WHERE holder LIKE '%:' || $1 || ':%'", str(pid)
    )
    return {(key_no, epoch) for key_no, epoch in rows}


async def ends_of(arena: Arena, pid: int) -> dict[tuple[int, int], str]:
    """How the leases of a process ended."""
    rows = await arena.lab.rows(
        "SELECT key_no, epoch, outcome FROM vaultstream.leases WHERE holder LIKE '%:' || $1 || ':%'", str(pid)
    )
    return {(key_no, epoch): outcome for key_no, epoch, outcome in rows}


async def test_signers_killed_at_random_throughout_lose_nothing(arena: Arena) -> None:
    chance, killed = random.Random(1), 0
    job = await arena.lab.open(batchSize=50, keys={"count": 12})
    async with arena.running(job) as run:
        await eventually(lambda: arena.settled(job))
        while not run.done():
            killed += signal_worker(arena, "signing", signal.SIGKILL, chance) is not None
            gone_on = partial(settled_or_ended, arena, job, run, await arena.settled(job) + 60)
            await eventually(gone_on, seconds=PATIENCE / 2, what="other signers continue")
    assert killed >= 4
    await arena.assert_promises(job)


@pytest.mark.parametrize("point", SIGNER_POINTS)
async def test_a_signer_stopped_past_its_leases_at_any_step_does_no_harm_when_it_continues(
    arena: Arena, point: str
) -> None:
    await arena.slow_down("slow", SLOW_END)
    job = await arena.lab.open(batchSize=50, keys={"count": 8}, records={"table": "slow"})
    arena.points.arm(point, "stop")
    async with arena.running(job), arena.second_acks(job) as again:
        pid = await eventually(lambda: arena.points.taken(point))
        asleep = await leases_of(arena, pid)

        async def all_over() -> bool:
            return not await leases_of(arena, pid)

        await eventually(all_over, what="other signers have taken over its keys")
        await eventually(lambda: again, what="others were delivered what it had, and acknowledged it")
        arena.send(pid, signal.SIGCONT)
    ends = await ends_of(arena, pid)
    assert asleep or point == "before-ack"
    assert {ends[lease] for lease in asleep} <= {"expired"}, "none of its work was accepted afterwards"
    await arena.assert_promises(job)


@pytest.mark.parametrize("point", BEFORE_THE_COMMIT)
async def test_a_signer_whose_lease_outlasts_its_delivery_finds_its_batches_settled(
    arena: Arena, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fence lets it pass, because its keys are still its own. Its batches are not: others received and signed them."""
    monkeypatch.setenv("VAULTSTREAM_LEASE_SECONDS", "600")
    await arena.slow_down("slow", SLOW_END)
    job = await arena.lab.open(
        batchSize=50, keys={"count": 40}, records={"table": "slow"}, signer={"concurrency": 4}
    )
    arena.points.arm(point, "stop")
    async with arena.running(job), arena.second_acks(job) as again:
        pid = await eventually(lambda: arena.points.taken(point))
        asleep = await leases_of(arena, pid)
        await eventually(lambda: again, what="others were delivered what it had, and acknowledged it")
        assert asleep <= await leases_of(arena, pid), "its leases have not expired"
        arena.send(pid, signal.SIGCONT)
    ends = await ends_of(arena, pid)
    assert "superseded" in {ends[lease] for lease in asleep}
    assert set(ends.values()) <= {"committed", "superseded", "released"}
    await arena.assert_promises(job)


@pytest.mark.parametrize("point", SIGNER_POINTS)
async def test_a_signer_killed_at_any_step_costs_nothing_but_time(arena: Arena, point: str) -> None:
    job = await arena.lab.open(batchSize=50, keys={"count": 8})
    arena.points.arm(point, "kill")
    async with arena.running(job):
        pid = await eventually(lambda: arena.points.taken(point))
    ends = await ends_of(arena, pid)
    assert "expired" in ends.values() or point == "before-ack"
    await arena.assert_promises(job)


@pytest.mark.parametrize("then", ["goes on", "is killed", "loses its session"])
async def test_a_signer_stopped_past_its_leases_in_the_commit_is_committed_once_or_not_at_all(
    arena: Arena, then: str
) -> None:
    """Its transaction has passed the fence and locks the key's row: nobody else can lease the key before it ends."""
    job = await arena.lab.open(batchSize=50, keys={"count": 8})
    async with arena.running(job):
        async with commits_held(arena, job) as held:
            assert held is not None
            arena.send(held.signer, signal.SIGSTOP)
            asleep = await leases_of(arena, held.signer)
            over = (
                "SELECT bool_and(lease_until < clock_timestamp()) FROM vaultstream.keys WHERE holder LIKE $1"
            )
            await eventually(lambda: arena.lab.value(over, f"%:{held.signer}:%"))
            if then == "loses its session":
                await arena.lab.value("SELECT pg_terminate_backend($1)", held.backend)
        if then == "is killed":
            arena.send(held.signer, signal.SIGKILL)
        if then != "loses its session":  # Postgres completes the commit that it had received

            async def committed() -> bool:
                ends = await ends_of(arena, held.signer)
                return any(ends.get(lease) == "committed" for lease in asleep)

            await eventually(committed)
        arena.send(held.signer, signal.SIGCONT)
    if then == "loses its session":
        ends = await ends_of(arena, held.signer)
        assert {ends[lease] for lease in asleep} == {"expired"}
    await arena.assert_promises(job)


@pytest.mark.parametrize("point", SIGNER_POINTS)
async def test_sigterm_during_a_batch_exits_cleanly_and_nothing_waits_for_a_lease_to_expire(
    arena: Arena, point: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("VAULTSTREAM_LEASE_SECONDS", "VAULTSTREAM_ACK_WAIT_SECONDS"):
        monkeypatch.setenv(name, "600")
    job = await arena.lab.open(batchSize=50, keys={"count": 8})
    arena.points.arm(point, "term")
    async with arena.running(job):
        pid = await eventually(lambda: arena.points.taken(point))
        asked = time.monotonic()
        await eventually(lambda: pid not in arena.workers("signing"), seconds=25)
        assert time.monotonic() - asked < 25, "well within the grace period of 30 s"
        assert await leases_of(arena, pid) == set()
    assert set((await ends_of(arena, pid)).values()) <= {"committed", "released"}
    ended = [vars(record).get("worker", "") for record in caplog.records if hasattr(record, "exit_code")]
    assert not [worker for worker in ended if worker.startswith("signing")], "all exited with 0"
    await arena.assert_promises(job)


@pytest.mark.parametrize("ahead", [3600, -3600])
async def test_two_signers_whose_clocks_are_an_hour_apart_share_the_keys(arena: Arena, ahead: int) -> None:
    job = await arena.lab.open(batchSize=25, keys={"count": 8})
    arena.points.arm(START, str(ahead))
    async with arena.running(job):
        shifted = await eventually(lambda: arena.points.taken(START))
    rows = await arena.lab.rows("SELECT DISTINCT split_part(holder, ':', 2)::int FROM vaultstream.leases")
    assert {shifted} < {pid for (pid,) in rows}, "both signers have signed"
    assert set(await arena.outcomes(job)) <= {"committed", "released"}, (
        "neither signer took over the other's keys"
    )
    await arena.assert_promises(job)
