"""A signer's connections plan their statements before there is work."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.engine import add_batches, add_job, claim_one, commit, expire, open_sources, signed
from vaultstream.signing.rehearse import rehearse
from vaultstream.store.leases import COMMITTED

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncpg

    from vaultstream.store.database import Pool
    from vaultstream.store.source_pool import SourcePool

pytestmark = pytest.mark.integration

CONNECTIONS = 2


@pytest.fixture
async def sources(engine_url: str) -> AsyncIterator[SourcePool]:
    async with open_sources(engine_url, size=CONNECTIONS) as sources:
        yield sources


@pytest.mark.parametrize("id_type", ["bigint", "uuid", "text"])
async def test_a_rehearsal_goes_as_far_as_the_rows_and_changes_nothing(
    pool: Pool, sources: SourcePool, db: asyncpg.Connection, id_type: str
) -> None:
    job = await add_job(db, id_type=id_type, keys=2)
    await add_batches(db, job, [1])
    rows = "SELECT k, b FROM vaultstream.keys k JOIN vaultstream.batches b USING (job_no) WHERE job_no = $1 ORDER BY k.key_no"
    before = await db.fetch(rows, job.job_no)
    await rehearse(pool, sources, job.job_no, "ann", id_type=id_type, connections=CONNECTIONS)
    assert await db.fetch(rows, job.job_no) == before
    inserts = f"vaultstream.insert_signatures_{job.job_no}"
    assert await db.fetchval("SELECT count(*) FROM pg_proc WHERE oid::regproc::text = $1", inserts) == 1
    of_job = f"WHERE job_no = {job.job_no}"
    for written in (
        f"signatures_{job.job_no}",
        f"leases JOIN vaultstream.keys USING (key_no) {of_job}",
        f"statements {of_job}",
        f"dead_letters {of_job}",
    ):
        assert await db.fetchval(f"SELECT count(*) FROM vaultstream.{written}") == 0, written


async def test_a_batch_is_committed_after_a_rehearsal(
    pool: Pool, sources: SourcePool, db: asyncpg.Connection
) -> None:
    job = await add_job(db)
    await add_batches(db, job, [1, 2])
    await rehearse(pool, sources, job.job_no, "ann", id_type="bigint", connections=CONNECTIONS)
    lease = await claim_one(db, job, "ann", 1)
    assert await commit(db, job, signed(1, lease, [1, 2])) == [COMMITTED]


async def test_expired_leases_that_a_rehearsal_ends_are_counted_once(
    pool: Pool, sources: SourcePool, db: asyncpg.Connection
) -> None:
    job = await add_job(db, keys=2)
    await add_batches(db, job, [1], [2])
    await expire(db, *[await claim_one(db, job, "bob", number) for number in (1, 2)])
    counted: list[int] = []
    await rehearse(
        pool, sources, job.job_no, "ann", id_type="bigint", connections=CONNECTIONS, expired=counted.append
    )
    ended = "SELECT count(*) FROM vaultstream.leases JOIN vaultstream.keys USING (key_no) WHERE job_no = $1 AND outcome = 'expired'"
    assert sum(counted) == await db.fetchval(ended, job.job_no) == 2


async def test_a_rehearsal_that_fails_ends_on_all_connections_and_not_the_worker(
    pool: Pool, sources: SourcePool, db: asyncpg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    job = await add_job(db, keys=2)
    await db.execute(f"DROP TABLE vaultstream.signatures_{job.job_no} CASCADE")
    await rehearse(pool, sources, job.job_no, "ann", id_type="bigint", connections=CONNECTIONS)
    [warning] = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert f"signatures_{job.job_no}" in warning


async def test_after_a_rehearsal_reads_find_their_connections_open(
    pool: Pool, sources: SourcePool, db: asyncpg.Connection
) -> None:
    job = await add_job(db)
    await rehearse(pool, sources, job.job_no, "ann", id_type="bigint", connections=CONNECTIONS)
    open_now = {row["pid"] for row in await db.fetch("SELECT pid FROM pg_stat_activity")}
    async with sources.transaction() as one, sources.transaction() as other:
        for reading in (one, other):
            assert await reading.fetchval("SELECT pg_backend_pid()") in open_now
