"""What workers count, compared with what Postgres has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from prometheus_client import generate_latest

from support.engine import add_job, add_table, new_name, open_context, open_sources
from support.scraping import (
    Series,
    ServedWorker,
    by_label,
    counting_signer,
    parse,
    served_worker,
    slow_view,
    value,
)
from support.signer import Bench, open_bench
from support.waiting import eventually
from vaultstream.bus.records import RecordsStream
from vaultstream.bus.subjects import RECORDS_STREAM, batches_of
from vaultstream.crypto.batch_signer import batch_signer
from vaultstream.local.services import Services
from vaultstream.records.worker import BatchPublisher, plan_next
from vaultstream.store.jobs import Job

pytestmark = pytest.mark.integration

POISON = 137
"""The record that no one can read: the query fails for it."""


async def add_source(db: asyncpg.Connection) -> str:
    """Makes a view of 500 records, of which some can't be signed, for four reasons."""
    table, view = await add_table(db, range(1, 501)), new_name("view")
    await db.execute(f"UPDATE {table} SET payload = NULL WHERE id IN (5, 250, 251)")
    await db.execute(
        f"UPDATE {table} SET payload = convert_to(repeat('x', 200), 'UTF8') WHERE id IN (6, 300)"
    )
    await db.execute(
        f"CREATE VIEW {view} AS SELECT id, "
        f"CASE WHEN id <> {POISON} OR 1 / (id - {POISON}) = 1 THEN payload END AS payload FROM {table}"
    )
    return view


@asynccontextmanager
async def held_back(db: asyncpg.Connection, job: Job) -> AsyncIterator[None]:
    """Keeps a job from being completed, so that its workers stay when all is done."""
    name = new_name("hold")
    await db.execute(
        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
        f"CREATE TRIGGER {name} BEFORE UPDATE ON vaultstream.jobs FOR EACH ROW "
        f"WHEN (new.job_no = {job.job_no} AND new.state = 'Complete') EXECUTE FUNCTION {name}()"
    )
    try:
        yield
    finally:
        await db.execute(f"DROP FUNCTION {name} CASCADE")


async def count(db: asyncpg.Connection, sql: str, job: Job) -> int:
    return int(await db.fetchval(sql, job.job_no))


async def all_settled(bench: Bench, signers: list[ServedWorker]) -> bool:
    planned = await bench.db.fetchval(
        "SELECT planned FROM vaultstream.jobs WHERE job_no = $1", bench.job.job_no
    )
    pending = await count(
        bench.db,
        "SELECT count(*) FROM vaultstream.batches WHERE job_no = $1 AND state = 'pending'",
        bench.job,
    )
    if not planned or pending:
        return False
    scrapes = [await signer.scrape() for signer in signers]
    return all(value(series, "vaultstream_batches_in_hand") == 0 for series in scrapes)


async def without_lag(records: ServedWorker) -> Series | None:
    series = await records.scrape()
    states = ("pending", "ack_pending", "unpublished")
    return (
        series if not any(value(series, "vaultstream_lag_batches", state=each) for each in states) else None
    )


def total(scrapes: list[Series], name: str, **labels: str) -> float:
    return sum(value(series, name, **labels) for series in scrapes)


async def test_the_metrics_of_the_workers_agree_with_postgres(
    services: Services, engine_url: str, db: asyncpg.Connection, tmp_path: Path
) -> None:
    view = await add_source(db)
    job = await add_job(
        db,
        view,
        keys=0,
        key_count=4,
        batchSize=20,
        records={"table": view, "maxPayloadBytes": 100},
        retries={"maxAttempts": 2, "backoff": {"initialSeconds": 0.01, "maxSeconds": 0.02}},
    )
    bench = Bench(services, engine_url, db, job)
    async with AsyncExitStack() as stack:
        hold = await stack.enter_async_context(AsyncExitStack())
        await hold.enter_async_context(held_back(db, job))
        keys, records, *signers = [
            await stack.enter_async_context(
                served_worker(services, engine_url, role, job.token, tmp_path / f"{number}.log")
            )
            for number, role in enumerate(("keys", "records", "signing", "signing"))
        ]

        async def settled() -> bool:
            return await all_settled(bench, signers)

        await eventually(settled, seconds=60)
        scrapes = [await signer.scrape() for signer in signers]
        paths = {
            dict(labels).get("path")
            for series in scrapes
            for name, labels in series
            if name == "vaultstream_signing_path_info"
        }
        # One of two signers may not have started when the other one has done everything.
        assert paths - {None} == {batch_signer(job.spec.keys.algorithm).path}
        published = await eventually(lambda: without_lag(records))
        made = await keys.scrape()

        signed = await bench.signed()
        assert signed == 500 - 6
        assert total(scrapes, "vaultstream_records_signed_total") == signed
        assert value(published, "vaultstream_records_planned_total") == 500

        dead = await db.fetch(
            "SELECT reason, count(*) AS dead FROM vaultstream.dead_letters WHERE job_no = $1 GROUP BY reason",
            job.job_no,
        )
        counted: dict[str, float] = {}
        for series in scrapes:
            for reason, found in by_label(series, "vaultstream_dead_letters_total", "reason").items():
                counted[reason] = counted.get(reason, 0) + found
        assert counted == {row["reason"]: row["dead"] for row in dead}
        assert counted == {"PayloadNull": 3, "PayloadTooLarge": 2, "Unsignable": 1}

        for outcome, sql in {
            "committed": "SELECT count(*) FROM vaultstream.leases l JOIN vaultstream.keys k USING (key_no) "
            "WHERE k.job_no = $1 AND l.outcome = 'committed'",
            "split": "SELECT count(*) FROM vaultstream.batches WHERE job_no = $1 AND state = 'split'",
            "retried": "SELECT sum(least(attempts, 1)) FROM vaultstream.batches WHERE job_no = $1",
        }.items():
            found = await count(db, sql, job)
            assert total(scrapes, "vaultstream_batches_total", outcome=outcome) == found > 0
        assert total(scrapes, "vaultstream_batches_total", outcome="dead") == 1
        for series in scrapes:  # every fetched batch was settled, one way or another
            outcomes = by_label(series, "vaultstream_batches_total", "outcome")
            committed = outcomes.get("committed", 0)
            assert sum(outcomes.values()) == value(series, "vaultstream_batches_fetched_total")
            assert value(series, "vaultstream_batch_duration_seconds_count") == committed
            for grouped in ("sign", "commit"):
                times = value(series, f"vaultstream_{grouped}_duration_seconds_count")
                assert min(1, committed) <= times <= sum(outcomes.values())
            assert value(series, "vaultstream_lease_wait_seconds_count") == sum(outcomes.values())

        batches = await count(db, "SELECT count(*) FROM vaultstream.batches WHERE job_no = $1", job)
        assert value(published, "vaultstream_batches_published_total") == batches

        ring = await count(db, "SELECT count(*) FROM vaultstream.keys WHERE job_no = $1", job)
        assert value(made, "vaultstream_keys_made_total") == ring == 4
        assert value(made, "vaultstream_keys_published_total") == ring
        assert value(made, "vaultstream_reconciles_total", outcome="published") == 1
        assert value(made, "vaultstream_keys_ahead") == 0

        await hold.aclose()  # the job completes, and its workers leave
        workers = (keys, records, *signers)
        assert await asyncio.gather(*(asyncio.wait_for(w.process.wait(), 15) for w in workers)) == [0] * 4
        assert (
            await db.fetchval("SELECT state FROM vaultstream.jobs WHERE job_no = $1", job.job_no)
        ) == "Complete"


