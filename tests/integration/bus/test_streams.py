from __future__ import annotations

import pytest
from nats.js import api
from nats.js.errors import APIError, NoStreamResponseError

from support.engine import open_bus
from support.freezing import freeze, thaw
from support.waiting import eventually
from vaultstream.bus import publishing
from vaultstream.bus.address import BusAddress
from vaultstream.bus.connection import BUS_ERRORS, Bus, connect_bus
from vaultstream.bus.direct import Outgoing
from vaultstream.bus.keys import KeysStream
from vaultstream.bus.publishing import publish_all
from vaultstream.bus.records import ConsumerLag, RecordsStream
from vaultstream.errors import BusError
from vaultstream.local.services import LocalServices, Services

pytestmark = pytest.mark.integration


async def test_streams_and_consumer_are_made_once(own_nats: LocalServices) -> None:
    async with open_bus(await own_nats.services()) as bus:
        for stream in (RecordsStream(bus), KeysStream(bus)):
            assert [await stream.ensure(), await stream.ensure()] == [True, False]
        records = RecordsStream(bus)
        made = [await records.ensure_consumer("job", ack_wait_seconds=1, max_ack_pending=9) for _ in "ab"]
        assert made == [True, False]


async def test_a_lag_is_known_or_missing_and_an_unknown_lag_is_never_zero(own_nats: LocalServices) -> None:
    async with open_bus(await own_nats.services()) as bus:
        records = RecordsStream(bus)
        assert await records.lag("job") is None
        await records.ensure()
        assert await records.lag("job") is None
        await records.ensure_consumer("job", ack_wait_seconds=1, max_ack_pending=9)
        assert await records.lag("job") == ConsumerLag(0, 0)
        assert await records.publish("job", [1, 2, 3]) == 3

        async def three_waiting() -> bool:  # the server counts them a moment after it has stored them
            return await records.lag("job") == ConsumerLag(3, 0)

        await eventually(three_waiting)


async def test_a_batch_published_twice_in_one_generation_is_stored_once(bus: Bus, token: str) -> None:
    records = RecordsStream(bus)
    for generation in ("", "", "a", "a"):
        await records.publish(token, [1, 2], generation=generation)
    lag = await records.lag(token)
    assert lag is not None
    assert lag.total == 4
    assert await records.present(token) == {1, 2}


async def test_a_message_that_no_stream_stores_is_reported(bus: Bus) -> None:
    with pytest.raises(NoStreamResponseError):
        await publish_all(bus, [Outgoing("nobody.listens", b"", None)])


async def test_a_message_that_the_stream_refuses_is_reported(bus: Bus, token: str) -> None:
    with pytest.raises(APIError, match="maximum"):
        await publish_all(bus, [Outgoing(f"records.{token}.1", b"x" * 2000, None)])


async def test_many_more_batches_than_the_clients_own_bound_are_published(bus: Bus, token: str) -> None:
    records = RecordsStream(bus)
    assert await records.publish(token, range(1, 6001)) == 6000
    assert await records.present(token) == set(range(1, 6001))


async def test_removing_a_job_takes_its_messages_and_no_one_elses(bus: Bus, token: str) -> None:
    records = RecordsStream(bus)
    await records.publish(token, [1])
    await records.publish(f"{token}-2", [1])
    await records.remove(token)
    await records.remove(token)
    assert await records.lag(token) is None
    assert await records.present(token) == set()
    assert await records.present(f"{token}-2") == {1}
    await records.remove(f"{token}-2")


async def test_publishing_continues_after_nats_did_not_answer(
    own_nats: LocalServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers that never arrive must not use up the client's slots for unacknowledged messages."""
    monkeypatch.setattr(publishing, "STORED_SECONDS", 0.2)
    services = await own_nats.services()
    assert services.nats_pid
    async with open_bus(services) as bus:
        records = RecordsStream(bus)
        await records.ensure()
        await freeze(services.nats_pid)
        try:
            for _ in range(6):
                with pytest.raises(BUS_ERRORS):
                    await records.publish("job", range(1, 5000))
        finally:
            thaw(services.nats_pid)
        monkeypatch.setattr(publishing, "STORED_SECONDS", 10.0)
        assert await records.publish("job", range(1, 5000)) == 4999
        assert await records.present("job") == set(range(1, 5000))


async def test_a_nats_that_refuses_or_is_unreachable_is_reported(services: Services) -> None:
    wrong = BusAddress(services.nats_url, services.nats_user, "wrong-secret")
    with pytest.raises(BusError, match="refuses the user or the password") as caught:
        async with connect_bus(wrong, role="test"):
            pass
    assert "wrong-secret" not in f"{caught.value} {caught.value.hint} {wrong!r}"
    with pytest.raises(BusError, match="does not answer") as caught:
        async with connect_bus(BusAddress("nats://127.0.0.1:1", "a", "b"), role="test", attempts=1):
            pass
    assert "VAULTSTREAM_NATS_URL" in (caught.value.hint or "")


async def test_a_message_larger_than_a_batchs_name_is_refused_by_the_server(bus: Bus, token: str) -> None:
    with pytest.raises(BUS_ERRORS):
        await bus.jetstream.publish(f"records.{token}.1", b"x" * 2000, headers={api.Header.MSG_ID: "x"})


async def test_the_last_acknowledgements_are_sent_before_leaving(
    services: Services, token: str, bus: Bus
) -> None:
    records = RecordsStream(bus)
    await records.publish(token, [1])
    async with open_bus(services) as leaving:
        subscription = await leaving.jetstream.pull_subscribe_bind(token, stream="VAULTSTREAM_RECORDS")
        [message] = await subscription.fetch(1, timeout=5)
        await message.ack()

    async def gone() -> bool:
        return await records.lag(token) == ConsumerLag(0, 0)

    await eventually(gone, seconds=5)
