"""Commits beside other commits, revocations and planning: what is locked, in which order, and what need not wait."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg
import pytest

from support.as_user import connect
from support.engine import (
    add_batches,
    add_job,
    add_table,
    claim_one,
    commit,
    open_sources,
    signatures_of,
    signed,
    waits_for_a_lock,
)
from vaultstream.records.source import open_readable_source
from vaultstream.store import keys
from vaultstream.store.batches import plan_page
from vaultstream.store.jobs import Job, get_job
from vaultstream.store.leases import (
    COMMITTED,
    FENCED,
    SUPERSEDED,
    Lease,
    claim_batches,
    release_leases,
)

pytestmark = pytest.mark.integration


async def test_a_key_revoked_while_it_is_being_leased_is_fenced_too(
    engine_url: str, db: asyncpg.Connection
) -> None:
    """The lease's transaction is open when the key is revoked, which then finds no holder to end."""
    job = await add_job(db, keys=1)
    await add_batches(db, job, [1])
    key_id = f"{job.token}-1"
    async with connect(engine_url) as other:
        async with other.transaction():
            lease = await claim_one(other, job, "ann", 1)
            revoking = asyncio.create_task(keys.end_keys(db, job.job_no, [key_id], state="revoked"))
            await waits_for_a_lock(other)
        assert await revoking == [key_id]
    assert await commit(db, job, signed(1, lease, [1])) == [FENCED]
    assert await signatures_of(db, job) == {}


async def test_two_holders_commit_the_same_batches_in_opposite_orders(
    engine_url: str, db: asyncpg.Connection
) -> None:
    for _ in range(10):
        job = await add_job(db, keys=12)
        numbers = await add_batches(db, job, *([n] for n in range(6)))
        async with connect(engine_url) as one, connect(engine_url) as two:
            hands = []
            for connection, holder in ((one, "ann"), (two, "bob")):
                claims = await claim_batches(connection, job.job_no, holder, numbers, seconds=30)
                hands.append(
                    [signed(c.batch.batch_no, c.lease, [c.batch.batch_no - 1]) for c in claims if c.lease]
                )
            forth, back = await asyncio.gather(
                commit(one, job, *hands[0], holder="ann"),
                commit(two, job, *reversed(hands[1]), holder="bob"),
            )
        for both in zip(forth, reversed(back), strict=True):
            assert both.count(COMMITTED) == 1, both
            assert {*both} <= {COMMITTED, SUPERSEDED, FENCED}
        assert set(await signatures_of(db, job)) == set(range(6))


async def commit_both(db: asyncpg.Connection, job: Job, high: Lease, low: Lease) -> None:
    assert await commit(db, job, signed(2, high, [2]), signed(1, low, [1])) == [COMMITTED, COMMITTED]


async def release_both(db: asyncpg.Connection, job: Job, high: Lease, low: Lease) -> None:
    await release_leases(db, "ann", [high, low])


async def revoke_both(db: asyncpg.Connection, job: Job, high: Lease, low: Lease) -> None:
    changed = await keys.end_keys(db, job.job_no, [high.key_id, low.key_id], state="revoked")
    assert set(changed) == {high.key_id, low.key_id}


@pytest.mark.parametrize("step", [commit_both, release_both, revoke_both])
async def test_keys_are_locked_in_one_order_so_that_no_two_steps_deadlock(
    engine_url: str, db: asyncpg.Connection, step: Callable[..., Awaitable[None]]
) -> None:
    """A holder's commits and an operator's revocation meet on the same keys at any time; renewals wait for none."""
    job = await add_job(db, keys=2)
    await add_batches(db, job, [1], [2])
    low, high = sorted([await claim_one(db, job, "ann", n) for n in (1, 2)], key=lambda lease: lease.key_no)
    async with connect(engine_url) as blocker, connect(engine_url) as one, connect(engine_url) as two:
        held = blocker.transaction()
        await held.start()
        await blocker.execute("SELECT FROM vaultstream.keys WHERE key_no = $1 FOR UPDATE", low.key_no)
        for plan in (
            "hashjoin",
            "mergejoin",
            "seqscan",
            "bitmapscan",
        ):  # the one that takes rows as they are given
            await one.execute(f"SET enable_{plan} = off")
        committing = asyncio.create_task(step(one, job, high, low))
        await waits_for_a_lock(blocker)
        # whoever waits for the lower key must not have locked the higher one by then
        await two.execute("SET lock_timeout = '1s'")
        assert await two.fetchval(
            "SELECT key_no FROM vaultstream.keys WHERE key_no = $1 FOR UPDATE", high.key_no
        )
        await held.rollback()
        await committing


async def test_dead_letters_are_committed_while_a_page_is_being_planned(
    engine_url: str, db: asyncpg.Connection
) -> None:
    """Planning holds the job's row for as long as a page takes; what refers to the row must not wait for it."""
    job = await add_job(db, await add_table(db))
    await add_batches(db, job, [1])
    lease = await claim_one(db, job, "ann", 1)
    await db.execute(
        "UPDATE vaultstream.jobs SET planned = false, upper_id = '9' WHERE job_no = $1", job.job_no
    )
    async with connect(engine_url) as planner, open_sources(engine_url) as sources:
        source = await open_readable_source(sources, job)
        async with planner.transaction():
            await plan_page(planner, sources, await get_job(planner, job.token), source)
            await db.execute("SET lock_timeout = '2s'")
            assert await commit(db, job, signed(1, lease, [], dead=[1])) == [COMMITTED]
