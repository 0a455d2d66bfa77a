"""Whole jobs with each part under its own user, in Postgres and in NATS: what a role needs, it has."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from support.engine import handled
from support.guarded import GuardedDatabase, GuardedNats, start_worker, workers
from support.planning import job_of, spec_of
from support.waiting import eventually
from vaultstream.audit.verify import verify_job
from vaultstream.bus.connection import Bus, connect_bus
from vaultstream.bus.subjects import KEYS_STREAM, RECORDS_STREAM
from vaultstream.role import WorkerRole
from vaultstream.scaling.observation import Lag
from vaultstream.store.jobs import find_job
from vaultstream_operator.adapters.jetstream import JetStreamLags
from vaultstream_operator.adapters.postgres import PostgresStore
from vaultstream_operator.core.plan import StoreAction
from vaultstream_operator.core.view import ObjectView, StoredJob

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240), pytest.mark.long]

RECORDS = 3000


@pytest.fixture
async def receipts(owner: asyncpg.Connection, database: GuardedDatabase) -> AsyncIterator[None]:
    """A table that the source login may read, granted by its owner."""
    await owner.execute("CREATE TABLE receipts (id bigint PRIMARY KEY, payload text)")
    await owner.execute(f"INSERT INTO receipts SELECT n, 'r' || n FROM generate_series(1, {RECORDS}) AS n")
    await owner.execute(f"GRANT SELECT (id, payload) ON receipts TO {database.logins['source']}")
    yield
    await owner.execute("DROP TABLE receipts")


@asynccontextmanager
async def operator_of(
    database: GuardedDatabase, nats: GuardedNats
) -> AsyncIterator[tuple[PostgresStore, JetStreamLags]]:
    async with (
        JetStreamLags(nats.address("operator")) as lags,
        PostgresStore(database.urls["operator"], lags) as store,
    ):
        yield store, lags


async def stored(store: PostgresStore, view: ObjectView) -> StoredJob:
    found = await store.find(view)
    assert isinstance(found, StoredJob), found
    return found


async def test_a_job_runs_from_creation_to_deletion_with_each_part_under_its_own_user(
    database: GuardedDatabase, nats: GuardedNats, owner: asyncpg.Connection, receipts: None, tmp_path: Path
) -> None:
    view = job_of(spec_of(batchSize=10, keys={"count": 5, "algorithm": "ED25519"}, deletionPolicy="Delete"))
    async with operator_of(database, nats) as (store, lags):
        assert await store.act(StoreAction.CREATE, view) is None
        token = (await stored(store, view)).token
        seen: list[Lag] = []
        async with workers(database, nats, token, tmp_path):

            async def complete() -> bool:
                lag = await lags.read(token)
                if isinstance(lag, Lag):
                    seen.append(lag)
                await store.busy_pods(token)
                return (await stored(store, view)).state == "Complete"

            await eventually(complete, seconds=90)
        assert seen, "the operator never read the lag"
        assert (await stored(store, view)).signed == RECORDS
        report = await verify_job(
            database.urls["auditor"], token, source_url=database.urls["source"], processes=1
        )
        assert report.ok, report
        for part in WorkerRole:
            log = (tmp_path / f"{part}.log").read_text()
            assert "does not let" not in log
            assert "cleanup failed" not in log
        assert await store.act(StoreAction.DELETE, view) is None
        assert await find_job(owner, token) is None
    assert await what_is_left(nats, token) == (0, 0)


async def what_is_left(nats: GuardedNats, token: str) -> tuple[int, int]:
    """Messages of a job on both streams."""
    async with connect_bus(nats.address("admin"), role="test") as bus:
        counts = []
        for stream, subject in ((RECORDS_STREAM, f"records.{token}.*"), (KEYS_STREAM, f"keys.{token}.*")):
            info = await bus.jetstream.stream_info(stream, subjects_filter=subject)
            counts.append(len(info.state.subjects or {}))
        return counts[0], counts[1]


async def deleted(bus: Bus, _token: str) -> None:
    for stream in (RECORDS_STREAM, KEYS_STREAM):
        await bus.jetstream.delete_stream(stream)


async def deleted_by_a_reply_subject(bus: Bus, token: str) -> None:
    """NATS does not check which reply subject a permitted request names."""
    for stream in (KEYS_STREAM, RECORDS_STREAM):
        permitted = f"$JS.API.CONSUMER.MSG.NEXT.{RECORDS_STREAM}.{token}"  # a bad request has an empty answer
        await bus.client.publish(permitted, b"{", reply=f"$JS.API.STREAM.DELETE.{stream}")
    await handled(bus)


@pytest.mark.parametrize(
    ("user", "delete"), [("admin", deleted), ("signing", deleted_by_a_reply_subject)], ids=["admin", "signer"]
)
async def test_lost_streams_are_created_again_by_the_roles_they_belong_to(
    database: GuardedDatabase,
    nats: GuardedNats,
    receipts: None,
    tmp_path: Path,
    *,
    user: str,
    delete: Callable[[Bus, str], Awaitable[None]],
) -> None:
    view = job_of(spec_of(batchSize=5, keys={"count": 4, "algorithm": "ED25519"}))
    async with (
        operator_of(database, nats) as (store, _),
        connect_bus(nats.address(user), role="test" if user == "admin" else user) as bus,
    ):
        assert await store.act(StoreAction.CREATE, view) is None
        token = (await stored(store, view)).token
        async with workers(database, nats, token, tmp_path):

            async def halfway() -> bool:
                return (await stored(store, view)).signed > RECORDS // 10

            await eventually(halfway, seconds=60)
            await delete(bus, token)

            async def complete() -> bool:
                return (await stored(store, view)).state == "Complete"

            await eventually(complete, seconds=90)
        assert (await stored(store, view)).signed == RECORDS
        messages = [
            json.loads(line)["message"] for line in (tmp_path / "records.log").read_text().splitlines()
        ]
        assert "batches stream created" in messages
        assert await store.act(StoreAction.DELETE, view) is None


async def test_a_source_that_the_workers_may_not_read_is_reported_with_the_missing_grant(
    database: GuardedDatabase, nats: GuardedNats, owner: asyncpg.Connection, tmp_path: Path
) -> None:
    await owner.execute('CREATE SCHEMA "Shop"')
    await owner.execute('CREATE TABLE "Shop".secret (id bigint PRIMARY KEY, payload text)')
    await owner.execute("INSERT INTO \"Shop\".secret VALUES (1, 'one')")
    view = job_of(spec_of(records={"table": "Shop.secret"}, keys={"count": 1, "algorithm": "ED25519"}))
    reader = database.logins["source"]
    try:
        async with operator_of(database, nats) as (store, _):
            assert await store.act(StoreAction.CREATE, view) is None  # the operator reads no one's table
            token = (await stored(store, view)).token
            log = tmp_path / "records.log"
            environment = {**database.environment("records"), **nats.environment("records")}
            process = await start_worker("records", token, environment, log)
            assert await asyncio.wait_for(process.wait(), 60) == 2
            message = (await stored(store, view)).message
            assert f"the database user '{reader}' may not read \"Shop\".secret" in message
            grants = [part.strip(" .") for part in message.partition("run: ")[2].split(";")]
            assert len(grants) == 2
            for grant in grants:  # what the message says is what helps
                await owner.execute(grant)
            async with workers(database, nats, token, tmp_path, parts=[WorkerRole.RECORDS]):

                async def planned() -> bool:
                    return (await stored(store, view)).planned

                await eventually(planned)
            assert await store.act(StoreAction.DELETE, view) is None
    finally:
        await owner.execute('DROP SCHEMA "Shop" CASCADE')
