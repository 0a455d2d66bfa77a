"""How what the server sends is split into messages, whatever bytes a subject has.

The parser of nats-py splits at all white space. A server allows form feeds and vertical tabs in a subject, so one stored
message could break the connection of each client that it was delivered to, again at each delivery.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nats.errors import Error, ProtocolError
from nats.protocol.parser import Parser

if TYPE_CHECKING:
    from vaultstream.bus.direct import DirectClient

LONGEST_MESSAGE_BYTES = 64 * 1024 * 1024
"""The longest message that is read. A nats-server passes on no longer one, unless its `max_pending` was raised; our streams store far shorter ones."""
LONGEST_CONTROL_LINE = 1024 * 1024
"""The longest line that is read: a server tells all other servers of its cluster in one."""

_LINE_END = b"\r\n"
_MOST_DIGITS = 18
_MESSAGE, _MESSAGE_WITH_HEADERS = b"MSG", b"HMSG"


class MessageParser(Parser):
    """Reads messages itself, for which the server puts one space between words, and leaves all else to the library's parser."""

    def __init__(self, client: DirectClient) -> None:
        super().__init__(client)
        self._client = client

    def reset(self) -> None:
        """Forgets what was read of a connection that has ended."""
        super().reset()
        self._unread = bytearray()

    async def parse(self, data: bytes = b"") -> None:
        """Passes each message on that is complete with these bytes, and keeps the rest.

        Raises:
            ProtocolError: the server sent what is not in the protocol, or more than any server does. The connection is made again.
        """
        unread = self._unread
        unread += data
        start = 0
        while (end := unread.find(_LINE_END, start)) >= 0:
            line = bytes(unread[start:end])
            words = line.split(b" ")
            if words[0] not in (_MESSAGE, _MESSAGE_WITH_HEADERS):
                start = end + len(_LINE_END)
                await self._leave_to_library(line + _LINE_END)
            else:
                headers_size, size = _sizes(words)
                body = end + len(_LINE_END)
                if len(unread) < body + size + len(_LINE_END):
                    break
                start = body + size + len(_LINE_END)
                headers = bytes(unread[body : body + headers_size]) if headers_size else None
                payload = bytes(unread[body + headers_size : body + size])
                reply = words[3] if len(words) == _words_with_reply(words[0]) else b""
                await self._client._process_msg(int(words[2]), words[1], reply, payload, headers)  # noqa: SLF001 - as the library's parser does
            if self._unread is not unread:
                return  # the connection has ended
        del unread[:start]
        if len(unread) > LONGEST_CONTROL_LINE and unread.find(_LINE_END) < 0:
            raise ProtocolError

    async def _leave_to_library(self, line: bytes) -> None:
        try:
            await super().parse(line)
        except (Error, OSError):
            raise
        except (
            Exception
        ) as error:  # such as a greeting that is not JSON: any other would end the task that reads
            raise ProtocolError from error


def _words_with_reply(verb: bytes) -> int:
    return 6 if verb == _MESSAGE_WITH_HEADERS else 5


def _sizes(words: list[bytes]) -> tuple[int, int]:
    """Returns the bytes of a message's headers, and those of headers and payload together."""
    with_reply = _words_with_reply(words[0])
    numbers = [words[2], *words[-2:]] if words[0] == _MESSAGE_WITH_HEADERS else [words[2], b"0", words[-1]]
    if len(words) not in (with_reply - 1, with_reply) or not all(map(_is_number, numbers)):
        raise ProtocolError
    headers, size = int(numbers[1]), int(numbers[2])
    if not headers <= size <= LONGEST_MESSAGE_BYTES:
        raise ProtocolError
    return headers, size


def _is_number(word: bytes) -> bool:
    return word.isdigit() and len(word) <= _MOST_DIGITS
