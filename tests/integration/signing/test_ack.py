"""Step 6, ack, with a real NATS."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.engine import new_name, open_bus
from support.signer import fetch_all
from support.waiting import eventually
from vaultstream.bus.pull import BatchPuller
from vaultstream.bus.records import ConsumerLag, RecordsStream
from vaultstream.signing.ack import ack, extend_ack_wait, nak
from vaultstream.signing.fetch import fetch

if TYPE_CHECKING:
    from vaultstream.local.services import Services

pytestmark = pytest.mark.integration

ACK_WAIT = 0.6


async def test_a_batch_is_kept_returned_and_acknowledged(services: Services) -> None:
    token = new_name()
    async with open_bus(services) as bus, BatchPuller(bus, token) as puller:
        stream = RecordsStream(bus)
        await stream.ensure()
        await stream.ensure_consumer(token, ack_wait_seconds=ACK_WAIT, max_ack_pending=100)
        await stream.publish(token, [1])
        [batch] = await fetch_all(puller, 1)
        for _ in range(4):  # together longer than the ack wait
            assert await fetch(puller, 1, wait_seconds=ACK_WAIT / 3) == []
            await extend_ack_wait([batch])
        await nak(batch)
        [again] = await fetch_all(puller, 1)
        assert again.message.metadata.num_delivered == 2
        await nak(again, delay=ACK_WAIT / 2)
        assert await fetch(puller, 1, wait_seconds=0.1) == []
        [third] = await fetch_all(puller, 1)
        await ack([third])
        await ack([third])

        async def empty() -> bool:
            return await stream.lag(token) == ConsumerLag(0, 0)

        await eventually(empty)
        await stream.remove(token)


async def test_an_acknowledgement_that_can_not_be_sent_is_no_error(services: Services) -> None:
    token = new_name()
    async with open_bus(services) as bus:
        stream = RecordsStream(bus)
        await stream.ensure()
        await stream.ensure_consumer(token, ack_wait_seconds=30, max_ack_pending=100)
        await stream.publish(token, [1])
        async with BatchPuller(bus, token) as puller:
            [batch] = await fetch_all(puller, 1)
        await bus.client.close()
        await extend_ack_wait([batch])
        await nak(batch)
        await ack([batch])
    async with open_bus(services) as bus:
        assert await RecordsStream(bus).lag(token) == ConsumerLag(0, 1)  # it is still waited for
        await RecordsStream(bus).remove(token)
