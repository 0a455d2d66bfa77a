"""Two logins of the signers' role, and a job to try them on."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from support.as_user import connect
from support.engine import add_batches, add_job
from support.guarded import GuardedDatabase, another_login
from vaultstream.store.jobs import Job

ANN = "ann"
"""The name that the holder of a lease gives himself."""


@pytest.fixture
async def job(owner: asyncpg.Connection) -> AsyncIterator[Job]:
    """A job with two keys and two pending batches of one record, whose batches may fail twice."""
    job = await add_job(owner, keys=2, retries={"maxAttempts": 2})
    await add_batches(owner, job, [1], [2])
    yield job
    await owner.execute("SELECT vaultstream.delete_job($1, 'Delete')", job.job_no)


@pytest.fixture
async def signer(database: GuardedDatabase) -> AsyncIterator[asyncpg.Connection]:
    async with connect(database.urls["signing"]) as connection:
        yield connection


@pytest.fixture
async def other(database: GuardedDatabase) -> AsyncIterator[asyncpg.Connection]:
    """A connection of another login of the same role."""
    async with another_login(database, "signing") as url, connect(url) as connection:
        yield connection


async def attempts_of(owner: asyncpg.Connection, job: Job) -> list[int]:
    rows = await owner.fetch(
        "SELECT attempts FROM vaultstream.batches WHERE job_no = $1 ORDER BY batch_no", job.job_no
    )
    return [row["attempts"] for row in rows]
