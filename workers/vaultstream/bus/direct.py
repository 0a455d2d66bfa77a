"""A client of NATS without what nats-py does for each message: a task's turn and headers on delivery, a write per acknowledgment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nats.aio.subscription import Subscription

_STATUS = b"NATS/1.0 "
"""How the headers of a status begin. Those of a message have a line break in place of the space."""


def is_status(message: Msg, raw_headers: bytes) -> bool:
    """Whether the server says something about a request, instead of delivering a message of a stream."""
    return not message.reply and raw_headers.startswith(_STATUS)


class DirectClient(Client):
    """The client of nats-py, extended for many messages."""

    def __init__(self) -> None:
        super().__init__()
        self._takers: dict[int, Callable[[Msg, bytes], None]] = {}

    def deliver_directly(self, subscription: Subscription, take: Callable[[Msg, bytes], None]) -> None:
        """Passes each message of a subscription to `take` as it is read, with its headers as bytes instead of parsed.

        Args:
            subscription: one with a callback, for which `take` is called instead.
            take: must not raise; while it runs, nothing is read.
        """
        self._takers[subscription._id] = take  # noqa: SLF001 - the library has no other name for it

    async def acknowledge(self, messages: Sequence[Msg]) -> None:
        """Acknowledges deliveries of JetStream in one write. Like `Msg.ack`, it does not wait for the server.

        Raises:
            nats.errors.Error: the connection is closed, or too much waits to be sent.
        """
        replies = [message.reply.encode() for message in messages if message.reply]
        if not replies:
            return
        if self.is_closed:
            raise nats.errors.ConnectionClosedError
        if self.is_draining_pubs:
            raise nats.errors.ConnectionDrainingError
        command = b"".join([b"PUB %b 0\r\n\r\n" % reply for reply in replies])
        if not self.is_connected and self._pending_data_size + len(command) > self._max_pending_size:
            raise nats.errors.OutboundBufferLimitError
        self.stats["out_msgs"] += len(replies)
        await self._send_command(command)
        if self._flush_queue is not None and self._flush_queue.empty():
            await self._flush_pending()

    async def _process_msg(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None
    ) -> None:
        take = self._takers.get(sid)
        if take is None or sid not in self._subs:
            await super()._process_msg(sid, subject, reply, data, headers)  # type: ignore[arg-type]
            return
        self.stats["in_msgs"] += 1
        self.stats["in_bytes"] += len(data)
        message = Msg(subject=subject.decode(), reply=reply.decode(), data=data, _client=self, _sid=sid)
        take(message, headers or b"")
