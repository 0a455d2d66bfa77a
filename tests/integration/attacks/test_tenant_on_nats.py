"""A tenant in NATS: its users reach the streams of its own account, and nothing of another tenant or of the operator."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from nats.errors import NoRespondersError
from nats.js.errors import ServiceUnavailableError

from support.engine import handled
from support.guarded import ADMIN, GuardedNats
from support.guarded_fixtures import TENANTS
from support.waiting import eventually
from vaultstream.bus.connection import Bus, connect_bus
from vaultstream.bus.inspection import list_streams
from vaultstream.bus.keys import KeysStream
from vaultstream.bus.pull import BatchPuller
from vaultstream.bus.records import ConsumerLag, RecordsStream
from vaultstream.bus.subjects import KEYS_STREAM, RECORDS_STREAM, key_subject
from vaultstream.bus.tenants import api_prefix
from vaultstream.errors import BusError
from vaultstream.role import WorkerRole

pytestmark = pytest.mark.integration

TOKEN = "job-11223344"
"""Both tenants have a job of this token: only the account tells them apart."""
SHOP, BANK = TENANTS
WAITING = ConsumerLag(pending=2, ack_pending=0)


@asynccontextmanager
async def connected(nats: GuardedNats, user: str) -> AsyncIterator[Bus]:
    role = user.partition("-")[0]
    async with connect_bus(nats.address(user), role="test" if role == ADMIN else role, attempts=1) as bus:
        yield bus


@pytest.fixture(autouse=True)
async def jobs(tenants_nats: GuardedNats) -> AsyncIterator[None]:
    """A job of each tenant, with two batches and a key."""
    for tenant in TENANTS:
        async with connected(tenants_nats, f"{ADMIN}-{tenant}") as bus:
            await RecordsStream(bus).ensure()
            await KeysStream(bus).ensure()
            await RecordsStream(bus).ensure_consumer(TOKEN, ack_wait_seconds=30, max_ack_pending=10)
            await RecordsStream(bus).publish(TOKEN, [1, 2])
            await bus.jetstream.publish(key_subject(TOKEN, "k"), f"wrapped for {tenant}".encode())
    yield
    for tenant in TENANTS:
        async with connected(tenants_nats, f"{ADMIN}-{tenant}") as bus:
            for stream in (RECORDS_STREAM, KEYS_STREAM):
                await bus.jetstream.delete_stream(stream)


@pytest.fixture
async def job_without_a_tenant(tenants_nats: GuardedNats) -> AsyncIterator[None]:
    """A job of the account of workers without a tenant, with two batches, and the same token."""
    async with connected(tenants_nats, "records") as bus:
        await RecordsStream(bus).ensure()
        await RecordsStream(bus).ensure_consumer(TOKEN, ack_wait_seconds=30, max_ack_pending=10)
        await RecordsStream(bus).publish(TOKEN, [1, 2])
    yield
    async with connected(tenants_nats, ADMIN) as bus:
        await bus.jetstream.delete_stream(RECORDS_STREAM)


async def lag_of(nats: GuardedNats, tenant: str) -> ConsumerLag | None:
    async with connected(nats, f"{ADMIN}-{tenant}") as bus:
        return await RecordsStream(bus).lag(TOKEN)


async def keys_of(nats: GuardedNats, tenant: str) -> list[bytes]:
    async with connected(nats, f"{ADMIN}-{tenant}") as bus:
        message = await bus.jetstream.get_last_msg(KEYS_STREAM, key_subject(TOKEN, "k"))
        return [message.data or b""]


async def test_a_signer_pulls_and_acknowledges_only_its_own_tenants_batches(
    tenants_nats: GuardedNats,
) -> None:
    async with connected(tenants_nats, f"signing-{SHOP}") as bus, BatchPuller(bus, TOKEN) as puller:
        taken = 0
        while taken < 2:
            for message in await puller.fetch(2, wait_seconds=5):
                await message.ack()
                taken += 1
        assert await puller.fetch(1, wait_seconds=0.5) == []
        for number in (1, 2):  # the acknowledgment of the other tenant's batches has the same subject
            await bus.client.publish(f"$JS.ACK.{RECORDS_STREAM}.{TOKEN}.1.{number}.{number}.1.0")
        await handled(bus)
    assert await lag_of(tenants_nats, SHOP) == ConsumerLag(0, 0)
    assert await lag_of(tenants_nats, BANK) == WAITING


async def test_a_signer_reads_only_its_own_tenants_wrapped_keys(tenants_nats: GuardedNats) -> None:
    seen: list[bytes] = []

    async def on_message(message: object) -> None:
        seen.append(message.data)  # type: ignore[attr-defined]

    async with connected(tenants_nats, f"signing-{SHOP}") as bus:
        await bus.jetstream.subscribe("keys.>", stream=KEYS_STREAM, cb=on_message, ordered_consumer=True)
        await eventually(lambda: bool(seen))
        await handled(bus)
    assert seen == [f"wrapped for {SHOP}".encode()]


@pytest.mark.parametrize("role", [*WorkerRole])
async def test_the_operators_way_to_another_tenant_is_closed_to_workers(
    tenants_nats: GuardedNats, role: WorkerRole
) -> None:
    async with connected(tenants_nats, f"{role.value}-{SHOP}") as bus:
        for request in (f"CONSUMER.INFO.{RECORDS_STREAM}.{TOKEN}", f"STREAM.PURGE.{RECORDS_STREAM}"):
            with pytest.raises(BusError, match="may not publish"):
                await bus.answer(bus.client.request(f"{api_prefix(BANK)}.{request}", timeout=5))
    assert await lag_of(tenants_nats, BANK) == WAITING


async def test_a_tenants_user_who_may_do_everything_in_its_account_reaches_no_other(
    tenants_nats: GuardedNats,
) -> None:
    async with connected(tenants_nats, f"{ADMIN}-{SHOP}") as bus:
        for prefix in (api_prefix(BANK), api_prefix(SHOP)):
            with pytest.raises(NoRespondersError):
                await bus.client.request(f"{prefix}.STREAM.PURGE.{RECORDS_STREAM}", timeout=5)
        heard: list[str] = []

        async def on_message(message: object) -> None:
            heard.append(message.subject)  # type: ignore[attr-defined]

        await bus.client.subscribe(">", cb=on_message)
        await handled(bus)
        async with connected(tenants_nats, f"records-{BANK}") as theirs:
            await RecordsStream(theirs).publish(TOKEN, [3])
        async with connected(tenants_nats, "operator") as operator:
            assert await RecordsStream(operator.of_tenant(BANK)).lag(TOKEN) == ConsumerLag(3, 0)
        await bus.client.publish("mine.last", b"")
        await eventually(lambda: "mine.last" in heard)
    assert heard == ["mine.last"]


async def test_a_stream_that_copies_the_keys_of_another_tenant_stays_empty(tenants_nats: GuardedNats) -> None:
    """NATS does not check the configuration in a request: within one account, this copied every wrapped key."""
    source = {
        "name": KEYS_STREAM,
        "external": {"api": api_prefix(BANK), "deliver": "deliver.here"},
    }
    async with connected(tenants_nats, f"{ADMIN}-{SHOP}") as bus:
        await bus.jetstream.delete_stream(KEYS_STREAM)
    async with connected(tenants_nats, f"keys-{SHOP}") as bus:
        config = {"name": KEYS_STREAM, "sources": [source], "storage": "memory"}
        said = await bus.answer(
            bus.client.request(f"$JS.API.STREAM.CREATE.{KEYS_STREAM}", json.dumps(config).encode(), timeout=5)
        )
        assert "error" not in json.loads(said.data), said.data
        await asyncio.sleep(1)  # a source that is reachable is copied within milliseconds
        assert (await bus.answer(bus.jetstream.stream_info(KEYS_STREAM))).state.messages == 0
    assert await keys_of(tenants_nats, BANK) == [f"wrapped for {BANK}".encode()]


async def test_what_a_tenant_publishes_and_purges_is_its_own(tenants_nats: GuardedNats) -> None:
    async with connected(tenants_nats, f"records-{SHOP}") as bus:
        await RecordsStream(bus).remove(TOKEN)
        assert await RecordsStream(bus).ensure_consumer(TOKEN, ack_wait_seconds=30, max_ack_pending=10)
        await RecordsStream(bus).publish(TOKEN, range(10, 20))
    async with connected(tenants_nats, f"keys-{SHOP}") as bus:
        await KeysStream(bus).remove(TOKEN)
    assert await lag_of(tenants_nats, SHOP) == ConsumerLag(10, 0)
    assert await lag_of(tenants_nats, BANK) == WAITING
    assert await keys_of(tenants_nats, BANK) == [f"wrapped for {BANK}".encode()]


async def test_the_operator_reads_the_lag_of_each_tenant_and_removes_only_the_job_that_it_means(
    tenants_nats: GuardedNats,
) -> None:
    async with connected(tenants_nats, "operator") as bus:
        await RecordsStream(bus.of_tenant(SHOP)).remove(TOKEN)
        await KeysStream(bus.of_tenant(SHOP)).remove(TOKEN)
        assert await RecordsStream(bus.of_tenant(SHOP)).lag(TOKEN) is None
        assert await RecordsStream(bus.of_tenant(BANK)).lag(TOKEN) == WAITING
        with pytest.raises(BusError, match=r"STREAM\.INFO"):
            await RecordsStream(bus.of_tenant(BANK)).present(TOKEN)
        with pytest.raises((NoRespondersError, ServiceUnavailableError)):
            await RecordsStream(bus.of_tenant("nobody")).lag(TOKEN)


async def test_the_auditor_sees_the_streams_of_each_tenant(tenants_nats: GuardedNats) -> None:
    async with connected(tenants_nats, "auditor") as bus:
        for tenant in TENANTS:
            found = await list_streams(bus, tenant)
            assert {(stream.name, stream.tenant) for stream in found} == {
                (RECORDS_STREAM, tenant),
                (KEYS_STREAM, tenant),
            }
        assert await list_streams(bus) == []


@pytest.mark.usefixtures("job_without_a_tenant")
async def test_a_worker_without_a_tenant_purges_no_tenants_stream_by_a_reply_subject(
    tenants_nats: GuardedNats,
) -> None:
    async def purged() -> bool:
        async with connected(tenants_nats, ADMIN) as admin:
            return await RecordsStream(admin).lag(TOKEN) == ConsumerLag(0, 0)

    async with connected(tenants_nats, "signing") as bus:
        permitted = f"$JS.API.CONSUMER.MSG.NEXT.{RECORDS_STREAM}.{TOKEN}"
        for api in (api_prefix(SHOP), "$JS.API"):  # the last one shows that the way of attack works
            reply = f"{api}.STREAM.PURGE.{RECORDS_STREAM}"
            await bus.client.publish(permitted, b"{", reply=reply)  # a bad request has an empty answer
        await handled(bus)
    await eventually(purged)
    assert await lag_of(tenants_nats, SHOP) == WAITING


@pytest.mark.usefixtures("job_without_a_tenant")
async def test_the_operator_and_the_auditor_reach_the_streams_of_workers_without_a_tenant(
    tenants_nats: GuardedNats,
) -> None:
    async with connected(tenants_nats, "auditor") as bus:
        assert [stream.name for stream in await list_streams(bus)] == [RECORDS_STREAM]
        assert (await bus.answer(bus.jetstream.account_info())).streams == 1
    async with connected(tenants_nats, "operator") as bus:
        assert await RecordsStream(bus).lag(TOKEN) == WAITING
        await RecordsStream(bus).remove(TOKEN)
        assert await RecordsStream(bus).lag(TOKEN) is None
