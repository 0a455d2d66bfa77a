"""Pulls batches for one signer. Requests are short-lived, so a consumer that went silent is soon asked again."""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Self, cast

from vaultstream.bus.connection import BUS_ERRORS
from vaultstream.bus.direct import is_status, taken_directly
from vaultstream.bus.ignored import IgnoredMessages
from vaultstream.bus.subjects import RECORDS_STREAM, batches_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

    from vaultstream.bus.connection import Bus
    from vaultstream.bus.direct import DirectClient

REQUEST_SECONDS = 5.0
"""How long the server keeps a request for batches open."""

REST_SECONDS = 0.003
"""How long to wait for the rest of what was asked for, once the first of it has come: a group costs as much with fewer batches."""

MOST_ARRIVED = 10_000
"""Batches that arrived and were not fetched yet, at most: far more than one signer asks for. What comes beyond is delivered again."""

_GRACE_SECONDS = 1.0
_LEAVE_SECONDS = 2.0


@dataclass
class _Inbox:
    """A reply subject used by one request at a time, so that every answer can be matched to its request."""

    subject: str
    subscription: Subscription | None = None
    missing: int = 0
    """Batches that the open request still waits for; 0: no request is open."""
    until: float = 0.0


class BatchPuller:
    """Asks a job's consumer for batches and returns them as they arrive.

    The server answers a request message by message, and ends it with a status. If the status is lost (a restart, a
    broken connection), the request counts as ended when it expires.

    Who has the user of signers, or may configure a stream, can have the server deliver anything to the inbox. Only what the job's consumer
    delivers is taken for a batch: an acknowledgment of anything else would be refused, which ends the signer.
    """

    def __init__(self, bus: Bus, token: str) -> None:
        self._client = bus.client
        self._refusals = bus.refusals
        self._request_subject = f"$JS.API.CONSUMER.MSG.NEXT.{RECORDS_STREAM}.{token}"
        self._consumer = [RECORDS_STREAM, token]
        self._delivered = f"$JS.ACK.{RECORDS_STREAM}.{token}."
        self._named = batches_of(token).removesuffix("*")
        self._ignored = IgnoredMessages()
        self._arrived: deque[Msg] = deque()
        self._inboxes: list[_Inbox] = []
        self._awaited, self._came = 0, asyncio.Event()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.leave()

    async def fetch(self, wanted: int, *, wait_seconds: float) -> list[Msg]:
        """Returns at most `wanted` batches, and at least one unless none arrives within `wait_seconds`.

        A request may stay open after the call; the next call returns the batches that it brings.

        Raises:
            BusError: NATS refused an earlier request or acknowledgment because the user lacks a permission.
        """
        self._refusals.check()
        now = time.monotonic()
        asked = sum(inbox.missing for inbox in self._inboxes if inbox.until > now)
        missing = wanted - len(self._arrived) - asked
        if missing > 0:
            await self._ask(missing)
        await self._wait_for(1, wait_seconds)
        if self._arrived:  # the rest comes as fast as the server can send it, if there is any
            coming = len(self._arrived) + sum(inbox.missing for inbox in self._inboxes)
            await self._wait_for(min(wanted, coming), REST_SECONDS)
        return [self._arrived.popleft() for _ in range(min(wanted, len(self._arrived)))]

    async def _wait_for(self, count: int, seconds: float) -> None:
        """Waits until so many batches have arrived, but no longer than so many seconds."""
        self._awaited = count
        if len(self._arrived) >= count:
            return
        self._came.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._came.wait()

    async def leave(self) -> list[Msg]:
        """Stops asking. Returns the batches that arrived but were not fetched, for the caller to return to the queue."""
        subscriptions = [inbox.subscription for inbox in self._inboxes if inbox.subscription is not None]
        self._inboxes.clear()
        if subscriptions and not self._client.is_closed:
            with suppress(
                *BUS_ERRORS
            ):  # batches that are still on their way are redelivered after their ack wait
                leaving = [subscription.drain() for subscription in subscriptions]  # type: ignore[no-untyped-call]
                async with asyncio.timeout(_LEAVE_SECONDS):
                    await asyncio.gather(*leaving)
        left = list(self._arrived)
        self._arrived.clear()
        return left

    async def _ask(self, count: int) -> None:
        now = time.monotonic()
        inbox = next((inbox for inbox in self._inboxes if inbox.missing == 0 or inbox.until <= now), None)
        if inbox is None:
            inbox = _Inbox(self._client.new_inbox())
            inbox.subscription = await self._client.subscribe(inbox.subject, cb=taken_directly)
            self._client.deliver_directly(inbox.subscription, partial(self._on_message, inbox))
            self._inboxes.append(inbox)
        request = {"batch": count, "expires": int(REQUEST_SECONDS * 1e9)}
        inbox.missing = count
        inbox.until = now + REQUEST_SECONDS + _GRACE_SECONDS
        await self._client.publish(self._request_subject, json.dumps(request).encode(), reply=inbox.subject)

    def _on_message(self, inbox: _Inbox, message: Msg, raw_headers: bytes) -> None:
        if is_status(message, raw_headers):
            inbox.missing = 0
            return
        if why := self._why_ignored(message):
            self._ignored.add(message.subject, why)
            return
        inbox.missing = max(0, inbox.missing - 1)
        self._arrived.append(message)
        if len(self._arrived) >= self._awaited:
            self._came.set()

    def _why_ignored(self, message: Msg) -> str | None:
        reply = message.reply
        # Servers of a domain may put it and the account before the stream.
        if not reply.startswith(self._delivered) and reply.split(".")[4:6] != self._consumer:
            return "the job's consumer has not delivered it"
        if not message.subject.startswith(self._named):
            return "it is not of the job"
        return "too many wait" if len(self._arrived) >= MOST_ARRIVED else None


async def acknowledge(messages: Sequence[Msg]) -> None:
    """Acknowledges deliveries of one connection in one write; does not wait until the server has read it.

    Raises:
        nats.errors.Error: the connection is closed, or too much waits to be sent.
    """
    if messages:
        client = cast("DirectClient", messages[0]._client)  # noqa: SLF001 - as `Msg.ack` does
        await client.acknowledge(messages)
