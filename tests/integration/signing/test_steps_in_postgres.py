"""Lease, read and commit: the steps of a signer that only Postgres takes part in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import asyncpg
import pytest
from nats.aio.msg import Msg

from support.engine import add_batches, add_job, add_table, claim_one, expire, new_name, signatures_of, signed
from support.waiting import eventually
from vaultstream.api import RecordsSpec
from vaultstream.records.source import inspect_source
from vaultstream.signing.commit import commit
from vaultstream.signing.fetch import Delivery
from vaultstream.signing.lease import lease
from vaultstream.signing.read import read
from vaultstream.store.database import Pool, connect, open_pool
from vaultstream.store.leases import COMMITTED, FENCED, SUPERSEDED, BatchRow, lease_clock

pytestmark = pytest.mark.integration


@pytest.fixture
async def pool(engine_url: str) -> AsyncIterator[Pool]:
    async with open_pool(engine_url, role=new_name("pool"), size=2) as pool:
        yield pool


def delivery(batch_no: int) -> Delivery:
    return Delivery(batch_no, cast("Msg", None))


async def test_deliveries_are_leased_or_wait_for_a_key_or_were_settled_before(
    pool: Pool, db: asyncpg.Connection
) -> None:
    job = await add_job(db, keys=3)
    await add_batches(db, job, [1], [2], [3], [4])
    batch = signed(1, await claim_one(db, job, "bob", 1), [1])
    assert await commit(pool, job.job_no, "bob", [batch], id_type="bigint") == [COMMITTED]
    await claim_one(db, job, "bob", 2)
    deliveries = [delivery(n) for n in (99, 4, 3, 2, 1)]
    before = lease_clock()
    leased = await lease(pool, job.job_no, "ann", deliveries, seconds=10)
    assert len(leased.batches) == 2
    assert len(leased.keyless) == 1
    assert {each.batch_no for each in leased.settled} == {1, 99}
    assert {b.delivery.batch_no for b in leased.batches} | {d.batch_no for d in leased.keyless} == {2, 3, 4}
    for each in leased.batches:
        assert each.row.batch_no == each.delivery.batch_no
        assert each.row.first_id == str(each.row.batch_no)
        assert before < each.lease.deadline < before + 10
    assert len({each.lease.key_no for each in leased.batches}) == 2


async def test_nothing_to_lease_is_no_error(pool: Pool, db: asyncpg.Connection) -> None:
    job = await add_job(db)
    leased = await lease(pool, job.job_no, "ann", [], seconds=10)
    assert (leased.batches, leased.keyless, leased.settled) == ([], [], [])


@pytest.mark.parametrize("ranged", [True, False])
async def test_exactly_the_planned_records_are_read_with_a_reason_for_each_that_is_not(
    pool: Pool, db: asyncpg.Connection, ranged: bool
) -> None:
    table = new_name()
    await db.execute(
        f"CREATE TABLE {table} (id bigint, payload text);"
        f"INSERT INTO {table} VALUES (1, 'one'), (3, NULL), (4, 'four is long'), (5, 'five'), (5, 'FIVE'), (6, ''), (7, 'x')"
    )
    source = await inspect_source(db, RecordsSpec(table=table))
    ids = ["1", "2", "3", "4", "5", "6"]
    row = BatchRow(1, 6, "1", "6", None if ranged else ids)
    [records] = await read(pool, source, [row], max_payload_bytes=4)
    assert (records.ids, records.payloads) == ([1, 6], [b"one", b""])
    assert {dead.record_id: dead.reason for dead in records.dead} == {
        2: "RecordGone",
        3: "PayloadNull",
        4: "PayloadTooLarge",
        5: "IdNotUnique",
    }


@pytest.mark.parametrize("id_type", ["text", "uuid", "varchar(40)", "smallint"])
async def test_records_of_any_type_of_id_are_read(pool: Pool, db: asyncpg.Connection, id_type: str) -> None:
    ids: list[Any] = {"smallint": [-2, 5]}.get(
        id_type, [f"00000000-0000-0000-0000-00000000000{n}" for n in (1, 2)]
    )
    table = await add_table(db, ids, id_type=id_type)
    source = await inspect_source(db, RecordsSpec(table=table))
    row = BatchRow(1, 2, str(ids[0]), str(ids[1]), [str(i) for i in ids])
    [records] = await read(pool, source, [row], max_payload_bytes=100)
    assert [str(i) for i in records.ids] == [str(i) for i in ids]
    assert records.payloads == [f"payload of {i}".encode() for i in ids]
    assert records.dead == []


async def test_batches_of_every_kind_are_read_together_each_with_its_own_records(
    pool: Pool, db: asyncpg.Connection
) -> None:
    table = await add_table(db, [*range(1, 13), 40, 50])
    source = await inspect_source(db, RecordsSpec(table=table))
    rows = [
        BatchRow(1, 3, "4", "6", None),
        BatchRow(2, 2, "40", "50", ["40", "50"]),
        BatchRow(3, 3, "1", "3", None),
        BatchRow(4, 4, "11", "14", None),
        BatchRow(5, 1, "9", "9", ["9"]),
    ]
    read_ids = [each.ids for each in await read(pool, source, rows, max_payload_bytes=100)]
    assert read_ids == [[4, 5, 6], [40, 50], [1, 2, 3], [11, 12], [9]]


async def test_a_payload_is_computed_once_a_record(pool: Pool, db: asyncpg.Connection) -> None:
    """A view's payload may be dear."""
    table, view = await add_table(db, range(1, 11)), new_name("dear")
    await db.execute(
        f"CREATE SEQUENCE {view}_calls;"
        f"CREATE FUNCTION {view}(p bytea) RETURNS bytea STABLE LANGUAGE plpgsql "
        f"AS 'BEGIN PERFORM nextval(''{view}_calls''); RETURN p; END';"
        f"CREATE VIEW {view} AS SELECT id, {view}(payload) AS payload FROM {table}"
    )
    source = await inspect_source(db, RecordsSpec(table=view))
    [records] = await read(pool, source, [BatchRow(1, 10, "1", "10", None)], max_payload_bytes=100)
    assert len(records.payloads) == 10
    assert await db.fetchval(f"SELECT last_value FROM {view}_calls") == 10


