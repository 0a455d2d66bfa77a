"""A login of the records workers' role, and a job to try it on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from support.as_user import connect
from support.engine import add_job, add_table
from support.guarded import GuardedDatabase
from vaultstream.store.batches import move_published
from vaultstream.store.jobs import (
    Job,
    get_job,
    start_job,
)


@pytest.fixture
async def planner(database: GuardedDatabase) -> AsyncIterator[asyncpg.Connection]:
    async with connect(database.urls["records"]) as connection:
        yield connection


@pytest.fixture
async def planned_job(
    database: GuardedDatabase, owner: asyncpg.Connection, planner: asyncpg.Connection
) -> AsyncIterator[Job]:
    """A job of which the records worker has planned 10 of 25 records, in two batches, and published one."""
    table = await add_table(owner, range(1, 26))
    await owner.execute(f"GRANT SELECT ON {table} TO {database.logins['source']}")
    job = await add_job(owner, table, keys=1, batchSize=5)
    await start_job(planner, job.job_no, upper_id="25")
    async with planner.transaction():
        await planner.execute(
            "INSERT INTO vaultstream.batches (job_no, batch_no, records, first_id, last_id) "
            "VALUES ($1, 1, 5, '1', '5'), ($1, 2, 5, '6', '10')",
            job.job_no,
        )
        await planner.execute(
            "UPDATE vaultstream.jobs SET planned_id = '10', next_batch_no = 3 WHERE job_no = $1", job.job_no
        )
    await move_published(planner, job.job_no, 1)
    yield await get_job(owner, job.token)
    await owner.execute("SELECT vaultstream.delete_job($1, 'Delete')", job.job_no)


PLAN = (
    "INSERT INTO vaultstream.batches (job_no, batch_no, records, first_id, last_id, ids) "
    "VALUES ($1, $2, $3, $4, $5, $6)"
)


async def state_of(owner: asyncpg.Connection, job: Job) -> list[dict[str, Any]]:
    return [
        dict(row)
        for table in ("jobs", "batches")
        for row in await owner.fetch(f"SELECT * FROM vaultstream.{table} WHERE job_no = $1", job.job_no)
    ]
