"""Which relation records were read of is known before they are committed, and a read leaves nothing open for long."""

from __future__ import annotations

from dataclasses import replace

import asyncpg
import pytest

from support.engine import add_batches, add_job, add_table, claim_one, commit, signatures_of, signed
from support.waiting import eventually
from vaultstream.api import RecordsSpec
from vaultstream.records.source import Source, inspect_source
from vaultstream.signing.read import read
from vaultstream.store.jobs import Job
from vaultstream.store.leases import COMMITTED, SignedBatch
from vaultstream.store.source_pool import SourceAlteredError, SourcePool

pytestmark = pytest.mark.integration


async def job_of(db: asyncpg.Connection) -> tuple[Job, Source]:
    """A job of two batches of one record each."""
    table = await add_table(db, [1, 2])
    job = await add_job(db, table)
    await add_batches(db, job, [1], [2])
    return job, await inspect_source(db, RecordsSpec(table=table))


async def read_batch(db: asyncpg.Connection, sources: SourcePool, job: Job, source: Source) -> SignedBatch:
    lease = await claim_one(db, job, "ann", 1)
    [records] = await read(sources, source, [[1]], cap=100, limit=100)
    return replace(signed(1, lease, records.ids), read_of=records.state)


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE {0} RENAME TO former; ALTER TABLE former RENAME TO {0}",
        "ALTER TABLE {0} RENAME TO former; CREATE VIEW {0} AS SELECT id, payload FROM former",
        "DROP TABLE {0}",
    ],
    ids=["another name for a while", "replaced", "dropped"],
)
async def test_records_of_a_relation_that_was_altered_since_are_not_committed(
    db: asyncpg.Connection, sources: SourcePool, change: str
) -> None:
    job, source = await job_of(db)
    batch = await read_batch(db, sources, job, source)
    transaction = db.transaction()
    await transaction.start()
    await db.execute(change.format(source.relation.partition(".")[2]))
    with pytest.raises(SourceAlteredError):
        await commit(db, job, batch)
    assert await signatures_of(db, job) == {}
    await transaction.rollback()
    assert await commit(db, job, batch) == [COMMITTED]


async def test_batches_that_were_read_in_two_states_of_a_relation_are_not_committed_together(
    db: asyncpg.Connection, sources: SourcePool
) -> None:
    job, source = await job_of(db)
    batch = await read_batch(db, sources, job, source)
    assert batch.read_of is not None
    later = batch.read_of._replace(changed="0")
    with pytest.raises(SourceAlteredError):
        batch.note_read(later)
    with pytest.raises(SourceAlteredError):
        await commit(db, job, batch, replace(batch, batch_no=2, read_of=later))
    assert await signatures_of(db, job) == {}


async def test_the_transaction_of_a_read_ends_soon_also_without_another_read(
    db: asyncpg.Connection, sources: SourcePool
) -> None:
    _, source = await job_of(db)
    [row], _ = await sources.fetch(source, f"SELECT pg_backend_pid() FROM {source.relation} WHERE id = 1")
    state = "SELECT state FROM pg_stat_activity WHERE pid = $1"
    assert await db.fetchval(state, row[0]) == "idle in transaction"

    async def idle() -> bool:
        return bool(await db.fetchval(state, row[0]) == "idle")

    await eventually(idle)


async def test_a_read_that_ends_the_one_before_has_a_time_and_the_limits_of_its_own(
    db: asyncpg.Connection, sources: SourcePool
) -> None:
    """With the time of the one before, a view that shows what is due would not show what was planned meanwhile."""
    _, source = await job_of(db)
    sql = (
        "SELECT now(), current_setting('transaction_read_only'), current_setting('row_security') "
        f"FROM {source.relation} WHERE id = 1"
    )
    for _ in range(3):
        before = await db.fetchval("SELECT clock_timestamp()")
        [row], _ = await sources.fetch(source, sql)
        assert row[0] >= before
        assert tuple(row)[1:] == ("on", "off")


async def test_a_session_that_ended_between_two_reads_is_replaced(
    db: asyncpg.Connection, sources: SourcePool
) -> None:
    _, source = await job_of(db)
    sql = f"SELECT pg_backend_pid() FROM {source.relation} WHERE id = 1"
    [row], _ = await sources.fetch(source, sql)
    await db.execute("SELECT pg_terminate_backend($1, 5000)", row[0])
    [again], _ = await sources.fetch(source, sql)
    assert again[0] != row[0]
