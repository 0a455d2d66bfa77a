"""Step 5, commit, on a real Postgres."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import pytest

from support.as_user import connect
from support.engine import add_batches, add_job, claim_one, expire, signatures_of, signed
from support.waiting import eventually
from vaultstream.signing.batch import Batch
from vaultstream.signing.commit import commit
from vaultstream.store.leases import COMMITTED, FENCED, SUPERSEDED, lease_clock
from vaultstream.store.source_pool import SourceAlteredError, SourceState

if TYPE_CHECKING:
    import asyncpg
    from nats.aio.msg import Msg

    from vaultstream.store.database import Pool
    from vaultstream.store.jobs import Job

pytestmark = pytest.mark.integration


async def ready(db: asyncpg.Connection, job: Job, number: int) -> Batch:
    """A batch of one record, signed under its own lease."""
    batch = Batch(number, cast("Msg", None))
    batch.lease = await claim_one(db, job, "ann", number)
    batch.signed = signed(number, batch.lease, [number])
    return batch


async def test_a_batch_past_its_deadline_is_not_sent(pool: Pool, db: asyncpg.Connection) -> None:
    """Postgres would accept it: only the holder's own clock prevents it."""
    job = await add_job(db)
    await add_batches(db, job, [1], [2])
    late, held = [await ready(db, job, n) for n in (1, 2)]
    late.lease.deadline = lease_clock()
    assert await commit(pool, job.job_no, "ann", [late, held], id_type="bigint") == [FENCED, COMMITTED]
    assert set(await signatures_of(db, job)) == {2}


async def test_each_outcome_belongs_to_its_place_also_of_a_batch_that_is_there_twice(
    pool: Pool, db: asyncpg.Connection
) -> None:
    job = await add_job(db)
    await add_batches(db, job, [1])
    late, held, again = [await ready(db, job, 1) for _ in range(3)]
    await expire(db, late.lease)
    outcomes = await commit(pool, job.job_no, "ann", [late, held, again], id_type="bigint")
    assert outcomes == [FENCED, COMMITTED, SUPERSEDED]


async def test_a_commit_is_sent_again_after_its_connection_broke(
    engine_url: str, pool: Pool, db: asyncpg.Connection
) -> None:
    """The connection breaks while the commit waits for a lock, so its outcome is unknown."""
    job = await add_job(db)
    await add_batches(db, job, [1])
    batch = await ready(db, job, 1)
    async with connect(engine_url) as blocker:
        held = blocker.transaction()
        await held.start()
        await blocker.execute("SELECT FROM vaultstream.keys WHERE job_no = $1 FOR UPDATE", job.job_no)
        committing = asyncio.create_task(commit(pool, job.job_no, "ann", [batch], id_type="bigint"))

        async def cut() -> bool:
            return bool(
                await db.fetchval(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND wait_event_type = 'Lock'"
                )
            )

        await eventually(cut)
        await held.rollback()
    assert await asyncio.wait_for(committing, 10) == [COMMITTED]
    assert set(await signatures_of(db, job)) == {1}


async def test_a_commit_is_given_up_when_the_lease_ends_before_postgres_is_back(
    pool: Pool, db: asyncpg.Connection
) -> None:
    job = await add_job(db)
    await add_batches(db, job, [1])
    batch = await ready(db, job, 1)
    batch.lease.deadline = lease_clock() + 0.5
    pool.terminate()
    assert await asyncio.wait_for(commit(pool, job.job_no, "ann", [batch], id_type="bigint"), 5) == [FENCED]
    assert batch.lease.remaining <= 0


async def test_records_of_a_relation_that_was_altered_since_are_read_again_at_once(
    pool: Pool, db: asyncpg.Connection
) -> None:
    """To send the commit again would wait for the end of the lease."""
    job = await add_job(db)
    await add_batches(db, job, [1])
    batch = await ready(db, job, 1)
    batch.signed.read_of = SourceState(
        await db.fetchval("SELECT 'nowhere'::regclass::oid"), "nowhere", "0", "0"
    )
    with pytest.raises(SourceAlteredError):
        await asyncio.wait_for(commit(pool, job.job_no, "ann", [batch], id_type="bigint"), 5)
    assert await signatures_of(db, job) == {}
