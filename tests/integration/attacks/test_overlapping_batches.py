"""What someone who has the login of the records worker tries: on the plan of a job."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from support.engine import add_batches, add_job, claim_one, signatures_of, signed
from support.guarded import GuardedDatabase
from vaultstream.store.database import connect
from vaultstream.store.jobs import Job
from vaultstream.store.leases import COMMITTED, commit_batches

pytestmark = pytest.mark.integration


@pytest.fixture
async def job(owner: asyncpg.Connection) -> AsyncIterator[Job]:
    """A job with one key and a batch of two records."""
    job = await add_job(owner, keys=1)
    await add_batches(owner, job, [1, 2])
    yield job
    await owner.execute("SELECT vaultstream.delete_job($1, 'Delete')", job.job_no)


async def test_a_record_planned_once_more_keeps_its_one_signature(
    job: Job, database: GuardedDatabase, owner: asyncpg.Connection
) -> None:
    async with connect(database.urls["records"]) as records:
        await records.execute(
            "INSERT INTO vaultstream.batches (job_no, batch_no, records, first_id, last_id, ids)"
            " VALUES ($1, 2, 2, '2', '3', '{2,3}')",
            job.job_no,
        )
    async with connect(database.urls["signing"]) as signer:
        for number, ids in ((1, [1, 2]), (2, [2, 3])):
            lease = await claim_one(signer, job, "ann", number)
            batch = signed(number, lease, ids)
            assert await commit_batches(signer, job.job_no, "ann", [batch], id_type="bigint") == [COMMITTED]
    found = await signatures_of(owner, job)
    assert sorted(found) == [1, 2, 3]
    assert found[2] == b"2 by " + found[1].partition(b" by ")[2]
