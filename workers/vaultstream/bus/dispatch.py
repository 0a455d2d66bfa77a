"""What NATS must offer before a job can be dispatched."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from nats.js.errors import ServiceUnavailableError

from vaultstream.bus.answers import JETSTREAM_HINT, NO_JETSTREAM
from vaultstream.bus.keys import KeysStream
from vaultstream.bus.records import RecordsStream
from vaultstream.errors import BusError

if TYPE_CHECKING:
    from vaultstream.bus.connection import Bus

STREAMS_PATIENCE_SECONDS = 3.0
"""How long JetStream may need to answer after its server has started."""
_POLL_SECONDS = 0.2


async def require_streams(bus: Bus, *, patience: float = STREAMS_PATIENCE_SECONDS) -> None:
    """Creates the streams of batches and keys if they are missing, as the workers do.

    Args:
        bus: a connection of a user who may do what the workers do.
        patience: seconds to wait for a JetStream that does not answer yet.

    Raises:
        BusError: JetStream is not there, or refuses a stream; waiting does not change it.
        nats.errors.Error: NATS does not answer.
    """
    deadline = time.monotonic() + patience
    for stream in (RecordsStream(bus), KeysStream(bus)):
        while True:
            try:
                await stream.ensure()
                break
            except ServiceUnavailableError:
                if time.monotonic() >= deadline:
                    raise BusError(NO_JETSTREAM, hint=JETSTREAM_HINT) from None
                await asyncio.sleep(_POLL_SECONDS)
