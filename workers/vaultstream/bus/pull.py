"""Pulls batches for one signer. Requests are short-lived, so that a consumer that went silent is asked again by itself."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Self

from nats.js.api import Header

from vaultstream.bus.subjects import RECORDS_STREAM

if TYPE_CHECKING:
    from types import TracebackType

    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

    from vaultstream.bus.connection import Bus

REQUEST_SECONDS = 5.0
"""How long the server keeps a request for batches open."""

_GRACE_SECONDS = 1.0


class BatchPuller:
    """Asks a job's consumer for batches and hands them out as they come.

    The server answers a request message by message, and ends it with a status. Should that status get lost (a restart, a
    cut), the request counts as ended once its time is over.
    """

    def __init__(self, bus: Bus, token: str) -> None:
        self._client = bus.client
        self._request_subject = f"$JS.API.CONSUMER.MSG.NEXT.{RECORDS_STREAM}.{token}"
        self._inbox = self._client.new_inbox()
        self._arrived: asyncio.Queue[Msg] = asyncio.Queue()
        self._asked = 0
        self._asked_until = 0.0
        self._subscription: Subscription | None = None
        self.consumer_missing = False
        """Whether the last request found no consumer."""

    async def __aenter__(self) -> Self:
        self._subscription = await self._client.subscribe(self._inbox, cb=self._on_message)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._subscription is not None and not self._client.is_closed:
            await self._subscription.unsubscribe()

    async def fetch(self, wanted: int, *, wait_seconds: float) -> list[Msg]:
        """Returns up to `wanted` batches, at least one unless `wait_seconds` pass without any.

        A request may stay open beyond the call; what it brings is handed out by the next one.
        """
        if time.monotonic() > self._asked_until:
            self._asked = 0
        missing = wanted - self._arrived.qsize() - self._asked
        if missing > 0:
            await self._ask(missing)
        try:
            first = await asyncio.wait_for(self._arrived.get(), wait_seconds)
        except TimeoutError:
            return []
        messages = [first]
        while len(messages) < wanted and not self._arrived.empty():
            messages.append(self._arrived.get_nowait())
        return messages

    def drain(self) -> list[Msg]:
        """Returns what has arrived and nobody fetched, to be given back."""
        return [self._arrived.get_nowait() for _ in range(self._arrived.qsize())]

    async def _ask(self, count: int) -> None:
        request = {"batch": count, "expires": int(REQUEST_SECONDS * 1e9)}
        await self._client.publish(self._request_subject, json.dumps(request).encode(), reply=self._inbox)
        self._asked += count
        self._asked_until = time.monotonic() + REQUEST_SECONDS + _GRACE_SECONDS

    async def _on_message(self, message: Msg) -> None:
        headers = message.headers
        if headers and Header.STATUS in headers and not message.reply:
            self.consumer_missing = headers[Header.STATUS] == "503"
            unmet = headers.get("Nats-Pending-Messages", "")
            self._asked = max(0, self._asked - int(unmet)) if unmet.isdecimal() else 0
            return
        self.consumer_missing = False
        self._asked = max(0, self._asked - 1)
        self._arrived.put_nowait(message)
