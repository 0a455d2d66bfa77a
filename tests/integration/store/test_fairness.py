"""How strict the order of keys is: that of a queue. Whatever lies wholly before something else counts as before it."""

from __future__ import annotations

import asyncio
import math
import random
import time
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field, replace

import asyncpg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from support.as_user import connect
from support.engine import add_batches, add_job, signed
from vaultstream.store.jobs import Job
from vaultstream.store.keys import list_keys
from vaultstream.store.leases import (
    COMMITTED,
    Claim,
    Lease,
    claim_batches,
    commit_batches,
    release_leases,
    renew_leases,
)

pytestmark = pytest.mark.integration


@dataclass(frozen=True)
class Shape:
    """How many holders work, and how."""

    holders: int
    at_a_time: int
    """Keys that one holder asks for in a call, at most."""
    keys: int
    batches: int
    seed: int


SHAPES = st.builds(
    Shape,
    holders=st.integers(2, 6),
    at_a_time=st.integers(1, 5),
    keys=st.integers(1, 40),
    batches=st.integers(40, 160),
    seed=st.integers(0, 2**16),
)


@dataclass
class Call:
    """A call that leased, renewed or released keys: it took effect between these two moments."""

    keys: list[tuple[int, int]]
    """Keys with the epochs of their leases."""
    start: float = field(default_factory=time.perf_counter)
    end: float = 0.0


@dataclass(frozen=True)
class Wait:
    """A key that waits: from the calls by which its holder was done with it to the call that leased it again."""

    key_no: int
    returned: Call
    leased: Call


@dataclass
class Work:
    """What holders do at the same time, and what they did."""

    job: Job
    queue: list[int]
    leases: list[Call] = field(default_factory=list)
    returns: list[Call] = field(default_factory=list)
    renewals: list[Call] = field(default_factory=list)

    @contextmanager
    def noted(self, calls: list[Call], keys: list[tuple[int, int]]) -> Iterator[Call]:
        call = Call(keys)
        yield call
        call.end = time.perf_counter()
        calls.append(call)

    async def hold(
        self, connection: asyncpg.Connection, renewing: asyncpg.Connection, holder: str, shape: Shape
    ) -> None:
        """Leases keys and releases them, with their batches or without, until no batch is left; renews them meanwhile."""
        chance = random.Random(f"{shape.seed} {holder}")
        in_hand: dict[int, Lease] = {}
        over = asyncio.Event()
        renewal = asyncio.create_task(self._renew(renewing, holder, in_hand, over))
        while self.queue:
            mine = [self.queue.pop() for _ in range(min(len(self.queue), chance.randint(1, shape.at_a_time)))]
            with self.noted(self.leases, []) as call:
                claims = await claim_batches(connection, self.job.job_no, holder, mine, seconds=600)
                call.keys += [key_and_epoch(claim) for claim in claims if claim.lease]
            held = [claim for claim in claims if claim.lease]
            self.queue += [claim.batch.batch_no for claim in claims if not claim.lease]
            in_hand |= {claim.lease.key_no: claim.lease for claim in held if claim.lease}
            chance.shuffle(held)
            while held:
                some = [held.pop() for _ in range(chance.randint(1, len(held)))]
                with self.noted(self.returns, [key_and_epoch(claim) for claim in some]):
                    await self._release(connection, holder, some, commit=chance.random() < 0.8)
                for key_no, _ in map(key_and_epoch, some):
                    del in_hand[key_no]
        over.set()
        await renewal

    async def _renew(
        self, connection: asyncpg.Connection, holder: str, in_hand: dict[int, Lease], over: asyncio.Event
    ) -> None:
        """Renews the keys it holds, again and again, including those that are just being released."""
        while not over.is_set():
            leases = list(in_hand.values())
            with self.noted(self.renewals, [(lease.key_no, lease.epoch) for lease in leases]):
                await renew_leases(connection, holder, leases, seconds=600)

    async def _release(
        self, connection: asyncpg.Connection, holder: str, claims: list[Claim], *, commit: bool
    ) -> None:
        leases = [claim.lease for claim in claims if claim.lease]
        numbers = [claim.batch.batch_no for claim in claims]
        if commit:
            batches = [signed(number, lease, [number]) for number, lease in zip(numbers, leases, strict=True)]
            outcomes = await commit_batches(connection, self.job.job_no, holder, batches, id_type="bigint")
            assert set(outcomes) == {COMMITTED}
        else:
            await release_leases(connection, holder, leases)
            self.queue += numbers

    def waits(self, keys: list[int]) -> list[Wait]:
        """Every wait of every key, also the first ones and those that did not end, by the epochs of its leases.

        A key is released when all calls of its holder about it have ended, renewals too.
        """
        leased = {lease: call for call in self.leases for lease in call.keys}
        returned = {lease: replace(call) for call in self.returns for lease in call.keys}
        for renewal in self.renewals:
            for lease in renewal.keys:
                returned[lease].end = max(returned[lease].end, renewal.end)
        returned |= {(key_no, 0): Call([], -math.inf, -math.inf) for key_no in keys}
        never = Call([], math.inf, math.inf)
        return [
            Wait(key_no, call, leased.get((key_no, epoch + 1), never))
            for (key_no, epoch), call in returned.items()
        ]


