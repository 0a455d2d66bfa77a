"""Jobs of tenants: the operator gives each job to the tenant of its namespace, and finds its messages in that account."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from support.guarded import ADMIN, GuardedNats, guarded_nats
from support.planning import job_of, spec_of
from support.waiting import eventually
from vaultstream.bus.connection import Bus, connect_bus
from vaultstream.bus.records import RecordsStream
from vaultstream.scaling.observation import Lag
from vaultstream.scaling.reasons import Reason
from vaultstream.store import jobs
from vaultstream_operator.adapters.jetstream import JetStreamLags
from vaultstream_operator.adapters.postgres import PostgresStore
from vaultstream_operator.core.plan import StoreAction
from vaultstream_operator.core.view import ObjectView, StoredJob

pytestmark = pytest.mark.integration

TENANT = "shop"
NAME = f"{TENANT}/receipts"


@pytest.fixture(scope="module")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedNats]:
    with asyncio.Runner() as runner:
        guarded = guarded_nats(tmp_path_factory.mktemp("nats") / "home", tenants=(TENANT,))
        yield runner.run(guarded.__aenter__())
        runner.run(guarded.__aexit__(None, None, None))


@pytest.fixture
async def lags(nats: GuardedNats) -> AsyncIterator[JetStreamLags]:
    async with JetStreamLags(nats.address("operator")) as lags:
        yield lags


@pytest.fixture
async def store(migrated_url: str, lags: JetStreamLags) -> AsyncIterator[PostgresStore]:
    async with PostgresStore(migrated_url, lags, tenants=(TENANT,)) as store:
        yield store


async def found(store: PostgresStore, view: ObjectView) -> StoredJob:
    stored = await store.find(view)
    assert isinstance(stored, StoredJob), stored
    return stored


async def publish(bus: Bus, token: str) -> None:
    stream = RecordsStream(bus)
    await stream.ensure()
    await stream.ensure_consumer(token, ack_wait_seconds=30, max_ack_pending=10)
    await stream.publish(token, [1, 2])


async def test_the_lag_and_the_deletion_of_a_job_are_those_of_its_tenants_account(
    store: PostgresStore, lags: JetStreamLags, nats: GuardedNats, connection: asyncpg.Connection
) -> None:
    view = job_of(spec_of(deletionPolicy="Delete"))
    assert await store.act(StoreAction.CREATE, view) is None
    stored = await found(store, view)
    assert (stored.tenant, stored.orphan) == (TENANT, False)
    async with connect_bus(nats.address(f"{ADMIN}-{TENANT}"), role="test") as bus:
        await publish(bus, stored.token)
        assert await lags.read(stored.token, TENANT) == Lag(2)
        assert await lags.read(stored.token) is Reason.CONSUMER_MISSING
        assert await store.act(StoreAction.DELETE, view) is None
        assert await RecordsStream(bus).present(stored.token) == set()
    assert await jobs.find_job(connection, stored.token) is None


async def test_a_tenant_whose_account_is_not_imported_holds_the_replicas(lags: JetStreamLags) -> None:
    assert await lags.read("job-1", "nobody") is Reason.NATS_UNREACHABLE


async def test_a_job_that_is_older_than_its_tenant_is_adopted_once_with_its_messages_removed(
    store: PostgresStore,
    lags: JetStreamLags,
    nats: GuardedNats,
    connection: asyncpg.Connection,
    migrated_url: str,
) -> None:
    view = job_of(spec_of())
    async with PostgresStore(migrated_url, lags) as former:
        assert await former.act(StoreAction.CREATE, view) is None
        assert (await found(former, view)).tenant is None
    token = (await found(store, view)).token
    assert (await found(store, view)).orphan
    async with connect_bus(nats.address(ADMIN), role="test") as bus:
        await publish(bus, token)

        async def adopted() -> bool:
            return await store.act(StoreAction.ADOPT, view) is None

        await eventually(adopted)  # the connection to NATS may just be being made
        assert await RecordsStream(bus).present(token) == set()
    stored = await found(store, view)
    assert (stored.tenant, stored.orphan) == (TENANT, False)
    job = await jobs.get_job(connection, token)
    await jobs.adopt_job(connection, job.job_no, "bank")
    assert (await jobs.get_job(connection, token)).tenant == TENANT


async def test_a_job_goes_only_to_the_tenant_that_it_is_named_after(
    store: PostgresStore, connection: asyncpg.Connection
) -> None:
    oid = await connection.fetchval("SELECT 'receipts'::regclass::oid")
    with pytest.raises(asyncpg.InvalidParameterValueError, match="not named after its tenant"):
        await jobs.create_job(connection, NAME, spec_of(), id_type="bigint", source_oid=oid, tenant="bank")
    job = await jobs.create_job(connection, NAME, spec_of(), id_type="bigint", source_oid=oid)
    await jobs.adopt_job(connection, job.job_no, "bank")
    assert (await jobs.get_job(connection, job.token)).tenant is None
