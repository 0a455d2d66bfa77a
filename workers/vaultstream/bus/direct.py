"""A client of NATS without what nats-py does for each message: a task's turn and headers on delivery, a write each."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from vaultstream.bus.ignored import IgnoredMessages
from vaultstream.bus.protocol import MessageParser
from vaultstream.errors import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from nats.aio.subscription import Subscription

_OF_A_STREAM = b"$JS.ACK."
"""How the reply subject of a message begins that JetStream delivers from a stream."""
_STATUS = b"NATS/1.0 "
"""How the headers of a status begin. Those of a message have a line break in place of the space."""


def is_status(message: Msg, raw_headers: bytes) -> bool:
    """Whether the server says something about a request, instead of delivering a message of a stream."""
    return not message.reply and raw_headers.startswith(_STATUS)


class Outgoing(NamedTuple):
    """A message to publish."""

    subject: str
    payload: bytes
    headers: dict[str, str] | None


async def taken_directly(_: Msg) -> None:
    """The callback of a subscription that `DirectClient.deliver_directly` serves; it is not called."""


class DirectClient(Client):
    """The client of nats-py, extended for many messages."""

    def __init__(self) -> None:
        super().__init__()
        self._ps = MessageParser(self)
        self._ignored = IgnoredMessages()
        self._takers: dict[int, Callable[[Msg, bytes], None]] = {}

    def deliver_directly(self, subscription: Subscription, take: Callable[[Msg, bytes], None]) -> None:
        """Passes each message of a subscription to `take` as it is read, with its headers as bytes instead of parsed.

        Args:
            subscription: one with a callback, for which `take` is called instead.
            take: while it runs, nothing is read; a message on which it raises is ignored.
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

    async def publish_together(self, messages: Iterable[Outgoing], *, reply: str) -> None:
        """Publishes messages with one flush, like `publish` of each; subjects and headers are ours and are not checked.

        Args:
            messages: to publish.
            reply: where the answers go.

        Raises:
            nats.errors.Error: the connection is closed, or too much waits to be sent.
        """
        if self.is_closed:
            raise nats.errors.ConnectionClosedError
        if self.is_draining_pubs:
            raise nats.errors.ConnectionDrainingError
        answered = reply.encode()
        for message in messages:
            size = len(message.payload)
            if size > self._max_payload:
                raise nats.errors.MaxPayloadError
            if not self.is_connected and self._pending_data_size + size > self._max_pending_size:
                raise nats.errors.OutboundBufferLimitError
            self.stats["out_msgs"] += 1
            self.stats["out_bytes"] += size
            await self._send_command(_command(message, answered))
        if self._flush_queue is not None and self._flush_queue.empty():
            await self._flush_pending()

    def _remove_sub(self, sid: int, max_msgs: int = 0) -> None:
        self._takers.pop(sid, None)
        super()._remove_sub(sid, max_msgs)

    async def _process_msg(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None
    ) -> None:
        """Delivers a message. None ends the connection, whatever whoever published it has put into it."""
        if not subject.isascii():
            subject = subject.decode(errors="replace").encode()
        take = self._takers.get(sid)
        if take is not None and sid in self._subs:
            self.stats["in_msgs"] += 1
            self.stats["in_bytes"] += len(data)
            answered = reply.decode(errors="replace")
            try:
                take(
                    Msg(subject=subject.decode(), reply=answered, data=data, _client=self, _sid=sid),
                    headers or b"",
                )
            except Exception as error:  # noqa: BLE001 - as below
                self._ignored.add(subject.decode(), shown(error))
            return
        if reply.startswith(_OF_A_STREAM):
            headers = None  # what is stored must not pass for a status of the server; no reader here needs its headers
        try:
            await super()._process_msg(sid, subject, reply, data, headers)  # type: ignore[arg-type]
        except OSError:
            raise
        except Exception as error:  # noqa: BLE001 - any other would end the task that reads
            self._ignored.add(subject.decode(), shown(error))


def _command(message: Outgoing, reply: bytes) -> bytes:
    """Returns what publishes a message, in the protocol of NATS."""
    subject, payload = message.subject.encode(), message.payload
    if not message.headers:
        return b"PUB %b %b %d\r\n%b\r\n" % (subject, reply, len(payload), payload)
    # Added, not formatted: names may be members of an enumeration.
    lines = "".join([name + ": " + value + "\r\n" for name, value in message.headers.items()])
    headers = f"NATS/1.0\r\n{lines}\r\n".encode()
    size = len(headers)
    return b"HPUB %b %b %d %d\r\n%b%b\r\n" % (subject, reply, size, size + len(payload), headers, payload)
