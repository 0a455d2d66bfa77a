from __future__ import annotations

import os
import signal
import time

import pytest
from nats.aio.msg import Msg

from support.engine import open_bus
from support.waiting import eventually
from vaultstream.bus import pull
from vaultstream.bus.connection import Bus
from vaultstream.bus.pull import BatchPuller
from vaultstream.bus.records import RecordsStream
from vaultstream.bus.subjects import parse_batch_no
from vaultstream.local.services import LocalServices

pytestmark = pytest.mark.integration


def numbers(messages: list[Msg]) -> list[int | None]:
    return [parse_batch_no(message.subject) for message in messages]


async def in_flight(bus: Bus, token: str) -> int:
    lag = await RecordsStream(bus).lag(token)
    assert lag is not None
    return lag.ack_pending


async def test_a_fetch_gives_what_is_there_and_no_more_than_wanted(bus: Bus, token: str) -> None:
    await RecordsStream(bus).publish(token, range(1, 11))
    async with BatchPuller(bus, token) as puller:
        got: list[int | None] = []
        while len(got) < 3:
            got += numbers(await puller.fetch(3 - len(got), wait_seconds=5))
        assert got == [1, 2, 3]
        assert await in_flight(bus, token) == 3
        assert await puller.leave() == []


async def test_no_more_batches_are_in_flight_than_wanted(bus: Bus, token: str) -> None:
    """A signer of four: requests stay open beyond a call, and are counted."""
    stream = RecordsStream(bus)
    hand: list[Msg] = []
    async with BatchPuller(bus, token) as puller:
        for number in range(1, 41):
            await stream.publish(token, [number])
            hand += await puller.fetch(4 - len(hand), wait_seconds=0.05)
            assert await in_flight(bus, token) <= 4
            if number % 3 == 0:
                await hand.pop(0).ack_sync()


async def test_a_fetch_from_an_empty_queue_returns_nothing_in_time(bus: Bus, token: str) -> None:
    async with BatchPuller(bus, token) as puller:
        start = time.monotonic()
        assert await puller.fetch(3, wait_seconds=0.2) == []
        assert 0.1 < time.monotonic() - start < 2
        await RecordsStream(bus).publish(token, [7])
        assert numbers(await puller.fetch(3, wait_seconds=5)) == [7]


async def test_a_batch_of_another_job_is_not_fetched(bus: Bus, token: str) -> None:
    await RecordsStream(bus).publish(f"{token}-other", [1])
    async with BatchPuller(bus, token) as puller:
        assert await puller.fetch(3, wait_seconds=0.2) == []
    await RecordsStream(bus).remove(f"{token}-other")


async def test_a_missing_consumer_delivers_nothing_and_is_asked_again_once_it_is_back(
    bus: Bus, token: str
) -> None:
    stream = RecordsStream(bus)
    async with BatchPuller(bus, token) as puller:
        assert await puller.fetch(3, wait_seconds=0.05) == []
        await bus.jetstream.delete_consumer("VAULTSTREAM_RECORDS", token)
        await stream.publish(token, [1, 2])
        assert await puller.fetch(3, wait_seconds=0.1) == []
        assert await puller.fetch(3, wait_seconds=0.1) == []
        await stream.ensure_consumer(token, ack_wait_seconds=30, max_ack_pending=100)
        assert 1 in numbers(await puller.fetch(3, wait_seconds=5))


async def test_a_lost_request_is_repeated_however_busy_the_puller_is(
    bus: Bus, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither its batches nor its status ever arrive, while later requests are answered."""
    monkeypatch.setattr(pull, "REQUEST_SECONDS", 0.5)
    monkeypatch.setattr(pull, "_GRACE_SECONDS", 0.1)

    async def swallow(_: Msg) -> None:
        return

    await bus.client.subscribe(f"nowhere.{token}", cb=swallow)
    async with BatchPuller(bus, token) as puller:
        real, puller._request_subject = puller._request_subject, f"nowhere.{token}"
        assert await puller.fetch(4, wait_seconds=0.01) == []
        puller._request_subject = real
        await RecordsStream(bus).publish(token, range(2000))
        hand: list[Msg] = []

        async def five_in_flight() -> bool:
            hand.extend(await puller.fetch(5 - len(hand), wait_seconds=0.05))
            if len(hand) < 5 and hand:
                await hand.pop().ack()
            return len(hand) == 5

        await eventually(five_in_flight, seconds=5)


async def test_delivered_batches_that_nobody_fetched_are_returned_and_none_is_delivered_after_the_puller_left(
    bus: Bus, token: str
) -> None:
    async with BatchPuller(bus, token) as puller:
        assert await puller.fetch(3, wait_seconds=0.01) == []
        await RecordsStream(bus).publish(token, [1, 2])

        async def both_arrived() -> bool:
            return len(puller._arrived) == 2

        await eventually(both_arrived)
        left = await puller.leave()
        assert set(numbers(left)) == {1, 2}
        await RecordsStream(bus).publish(token, [3])
        for message in left:
            await message.nak()
    async with BatchPuller(bus, token) as other:
        got: set[int | None] = set()

        async def all_three() -> bool:
            got.update(numbers(await other.fetch(3 - len(got), wait_seconds=0.1)))
            return got == {1, 2, 3}

        await eventually(all_three)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_a_puller_continues_after_a_restart_of_nats(
    own_nats: LocalServices, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    monkeypatch.setattr(pull, "REQUEST_SECONDS", 1.0)
    monkeypatch.setattr(pull, "_GRACE_SECONDS", 0.2)
    services = await own_nats.services()
    async with open_bus(services) as bus:
        stream = RecordsStream(bus)
        assert await stream.ensure()
        assert await stream.ensure_consumer("job", ack_wait_seconds=1, max_ack_pending=100)
        await stream.publish("job", [1])
        async with BatchPuller(bus, "job") as puller:
            assert numbers(await puller.fetch(3, wait_seconds=5)) == [1]
            assert services.nats_pid
            os.kill(services.nats_pid, number)
            assert await puller.fetch(3, wait_seconds=0.1) == []

            async def back() -> bool:
                return (await services.ensure_running()).nats_pid != services.nats_pid

            await eventually(back)
            await eventually(lambda: connected(bus))
            await stream.publish("job", [2])
            got: set[int | None] = set()

            async def both() -> bool:
                got.update(numbers(await puller.fetch(3, wait_seconds=0.2)))
                return got == {1, 2}

            await eventually(both)


async def connected(bus: Bus) -> bool:
    return bus.client.is_connected
