"""Many connections at the same few keys, for a few seconds."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter

import asyncpg
import pytest

from support.as_user import connect
from support.engine import add_batches, add_job, history_of, overlaps_of, signatures_of, signed
from vaultstream.store.jobs import Job
from vaultstream.store.leases import (
    COMMITTED,
    FENCED,
    Lease,
    claim_batches,
    commit_batches,
    release_leases,
    renew_leases,
)
from vaultstream.store.progress import read_job

pytestmark = pytest.mark.integration

SECONDS = 4.0
USES = 100
"""More accepted uses than this are judged, however long they take on a busy machine."""
KEYS = 3
BATCHES = 4000


async def hammer(url: str, job: Job, holder: str, accepted: list[tuple[str, Lease, int]]) -> None:
    """Claims, renews, lets expire, releases and commits, at random."""
    chance = random.Random(holder)
    end = time.monotonic() + SECONDS
    async with connect(url) as connection:
        while time.monotonic() < end or len(accepted) <= USES:
            wanted = [chance.randint(1, BATCHES) for _ in range(chance.randint(1, 3))]
            seconds = chance.choice([0.002, 10])
            claims = await claim_batches(connection, job.job_no, holder, wanted, seconds=seconds)
            leased = [(c.batch.batch_no, c.lease) for c in claims if c.lease]
            if not leased:
                await asyncio.sleep(0.001)
                continue
            chance.shuffle(leased)
            if chance.random() < 0.3:
                await renew_leases(connection, holder, [lease for _, lease in leased], seconds=seconds)
            if chance.random() < 0.2:
                await release_leases(connection, holder, [lease for _, lease in leased])
            batches = [signed(number, lease, [number]) for number, lease in leased]
            outcomes = await commit_batches(connection, job.job_no, holder, batches, id_type="bigint")
            accepted += [
                (holder, lease, number)
                for (number, lease), outcome in zip(leased, outcomes, strict=True)
                if outcome == COMMITTED
            ]
            assert set(outcomes) <= {COMMITTED, FENCED, "superseded"}


async def test_eight_holders_of_three_keys_never_have_two_accepted_uses(
    engine_url: str, db: asyncpg.Connection
) -> None:
    job = await add_job(db, keys=KEYS)
    await add_batches(db, job, *([n] for n in range(1, BATCHES + 1)))
    accepted: list[tuple[str, Lease, int]] = []
    await asyncio.gather(*(hammer(engine_url, job, f"holder {n}", accepted) for n in range(8)))
    assert len(accepted) > USES
    assert await overlaps_of(db, job) == 0
    history = await history_of(db, job)
    committed = {(key, epoch) for key, epoch, outcome in history if outcome == "committed"}
    assert committed == {(lease.key_no, lease.epoch) for _, lease, _ in accepted}
    assert await signatures_of(db, job) == {
        number: f"{number} by {lease.key_no}/{lease.epoch}".encode() for _, lease, number in accepted
    }
    assert (await read_job(db, job.token)).progress.signed == len(accepted)
    leases = Counter(key for key, _, _ in history)
    assert max(leases.values()) < 2 * min(leases.values())


async def test_keys_are_used_in_turn(engine_url: str, db: asyncpg.Connection) -> None:
    """With nobody slow, the use of the keys differs by little more than what is in flight at a time."""
    job = await add_job(db, keys=12)
    numbers = await add_batches(db, job, *([n] for n in range(1, 481)))
    queue = list(reversed(numbers))

    async def sign(holder: str) -> None:
        async with connect(engine_url) as connection:
            while queue:
                number = queue.pop()
                [claim] = await claim_batches(connection, job.job_no, holder, [number], seconds=30)
                assert claim.lease
                batch = signed(number, claim.lease, [number])
                assert await commit_batches(connection, job.job_no, holder, [batch], id_type="bigint") == [
                    COMMITTED
                ]

    await asyncio.gather(*(sign(f"holder {n}") for n in range(4)))
    leases = Counter(key for key, _, _ in await history_of(db, job))
    assert sum(leases.values()) == 480
    assert max(leases.values()) - min(leases.values()) <= 4
