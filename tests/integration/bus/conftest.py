from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from support.engine import new_name, open_bus
from vaultstream.bus.connection import Bus
from vaultstream.bus.records import RecordsStream
from vaultstream.local.services import Services


@pytest.fixture
async def bus(services: Services) -> AsyncIterator[Bus]:
    async with open_bus(services) as bus:
        yield bus


@pytest.fixture
async def token(bus: Bus) -> AsyncIterator[str]:
    """A job of our own on the shared streams, with its consumer."""
    name = new_name("bus")
    stream = RecordsStream(bus)
    await stream.ensure()
    await stream.ensure_consumer(name, ack_wait_seconds=30, max_ack_pending=100)
    yield name
    await stream.remove(name)