async def test_a_batch_past_its_deadline_is_not_sent(pool: Pool, db: asyncpg.Connection) -> None:
    """Though Postgres would take it: its own clock alone keeps the holder from it."""
    job = await add_job(db)
    await add_batches(db, job, [1], [2])
    late, held = [signed(n, await claim_one(db, job, "ann", n), [n]) for n in (1, 2)]
    late.lease.deadline = lease_clock()
    assert await commit(pool, job.job_no, "ann", [late, held], id_type="bigint") == [FENCED, COMMITTED]
    assert set(await signatures_of(db, job)) == {2}


async def test_each_outcome_belongs_to_its_place_also_of_a_batch_that_is_there_twice(
    pool: Pool, db: asyncpg.Connection
) -> None:
    job = await add_job(db)
    await add_batches(db, job, [1])
    late, held, again = [signed(1, await claim_one(db, job, "ann", 1), [1]) for _ in range(3)]
    await expire(db, late.lease)
    outcomes = await commit(pool, job.job_no, "ann", [late, held, again], id_type="bigint")
    assert outcomes == [FENCED, COMMITTED, SUPERSEDED]


async def test_a_commit_is_sent_again_after_its_connection_broke(
    engine_url: str, pool: Pool, db: asyncpg.Connection
) -> None:
    """Broken while it waits for a lock, so that nobody knows what became of it."""
    job = await add_job(db)
    await add_batches(db, job, [1])
    batch = signed(1, await claim_one(db, job, "ann", 1), [1])
    async with connect(engine_url) as blocker:
        held = blocker.transaction()
        await held.start()
        await blocker.execute("SELECT FROM vaultstream.batches WHERE job_no = $1 FOR UPDATE", job.job_no)
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
    batch = signed(1, await claim_one(db, job, "ann", 1), [1])
    batch.lease.deadline = lease_clock() + 0.5
    pool.terminate()
    assert await asyncio.wait_for(commit(pool, job.job_no, "ann", [batch], id_type="bigint"), 5) == [FENCED]
    assert batch.lease.remaining <= 0
