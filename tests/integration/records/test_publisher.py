"""The stream of batches against Postgres: bounded, resumed, and made again from it whatever got lost."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import asyncpg
import pytest
from nats.aio.msg import Msg
from nats.js.errors import APIError, NotFoundError

from support.engine import (
    add_batches,
    add_job,
    add_table,
    claim_one,
    covered_by,
    fail_one,
    new_name,
    open_context,
    open_sources,
    signed,
    worker_settings,
)
from support.waiting import eventually
from vaultstream.api import JobState
from vaultstream.bus.records import RecordsStream
from vaultstream.bus.subjects import RECORDS_STREAM, batches_of
from vaultstream.errors import SourceError
from vaultstream.local.services import LocalServices, Services
from vaultstream.records import worker
from vaultstream.records.worker import BatchPublisher, plan_next, run_records_worker
from vaultstream.store.batches import pending_after
from vaultstream.store.jobs import Job, delete_job, get_job
from vaultstream.store.leases import COMMITTED, commit_batches
from vaultstream.worker import WorkerContext

pytestmark = pytest.mark.integration


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step of a publisher reconciles."""
    monkeypatch.setattr(worker, "RECONCILE_SECONDS", 0.0)
    monkeypatch.setattr(worker, "TICK_SECONDS", 0.01)


@asynccontextmanager
async def publisher_of(
    services: Services, url: str, job: Job, *, outstanding: int = 100
) -> AsyncIterator[tuple[WorkerContext, BatchPublisher, RecordsStream]]:
    async with open_context(services, url, job, max_outstanding=outstanding) as context:
        stream = RecordsStream(context.bus)
        try:
            yield context, BatchPublisher(context), stream
        finally:
            await stream.remove(job.token)


async def sign(db: asyncpg.Connection, job: Job, number: int) -> None:
    batch = signed(number, await claim_one(db, job, "ann", number), [number])
    assert await commit_batches(db, job.job_no, "ann", [batch], id_type="bigint") == [COMMITTED]


async def stored(context: WorkerContext) -> int:
    """Counts a job's messages, including duplicates."""
    info = await context.bus.jetstream.stream_info(
        RECORDS_STREAM, subjects_filter=batches_of(context.job.token)
    )
    return sum((info.state.subjects or {}).values())


async def test_no_more_batches_are_outstanding_than_allowed(
    services: Services, engine_url: str, db: asyncpg.Connection, at_once: None
) -> None:
    job = await add_job(db, keys=1)
    numbers = await add_batches(db, job, *([n] for n in range(1, 21)))
    async with publisher_of(services, engine_url, job, outstanding=3) as (context, publisher, stream):
        for number in numbers:
            for _ in range(3):
                await publisher.step()
            assert await stream.present(job.token) == set(numbers[number - 1 :][:3])
            await sign(db, job, number)
            await context.bus.jetstream.purge_stream(RECORDS_STREAM, subject=f"records.{job.token}.{number}")
        assert await publisher.step()
    assert (await get_job(db, job.token)).state is JobState.COMPLETE
    assert context.stop.is_set()


@pytest.mark.parametrize(
    "loss", ["stream", "consumer", "some messages", "all messages", "consumer and messages"]
)
async def test_whatever_the_stream_loses_is_put_back_and_nothing_else(
    own_nats: LocalServices, engine_url: str, db: asyncpg.Connection, at_once: None, loss: str
) -> None:
    services = await own_nats.services()
    job = await add_job(db, keys=1)
    await add_batches(db, job, *([n] for n in range(1, 11)))
    async with publisher_of(services, engine_url, job) as (context, publisher, stream):
        await publisher.step()
        await sign(db, job, 4)
        await context.bus.jetstream.purge_stream(RECORDS_STREAM, subject=f"records.{job.token}.4")
        left = {1, 2, 3, 5, 6, 7, 8, 9, 10}
        assert await stream.present(job.token) == left
        jetstream = context.bus.jetstream
        match loss:
            case "stream":
                await jetstream.delete_stream(RECORDS_STREAM)
            case "consumer":
                await jetstream.delete_consumer(RECORDS_STREAM, job.token)
            case "some messages":
                for number in (1, 7):
                    await jetstream.purge_stream(RECORDS_STREAM, subject=f"records.{job.token}.{number}")
            case "all messages":
                await jetstream.purge_stream(RECORDS_STREAM)
            case _:
                await jetstream.delete_consumer(RECORDS_STREAM, job.token)
                await jetstream.purge_stream(RECORDS_STREAM, subject=f"records.{job.token}.9")
        for _ in range(3):
            await publisher.step()
        assert await stream.present(job.token) == left
        assert await stored(context) == len(left)

        async def all_waiting() -> bool:
            lag = await stream.lag(job.token)
            return lag is not None and lag.total == len(left)

        await eventually(all_waiting)


