"""Step 1, fetch, from a real NATS."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from support.engine import new_name, open_bus
from support.signer import fetch_all
from support.waiting import eventually
from vaultstream.bus.pull import BatchPuller
from vaultstream.bus.records import ConsumerLag, RecordsStream
from vaultstream.signing.fetch import fetch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from vaultstream.bus.connection import Bus
    from vaultstream.local.services import Services

pytestmark = pytest.mark.integration


@asynccontextmanager
async def queue(bus: Bus, token: str) -> AsyncIterator[tuple[RecordsStream, BatchPuller]]:
    """A job's consumer, and who pulls from it."""
    stream = RecordsStream(bus)
    await stream.ensure()
    await stream.ensure_consumer(token, ack_wait_seconds=30, max_ack_pending=100)
    async with BatchPuller(bus, token) as puller:
        yield stream, puller
    await stream.remove(token)


async def test_as_many_batches_as_wanted_are_asked_for_at_once_and_no_more(services: Services) -> None:
    token = new_name()
    async with open_bus(services) as bus, queue(bus, token) as (stream, puller):
        await stream.publish(token, [1, 2, 3, 4, 5])
        fetched = await fetch(puller, 3, wait_seconds=5)

        async def three_are_on_their_way() -> bool:
            return await stream.lag(token) == ConsumerLag(2, 3)

        await eventually(three_are_on_their_way)
        fetched += await fetch_all(puller, 3 - len(fetched))
        assert [batch.number for batch in fetched] == [1, 2, 3]


async def test_a_message_that_names_no_batch_is_taken_off_the_queue(services: Services) -> None:
    token = new_name()
    async with open_bus(services) as bus, queue(bus, token) as (stream, puller):
        assert await fetch(puller, 5, wait_seconds=0.05) == []
        for name in ("nonsense", "-1", "9" * 30):
            await bus.jetstream.publish(f"records.{token}.{name}", b"")
        await stream.publish(token, [7])
        assert [batch.number for batch in await fetch_all(puller, 1)] == [7]

        async def only_the_batch_is_left() -> bool:
            return await stream.lag(token) == ConsumerLag(0, 1)

        await eventually(only_the_batch_is_left)
