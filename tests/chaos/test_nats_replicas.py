"""Streams get the configured number of replicas on a real cluster, or an error explains why they can't."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from nats.js import api

from support.engine import open_bus
from support.nats_cluster import NatsCluster, nats_cluster
from support.waiting import eventually
from vaultstream.bus.address import BusAddress
from vaultstream.bus.connection import Bus, connect_bus
from vaultstream.bus.inspection import list_streams
from vaultstream.bus.keys import KeysStream
from vaultstream.bus.records import RecordsStream
from vaultstream.bus.subjects import KEYS_STREAM, RECORDS_STREAM
from vaultstream.errors import BusError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vaultstream.local.services import Services

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsCluster]:
    with nats_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        asyncio.run(cluster.ready())
        yield cluster


@pytest.fixture(autouse=True)
async def _no_streams(cluster: NatsCluster) -> None:
    async with cluster.bus() as bus:
        for stream in await list_streams(bus):
            await bus.jetstream.delete_stream(stream.name)


async def replicas(bus: Bus) -> dict[str, int]:
    return {stream.name: stream.replicas for stream in await list_streams(bus)}


async def make(cluster: NatsCluster, count: int) -> None:
    """Creates the streams like the workers do, each with its own user."""
    async with cluster.bus("records", replicas=count) as bus:
        stream = RecordsStream(bus)
        await stream.ensure()
        await stream.ensure_consumer("job", ack_wait_seconds=1, max_ack_pending=9)
    async with cluster.bus("keys", replicas=count) as bus:
        await KeysStream(bus).ensure()


async def test_streams_are_created_with_the_configured_replicas(cluster: NatsCluster) -> None:
    await make(cluster, 3)
    async with cluster.bus() as bus:
        assert await replicas(bus) == {RECORDS_STREAM: 3, KEYS_STREAM: 3}
        await eventually(lambda: consumer_has_replicas(bus, 3))


async def consumer_has_replicas(bus: Bus, wanted: int) -> bool:
    cluster = (await bus.jetstream.consumer_info(RECORDS_STREAM, "job")).cluster
    return cluster is not None and 1 + len(cluster.replicas or []) == wanted


async def test_a_stream_with_fewer_gets_more_and_its_consumer_and_messages_with_it(
    cluster: NatsCluster,
) -> None:
    await make(cluster, 1)
    async with cluster.bus() as bus:
        assert await replicas(bus) == {RECORDS_STREAM: 1, KEYS_STREAM: 1}
        await RecordsStream(bus).publish("job", [1, 2, 3])
        limited = (await bus.jetstream.stream_info(RECORDS_STREAM)).config.evolve(max_bytes=10**9)
        await bus.jetstream.update_stream(limited)
        await make(cluster, 3)
        assert await replicas(bus) == {RECORDS_STREAM: 3, KEYS_STREAM: 3}
        await eventually(lambda: all_current(bus))
        await eventually(lambda: consumer_has_replicas(bus, 3))
        assert await RecordsStream(bus).present("job") == {1, 2, 3}
        config = (await bus.jetstream.stream_info(RECORDS_STREAM)).config
        assert (config.max_bytes, config.retention, config.duplicate_window) == (
            10**9,
            api.RetentionPolicy.WORK_QUEUE,
            120,
        )


async def all_current(bus: Bus) -> bool:
    cluster = (await bus.jetstream.stream_info(RECORDS_STREAM)).cluster
    return bool(cluster and cluster.replicas and all(peer.current for peer in cluster.replicas))


async def test_a_stream_with_more_keeps_them(cluster: NatsCluster) -> None:
    await make(cluster, 3)
    await make(cluster, 1)
    async with cluster.bus() as bus:
        assert await replicas(bus) == {RECORDS_STREAM: 3, KEYS_STREAM: 3}


@pytest.mark.parametrize("present", [False, True])
async def test_a_cluster_with_fewer_servers_than_replicas_is_an_error(
    cluster: NatsCluster, *, present: bool
) -> None:
    if present:
        await make(cluster, 1)
    async with cluster.bus("records", replicas=5) as bus:
        with pytest.raises(BusError, match="can't store 5 replicas of a stream") as caught:
            await RecordsStream(bus).ensure()
    assert "VAULTSTREAM_NATS_REPLICAS" in (caught.value.hint or "")
    async with cluster.bus() as bus:
        assert (await replicas(bus)).get(RECORDS_STREAM, 0) == (1 if present else 0)


async def test_replicas_on_a_server_without_a_cluster_are_an_error(services: Services) -> None:
    async with open_bus(services) as bus:
        await KeysStream(bus).ensure()
    address = BusAddress(services.nats_url, services.nats_user, services.nats_password, replicas=3)
    async with connect_bus(address, role="test") as bus:
        with pytest.raises(BusError, match="can't store 3 replicas of a stream"):
            await KeysStream(bus).ensure()


async def test_any_server_of_a_cluster_will_do_from_the_first_connection_on(
    cluster: NatsCluster,
) -> None:
    cluster.kill("nats-0")
    try:
        async with cluster.bus() as bus:
            await eventually(lambda: bus.client.is_connected)
            assert str(cluster.servers["nats-0"].port) not in str(bus.client.connected_url)
    finally:
        cluster.start("nats-0")
        await cluster.ready()
