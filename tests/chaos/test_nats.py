"""JetStream may lose, repeat, reorder, delay or forge messages: the job still keeps its guarantees."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest

from support.chaos import nats
from support.chaos.processes import PAST_A_LEASE
from support.waiting import eventually
from vaultstream.bus.subjects import KEYS_STREAM, RECORDS_STREAM

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from support.chaos.arena import Arena
    from vaultstream.store.jobs import Job

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]


def _delete(stream: str) -> Callable[[Arena, Job], Awaitable[object]]:
    return lambda arena, job: nats.delete_stream(arena, stream)


LOSSES: dict[str, Callable[[Arena, Job], Awaitable[object]]] = {
    "killed": lambda arena, job: nats.kill(arena),
    "killed and its store wiped": lambda arena, job: nats.kill(arena, wipe=True),
    "consumer deleted": nats.delete_consumer,
    "stream of batches deleted": _delete(RECORDS_STREAM),
    "stream of keys deleted": _delete(KEYS_STREAM),
    "stopped for longer than a lease": lambda arena, job: nats.freeze(arena, seconds=PAST_A_LEASE),
}


async def opened(arena: Arena, *, batch_size: int = 20) -> Job:
    """A slow job, so that it does not end before the test has disturbed it."""
    await arena.slow_down("slow", "id % 100 = 0")
    return await arena.lab.open(batchSize=batch_size, keys={"count": 8}, records={"table": "slow"})


@pytest.mark.parametrize("loss", LOSSES)
async def test_what_nats_loses_during_a_run_is_rebuilt_from_postgres(arena: Arena, loss: str) -> None:
    """Twice: what was rebuilt is lost again."""
    job = await opened(arena)
    hits = 0
    async with arena.running(job) as run:
        for share in (0.1, 0.5):
            await arena.reach(job, share)
            await eventually(lambda: run.done() or LOSSES[loss](arena, job), what="it exists and can be lost")
            hits += not run.done()
    assert hits == 2
    await arena.assert_promises(job)


async def test_batches_delivered_many_times_and_in_any_order_are_signed_once(arena: Arena) -> None:
    chance = random.Random(3)
    job = await opened(arena)
    sent = 0
    async with arena.running(job) as run:
        for share in (0.05, 0.3, 0.6):
            await arena.reach(job, share)
            if not run.done():
                sent += await nats.republish(arena, job, chance, times=2, mix=True)
                await nats.reorder(arena, job)
    assert sent > 500
    await arena.assert_promises(job)


async def test_garbage_and_forgeries_on_both_streams_change_nothing(arena: Arena) -> None:
    """Invalid batch names, numbers out of range, rollups, floods of brackets, forged envelopes and states."""
    chance = random.Random(4)
    job = await opened(arena)
    taken = 0
    async with arena.running(job) as run:
        while not run.done() and taken < 150:
            await arena.reach(job, 0.01)
            taken += await nats.send_garbage(arena, job, chance)
    assert taken > 30
    states = await arena.lab.rows("SELECT DISTINCT state FROM vaultstream.keys")
    assert states == [("active",)], "keys.> announces a state, Postgres decides it"
    await arena.assert_promises(job)


async def test_a_slow_nats_that_disconnects_again_and_again_only_costs_time(arena: Arena) -> None:
    job = await opened(arena, batch_size=50)
    arena.nats.delay_seconds = 0.03
    cuts = 0
    async with arena.running(job) as run:
        for share in (0.05, 0.25, 0.45, 0.65):
            await arena.reach(job, share)
            if not run.done():
                cuts += arena.nats.cut()
    assert cuts >= 10
    await arena.assert_promises(job)


async def test_lost_answers_of_nats_only_cost_time(arena: Arena) -> None:
    """It is unknown whether acknowledgments arrive and publications are stored."""
    job = await opened(arena)
    async with arena.running(job) as run:
        for share in (0.05, 0.4):
            await arena.reach(job, share)
            if run.done():
                break
            with arena.nats.deaf():
                await asyncio.sleep(PAST_A_LEASE)  # time is the fault here
    assert arena.nats.cuts >= 4
    await arena.assert_promises(job)
