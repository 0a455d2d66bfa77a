"""Publishes many messages at a time, and confirms that each one is stored."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING

import nats.errors
from nats.js.errors import APIError, NoStreamResponseError

from vaultstream.bus.direct import taken_directly

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nats.aio.msg import Msg

    from vaultstream.bus.connection import Bus
    from vaultstream.bus.direct import Outgoing

WINDOW = 1000
"""Messages in flight at a time: well below the client's own limit, at which it would wait for each one."""

STORED_SECONDS = 10.0
"""Timeout for a window of messages to be stored."""


async def publish_all(bus: Bus, messages: Iterable[Outgoing]) -> int:
    """Publishes messages in windows, waits until each is stored, and returns how many there were.

    Raises:
        TimeoutError: some were not confirmed in time; they may still be stored later.
        BusError: the user may not publish them.
    """
    count = 0
    waiting = iter(messages)
    while window := list(islice(waiting, WINDOW)):
        await bus.answer(_publish_window(bus, window))
        count += len(window)
    return count


async def _publish_window(bus: Bus, window: list[Outgoing]) -> None:
    """Publishes messages and receives all answers on one inbox: a future per message would cost more than sending it."""
    client = bus.client
    answers = _Answers(len(window))
    inbox = client.new_inbox()
    subscription = await client.subscribe(inbox, cb=taken_directly)
    client.deliver_directly(subscription, answers.take)
    try:
        await client.publish_together(window, reply=inbox)
        async with asyncio.timeout(STORED_SECONDS):
            await answers.complete
    finally:
        with suppress(nats.errors.Error):
            await subscription.unsubscribe()


class _Answers:
    """Counts JetStream's answers until all messages are stored or one is refused."""

    def __init__(self, missing: int) -> None:
        self._missing = missing
        self.complete: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def take(self, answer: Msg, _: bytes) -> None:
        self._missing -= 1
        if self.complete.done():
            return
        if not answer.data:
            self.complete.set_exception(NoStreamResponseError())
        elif b'"error"' in answer.data:
            self.complete.set_exception(APIError(**json.loads(answer.data)["error"]))
        elif self._missing == 0:
            self.complete.set_result(None)


def messages_of(bus: Bus) -> int:
    """Returns how many messages a connection has sent and received so far, including acknowledgments."""
    stats = bus.client.stats
    return stats["in_msgs"] + stats["out_msgs"]
