"""The lag of consumers on a real NATS: there, missing, or out of reach, and never zero for want of an answer."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from support.freezing import freeze, thaw
from support.waiting import eventually
from vaultstream.bus.address import BusAddress
from vaultstream.bus.connection import Bus, connect_bus
from vaultstream.bus.records import RecordsStream
from vaultstream.errors import BusError
from vaultstream.local.nats import EmbeddedNats
from vaultstream.local.services import Services
from vaultstream.scaling.observation import Lag
from vaultstream.scaling.reasons import Reason
from vaultstream_operator.adapters.jetstream import FIRST_SECONDS, JetStreamLags

pytestmark = pytest.mark.integration


async def reads(lags: JetStreamLags, token: str, wanted: object) -> None:
    async def so() -> bool:
        return await lags.read(token) == wanted

    await eventually(so)


async def test_the_lag_is_waiting_and_in_flight_batches(lags: JetStreamLags, bus: Bus) -> None:
    stream = RecordsStream(bus)
    await stream.ensure()
    await reads(lags, "lagging-1", Reason.CONSUMER_MISSING)
    await stream.ensure_consumer("lagging-1", ack_wait_seconds=30, max_ack_pending=10)
    assert await lags.read("lagging-1") == Lag(0)
    await stream.publish("lagging-1", [1, 2, 3])
    pull = await bus.jetstream.pull_subscribe_bind(durable="lagging-1", stream="VAULTSTREAM_RECORDS")
    await pull.fetch(1)
    assert await lags.read("lagging-1") == Lag(2, batches_in_flight=1)
    await lags.remove("lagging-1")
    assert await lags.read("lagging-1") is Reason.CONSUMER_MISSING
    await lags.remove("lagging-1")


async def test_a_connection_that_is_being_made_is_waited_for(services: Services) -> None:
    """Otherwise the first reconcile after a start would find NATS unreachable and use the fallback at once."""
    for _ in range(5):
        async with JetStreamLags(services.bus_address) as lags:
            first = await asyncio.gather(*(lags.read(f"job-{n}") for n in range(3)))
            assert first == [Reason.CONSUMER_MISSING] * 3


async def test_a_connection_that_is_not_made_is_waited_for_once(tmp_path: Path) -> None:
    nats = EmbeddedNats(tmp_path)
    running = await nats.ensure()
    try:
        await freeze(running.pid)  # it takes connections, and says nothing
        async with JetStreamLags(BusAddress(running.url, "vaultstream", nats.password)) as lags:
            asked = time.monotonic()
            assert await lags.read("job-1") is Reason.NATS_UNREACHABLE
            assert time.monotonic() - asked < FIRST_SECONDS + 0.5
            asked = time.monotonic()
            assert await lags.read("job-2") is Reason.NATS_UNREACHABLE
            assert time.monotonic() - asked < FIRST_SECONDS / 2
            thaw(running.pid)
            await reads(lags, "job-1", Reason.CONSUMER_MISSING)
    finally:
        thaw(running.pid)
        await nats.stop()


async def test_a_nats_that_stops_and_comes_back_is_noticed_within_a_second(tmp_path: Path) -> None:
    nats = EmbeddedNats(tmp_path)
    running = await nats.ensure()
    try:
        address = BusAddress(running.url, "vaultstream", nats.password)
        async with JetStreamLags(address) as lags, connect_bus(address, role="test") as bus:
            await reads(lags, "job-1", Reason.CONSUMER_MISSING)  # not even the stream is there
            await RecordsStream(bus).ensure()
            await RecordsStream(bus).ensure_consumer("job-1", ack_wait_seconds=30, max_ack_pending=10)
            assert await lags.read("job-1") == Lag(0)

            await freeze(running.pid)  # there, and silent
            asked = time.monotonic()
            assert await lags.read("job-1") is Reason.NATS_UNREACHABLE
            assert time.monotonic() - asked < 1
            thaw(running.pid)
            await reads(lags, "job-1", Lag(0))

            await nats.stop()
            await reads(lags, "job-1", Reason.NATS_UNREACHABLE)
            with pytest.raises(BusError):
                await lags.remove("job-1")
            await nats.ensure()
            await reads(lags, "job-1", Lag(0))
    finally:
        await nats.stop()


async def test_a_nats_that_is_unreachable_at_the_start_is_waited_for(
    services: Services, unused_tcp_port: int
) -> None:
    async with JetStreamLags(BusAddress(f"nats://127.0.0.1:{unused_tcp_port}", "u", "p")) as lags:
        assert await lags.read("job-1") is Reason.NATS_UNREACHABLE


async def test_a_wrong_password_counts_as_an_unreachable_nats_and_is_not_shown(services: Services) -> None:
    address = BusAddress(services.nats_url, services.nats_user, "wr0ng-s3cret")
    async with JetStreamLags(address) as lags:

        async def told() -> str | None:
            with pytest.raises(BusError) as raised:
                await lags.remove("job-1")
            return raised.value.message if "refuses" in raised.value.message else None

        assert "wr0ng" not in await eventually(told)
        assert await lags.read("job-1") is Reason.NATS_UNREACHABLE