async def test_deliveries_that_were_put_off_for_a_year_are_made_again(
    services: Services,
    engine_url: str,
    db: asyncpg.Connection,
    at_once: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever may read the consumer can do that, and leave."""
    monkeypatch.setattr("vaultstream.records.stuck.STUCK_SECONDS", 0.2)
    job = await add_job(db, keys=1, retries={"backoff": {"initialSeconds": 0.01, "maxSeconds": 0.1}})
    await add_batches(db, job, *([n] for n in range(1, 6)))
    async with publisher_of(services, engine_url, job) as (context, publisher, stream):
        await publisher.step()
        reader = await context.bus.jetstream.pull_subscribe_bind(job.token, RECORDS_STREAM)
        for message in await reader.fetch(5, timeout=10):
            await message.nak(delay=365 * 86_400)
        delivered: list[Msg] = []

        async def read_again() -> None:
            while not delivered:
                with suppress(TimeoutError, APIError):  # the consumer is removed meanwhile
                    delivered.extend(await reader.fetch(5, timeout=1))

        reading = asyncio.create_task(read_again())
        while not reading.done():
            await publisher.step()
        await reading
        assert await stream.present(job.token) == {1, 2, 3, 4, 5}


async def test_a_store_that_is_lost_with_all_its_data_is_made_again(
    own_nats: LocalServices, engine_url: str, db: asyncpg.Connection, at_once: None
) -> None:
    services = await own_nats.services()
    job = await add_job(db, keys=1)
    await add_batches(db, job, *([n] for n in range(1, 11)))
    async with publisher_of(services, engine_url, job) as (context, publisher, stream):
        await publisher.step()
        assert services.nats_pid
        os.kill(services.nats_pid, signal.SIGKILL)
        await asyncio.to_thread(shutil.rmtree, Path(services.data_dir) / "nats" / "jetstream")
        await services.ensure_running()

        async def back() -> bool:
            return context.bus.client.is_connected

        await eventually(back)
        for _ in range(3):
            await publisher.step()
        assert await stream.present(job.token) == set(range(1, 11))
        assert await stored(context) == 10


async def test_nothing_is_published_twice_into_a_healthy_stream(
    services: Services, engine_url: str, db: asyncpg.Connection, at_once: None
) -> None:
    """Two records workers reconcile without a pause while batches are signed and acknowledged beneath them."""
    job = await add_job(db, keys=1)
    numbers = await add_batches(db, job, *([n] for n in range(1, 121)))
    delivered: list[int] = []

    async def publish(context: WorkerContext, publisher: BatchPublisher) -> None:
        while len(delivered) < len(numbers):
            await publisher.step()

    async with (
        publisher_of(services, engine_url, job, outstanding=20) as (context, publisher, _),
        open_context(services, engine_url, job, max_outstanding=20) as other,
    ):
        await publisher.step()
        publishing = [
            asyncio.create_task(publish(context, publisher)),
            asyncio.create_task(publish(other, BatchPublisher(other))),
        ]
        subscription = await context.bus.jetstream.pull_subscribe_bind(job.token, stream=RECORDS_STREAM)
        while len(delivered) < len(numbers):
            for message in await subscription.fetch(5, timeout=10):
                delivered.append(int(message.subject.rpartition(".")[2]))
                await sign(db, job, delivered[-1])
                await message.ack()
        await asyncio.gather(*publishing)
        assert sorted(delivered) == numbers

        async def none_stored() -> bool:  # an acknowledgement may still be on its way
            return await stored(context) == 0

        await eventually(none_stored)


async def test_parts_of_a_batch_and_retries_are_published_too(
    services: Services, engine_url: str, db: asyncpg.Connection, at_once: None
) -> None:
    job = await add_job(db)
    await add_batches(db, job, [1, 2, 3])
    async with publisher_of(services, engine_url, job) as (_, publisher, stream):
        await publisher.step()
        await fail_one(db, job, 1)
        await publisher.step()
        assert await stream.present(job.token) == {1, 2, 3}


async def test_a_job_continues_after_its_stream_was_lost_before_its_checkpoint_moved(
    services: Services, engine_url: str, db: asyncpg.Connection, at_once: None
) -> None:
    """Published, lost, and published again under the same message ids: the server takes these for duplicates."""
    job = await add_job(db)
    await add_batches(db, job, [1], [2])
    async with publisher_of(services, engine_url, job) as (context, publisher, stream):
        await stream.ensure()
        await stream.publish(job.token, [1, 2])
        await context.bus.jetstream.purge_stream(RECORDS_STREAM, subject=batches_of(job.token))
        for _ in range(3):
            await publisher.step()
        assert await stream.present(job.token) == {1, 2}


async def run_worker(services: Services, url: str, job: Job) -> None:
    await run_records_worker(worker_settings(services, url, max_outstanding=7), job.token)


async def test_two_workers_at_once_see_one_job_to_its_end(
    services: Services, engine_url: str, db: asyncpg.Connection, at_once: None
) -> None:
    table = await add_table(db, range(1, 200))
    job = await add_job(db, table, keys=2, batchSize=10)
    running = [asyncio.create_task(run_worker(services, engine_url, job)) for _ in "ab"]
    while not all(task.done() for task in running):
        for number in await pending_after(db, job.job_no, 0, limit=5):
            [ids] = [
                list(range(int(row["first_id"]), int(row["last_id"]) + 1))
                for row in await db.fetch(
                    "SELECT first_id, last_id FROM vaultstream.batches WHERE job_no = $1 AND batch_no = $2",
                    job.job_no,
                    number,
                )
            ]
            batch = signed(number, await claim_one(db, job, "ann", number), ids)
            assert await commit_batches(db, job.job_no, "ann", [batch], id_type="bigint") == [COMMITTED]
        await asyncio.sleep(0.01)
    await asyncio.gather(*running)
    assert await covered_by(db, job, ["done"]) == [str(n) for n in range(1, 200)]
    assert (await get_job(db, job.token)).state is JobState.COMPLETE
    async with open_context(services, engine_url, job) as context:
        assert await RecordsStream(context.bus).lag(job.token) is None
        assert await stored(context) == 0


async def test_a_job_without_records_is_complete_at_once(
    services: Services, engine_url: str, db: asyncpg.Connection
) -> None:
    job = await add_job(db, await add_table(db))
    await run_worker(services, engine_url, job)
    assert (await get_job(db, job.token)).state is JobState.COMPLETE


async def test_an_unusable_source_ends_the_worker_and_is_reported_in_the_job(
    services: Services, engine_url: str, db: asyncpg.Connection
) -> None:
    table = await add_table(db, name=new_name("not_there"))
    job = await add_job(db, table)
    await db.execute(f"DROP TABLE {table}")
    with pytest.raises(SourceError, match="not_there"):
        await run_worker(services, engine_url, job)
    assert "not_there" in ((await get_job(db, job.token)).message or "")


async def test_the_end_of_the_ids_is_fixed_by_the_first_of_two_workers(
    services: Services, engine_url: str, db: asyncpg.Connection
) -> None:
    table = await add_table(db, [1, 2])
    job = await add_job(db, table)
    async with (
        open_context(services, engine_url, job) as one,
        open_context(services, engine_url, job) as two,
        open_sources(engine_url) as sources,
    ):
        assert await plan_next(one, sources)
        await db.execute(f"INSERT INTO {table} VALUES (3, '')")
        assert await plan_next(two, sources)
    assert await covered_by(db, job, ["pending"]) == ["1", "2"]


async def test_a_deleted_job_is_taken_out_of_the_stream(
    services: Services, engine_url: str, db: asyncpg.Connection
) -> None:
    job = await add_job(db, await add_table(db, [1]))
    running = asyncio.create_task(run_worker(services, engine_url, job))

    async def outstanding() -> bool:
        return (await get_job(db, job.token)).published_through > 0

    await eventually(outstanding)
    await delete_job(db, job.job_no, "Retain")
    await asyncio.wait_for(running, 10)
    async with open_context(services, engine_url, job) as context:
        with pytest.raises(NotFoundError):
            await context.bus.jetstream.consumer_info(RECORDS_STREAM, job.token)
        assert await stored(context) == 0