def key_and_epoch(claim: Claim) -> tuple[int, int]:
    assert claim.lease
    return claim.lease.key_no, claim.lease.epoch


def overtakings(waits: list[Wait]) -> list[tuple[Wait, Wait]]:
    """For each key that waited and was overtaken, the pair of it and one that overtook it, when none of this happened at the same time.

    The first was released, then the second, then the second was leased, and only then the first: each call ended before
    the next one began.
    """
    others = sorted(
        (wait for wait in waits if wait.returned.end < wait.leased.start),
        key=lambda wait: wait.returned.start,
    )
    soonest = list(others)
    """For each place, the first to be leased of those that were released from there on."""
    for place in reversed(range(len(others) - 1)):
        soonest[place] = min(others[place], soonest[place + 1], key=lambda wait: wait.leased.end)
    starts = [wait.returned.start for wait in others]
    pairs = []
    for waiting in waits:
        place = bisect_right(starts, waiting.returned.end)
        if place < len(others) and soonest[place].leased.end < waiting.leased.start:
            pairs.append((waiting, soonest[place]))
    return pairs


async def work(url: str, shape: Shape) -> list[Wait]:
    """Has holders work at the same time on a job of their own."""
    async with AsyncExitStack() as stack:
        connections = [await stack.enter_async_context(connect(url)) for _ in range(2 * shape.holders)]
        job = await add_job(connections[0], keys=shape.keys)
        batches = await add_batches(connections[0], job, *([n] for n in range(1, shape.batches + 1)))
        done = Work(job, batches)
        pairs = zip(connections[::2], connections[1::2], strict=True)
        await asyncio.gather(*(done.hold(*pair, f"holder {n}", shape) for n, pair in enumerate(pairs)))
        keys = [key.key_no for key in await list_keys(connections[0], job.job_no)]
    return done.waits(keys)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(Shape(holders=6, at_a_time=3, keys=30, batches=300, seed=1))
@example(Shape(holders=6, at_a_time=5, keys=3, batches=100, seed=2))
@given(shape=SHAPES)
def test_no_key_overtakes_one_that_had_waited_longer(engine_url: str, shape: Shape) -> None:
    """Whatever the shape. (At the same moment there is no order: of calls that overlap, either may come first.)"""
    waits = asyncio.run(work(engine_url, shape))
    assert len(waits) >= shape.batches
    assert overtakings(waits) == []


async def test_one_holder_alone_sees_the_strict_order(engine_url: str) -> None:
    waits = await work(engine_url, Shape(holders=1, at_a_time=1, keys=7, batches=70, seed=4))
    turns = [wait.key_no for wait in sorted(waits, key=lambda wait: wait.leased.start)]
    assert len(turns) >= 70
    assert all(turns[place] == turns[place - 7] for place in range(7, len(turns)))