async def test_the_lag_is_the_one_that_postgres_and_jetstream_know(
    services: Services, engine_url: str, db: asyncpg.Connection, tmp_path: Path
) -> None:
    table = await add_table(db, range(1, 101))
    async with (
        open_bench(services, engine_url, db, table) as bench,
        open_context(services, engine_url, bench.job) as context,
        served_worker(
            services,
            engine_url,
            "records",
            bench.job.token,
            tmp_path / "log",
            VAULTSTREAM_MAX_OUTSTANDING="4",
        ) as records,
    ):

        async def bounded() -> Series | None:
            series = await records.scrape()
            lag = by_label(series, "vaultstream_lag_batches", "state")
            return series if lag.get("pending") == 4 and lag.get("unpublished") == 6 else None

        series = await eventually(bounded)
        assert value(series, "vaultstream_lag_batches", state="ack_pending") == 0
        seen = await RecordsStream(context.bus).lag(bench.job.token)
        assert seen is not None
        assert seen.total == 4
        waiting = await count(
            db, "SELECT count(*) FROM vaultstream.batches WHERE job_no = $1 AND batch_no > 4", bench.job
        )
        assert waiting == 6


async def test_batches_that_the_stream_lost_are_counted_as_published_again(
    services: Services, engine_url: str, db: asyncpg.Connection
) -> None:
    table = await add_table(db, range(1, 31))
    async with (
        open_bench(services, engine_url, db, table) as bench,
        open_context(services, engine_url, bench.job) as context,
        open_sources(engine_url) as sources,
    ):
        metrics = context.telemetry.metrics.records
        while not await plan_next(context, sources):
            pass
        publisher = BatchPublisher(context)
        await publisher.step()
        await context.bus.jetstream.purge_stream(RECORDS_STREAM, subject=batches_of(bench.job.token))
        publisher._next_reconcile = 0.0
        await publisher.step()
        assert metrics.batches_published._value.get() == 3
        assert metrics.batches_republished._value.get() == 3
        assert metrics.reconciles.labels("published")._value.get() == 1


@pytest.mark.parametrize(("told", "reason"), [(False, "fenced"), (True, "lost")])
async def test_a_fenced_batch_is_counted_once_with_how_its_lease_ended(
    services: Services, engine_url: str, db: asyncpg.Connection, told: bool, reason: str
) -> None:
    """Told: a renewal says so before the batch is committed."""
    view = await slow_view(db, 10, seconds=1.0)
    async with (
        open_bench(services, engine_url, db, view, key_count=2) as bench,
        counting_signer(bench, lease_seconds=1.0 if told else 30.0) as signer,
    ):
        signing = asyncio.create_task(signer.pipeline.run(signer.context.stop))
        planning = asyncio.create_task(bench.records_worker())

        async def held() -> list[int]:
            rows = await db.fetch(
                "SELECT key_no FROM vaultstream.keys WHERE job_no = $1 AND holder IS NOT NULL",
                bench.job.job_no,
            )
            return [row["key_no"] for row in rows]

        [key_no] = await eventually(held)
        await db.execute(
            "UPDATE vaultstream.keys SET lease_until = clock_timestamp() WHERE key_no = $1", key_no
        )
        await asyncio.wait_for(planning, 40)
        signer.context.stop.set()
        await asyncio.wait_for(signing, 10)
        series = parse(generate_latest(signer.telemetry.metrics.registry).decode())
        assert by_label(series, "vaultstream_batches_total", "outcome") == {"fenced": 1, "committed": 1}
        assert by_label(series, "vaultstream_leases_lost_total", "reason") == {reason: 1}
        assert value(series, "vaultstream_records_signed_total") == 10 == await bench.signed()
        assert value(series, "vaultstream_batches_in_hand") == 0
