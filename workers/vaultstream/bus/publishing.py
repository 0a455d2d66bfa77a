"""Many messages on their way at a time, each known to be stored in the end."""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nats.js.api import PubAck

    from vaultstream.bus.connection import Bus

WINDOW = 1000
"""Messages on their way at a time: well below the client's own bound, at which it would wait for each."""

STORED_SECONDS = 10.0
"""For a window of messages to be stored."""


class Outgoing(NamedTuple):
    """A message to publish."""

    subject: str
    payload: bytes
    headers: dict[str, str] | None


async def publish_all(bus: Bus, messages: Iterable[Outgoing]) -> int:
    """Publishes messages in windows, waits until each is stored, and returns how many there were.

    Raises:
        TimeoutError: some were not stored in time; they may be so later.
    """
    count = 0
    waiting = iter(messages)
    while window := list(islice(waiting, WINDOW)):
        stored: list[asyncio.Future[PubAck]] = []
        try:
            for message in window:
                stored.append(  # noqa: PERF401 - what was sent before a failure must be known
                    await bus.jetstream.publish_async(
                        message.subject, message.payload, wait_stall=STORED_SECONDS, headers=message.headers
                    )
                )
            await asyncio.wait_for(asyncio.gather(*stored), STORED_SECONDS)
        finally:
            for answer in stored:
                answer.cancel()  # one that never comes would hold its place in the client for ever
        count += len(window)
    return count
