"""A renewal waits for no key: what is locked is left as it is, and nothing else suffers from it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from support.as_user import connect
from support.engine import add_batches, add_job, claim_one, signed
from vaultstream.store.jobs import Job
from vaultstream.store.leases import COMMITTED, Lease, commit_batches, release_leases, renew_leases

pytestmark = pytest.mark.integration

HOLDER = "ann"
WAIT = 5.0
"""Seconds; a renewal that takes longer waits for a lock."""


@pytest.fixture
async def job(db: asyncpg.Connection) -> Job:
    job = await add_job(db, keys=3)
    await add_batches(db, job, [1], [2], [3], [4])
    return job


@pytest.fixture
async def other(engine_url: str) -> AsyncIterator[asyncpg.Connection]:
    async with connect(engine_url) as connection:
        yield connection


async def two_leases(db: asyncpg.Connection, job: Job) -> list[Lease]:
    leases = [await claim_one(db, job, HOLDER, number) for number in (1, 2)]
    return sorted(leases, key=lambda lease: lease.key_no)


async def renew(db: asyncpg.Connection, leases: list[Lease]) -> list[Lease]:
    return await asyncio.wait_for(renew_leases(db, HOLDER, leases, seconds=600), WAIT)


async def commit(db: asyncpg.Connection, job: Job, lease: Lease, number: int) -> list[str]:
    batch = signed(number, lease, [number])
    return await commit_batches(db, job.job_no, HOLDER, [batch], id_type="bigint")


@pytest.mark.parametrize("which", [0, 1], ids=["the first key", "the last key"])
async def test_a_commit_that_hangs_does_not_let_the_other_leases_expire(
    db: asyncpg.Connection, other: asyncpg.Connection, job: Job, which: int
) -> None:
    leases = await two_leases(db, job)
    committing, held = leases[which], leases[1 - which]
    before = committing.deadline, held.deadline
    async with other.transaction():
        assert await commit(other, job, committing, 1 + which) == [COMMITTED]
        assert await renew(db, leases) == []
        assert not committing.lost, "it may be committed, or come back to its holder"
        assert (committing.deadline, held.deadline > before[1] + 500) == (before[0], True)
    assert await renew(db, leases) == [committing]


async def test_a_key_whose_commit_failed_is_renewed_again(
    db: asyncpg.Connection, other: asyncpg.Connection, job: Job
) -> None:
    leases = await two_leases(db, job)
    transaction = other.transaction()
    await transaction.start()
    await commit(other, job, leases[0], 1)
    await renew(db, leases)
    await transaction.rollback()
    before = leases[0].deadline
    assert await renew(db, leases) == []
    assert leases[0].deadline > before + 500


async def test_a_key_released_during_a_renewal_is_not_overtaken(
    db: asyncpg.Connection, other: asyncpg.Connection, engine_url: str, job: Job
) -> None:
    """A renewal that waited for the row would have it locked while another key is released, and leased before it."""
    given_back, held = await two_leases(db, job)
    later = await claim_one(db, job, "bob", 3)
    async with connect(engine_url) as blocker, blocker.transaction():
        await blocker.execute("SELECT FROM vaultstream.keys WHERE key_no = $1 FOR UPDATE", held.key_no)
        async with connect(engine_url) as renewing:
            async with other.transaction():
                await release_leases(other, HOLDER, [given_back])
                renewal = asyncio.create_task(renew(renewing, [given_back, held]))
                await asyncio.wait([renewal], timeout=0.2)
            await release_leases(db, "bob", [later])
            assert (await claim_one(db, job, "bob", 4)).key_no == given_back.key_no
            assert await renewal == []


async def test_a_lease_of_the_same_key_is_not_taken_for_the_one_that_is_renewed(
    db: asyncpg.Connection, job: Job
) -> None:
    lease, _ = await two_leases(db, job)
    await release_leases(db, HOLDER, [lease])
    again = lease
    while again.key_no != lease.key_no or again.epoch == lease.epoch:
        again = await claim_one(db, job, HOLDER, 3)
    until = "SELECT lease_until FROM vaultstream.keys WHERE key_no = $1"
    before = await db.fetchval(until, again.key_no)
    assert await renew(db, [lease]) == [lease]
    assert await db.fetchval(until, again.key_no) == before


async def test_a_lease_is_lost_once_its_holder_has_leased_the_key_again(
    db: asyncpg.Connection, job: Job
) -> None:
    before = await claim_one(db, job, HOLDER, 1)
    await db.execute(
        "UPDATE vaultstream.keys SET leased_at = leased_at - interval '1 h', lease_until = lease_until - interval '1 h' "
        "WHERE job_no = $1",
        job.job_no,
    )
    leases = [await claim_one(db, job, HOLDER, number) for number in (2, 3, 4)]
    assert before.key_no in {lease.key_no for lease in leases}
    assert await renew(db, [before, *leases]) == [before]
    assert before.lost
