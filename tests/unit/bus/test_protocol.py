"""What the server sends, in whatever pieces it arrives and whatever a message has."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.errors import ProtocolError

from vaultstream.bus.direct import DirectClient
from vaultstream.bus.protocol import MessageParser

Message = tuple[int, bytes, bytes, bytes, bytes | None]


class Taker:
    """Stands where the client does and keeps what it is given."""

    def __init__(self) -> None:
        self.taken: list[Any] = []

    async def _process_msg(self, *message: Any) -> None:
        self.taken.append(message)

    async def _process_ping(self) -> None:
        self.taken.append("ping")


def reader() -> tuple[MessageParser, Taker]:
    taker = Taker()
    return MessageParser(cast("DirectClient", taker)), taker


WORD = st.binary(min_size=1, max_size=8).filter(lambda word: not set(word) & set(b" \t\r\n"))
"""What the server takes for a subject: anything but its own separators."""
MESSAGE = st.tuples(
    st.integers(1, 10**6),
    WORD,
    WORD | st.just(b""),
    st.binary(max_size=40),
    st.binary(max_size=20) | st.none(),
)


def sent(sid: int, subject: bytes, reply: bytes, payload: bytes, headers: bytes | None) -> bytes:
    words = [b"MSG" if headers is None else b"HMSG", subject, b"%d" % sid, *([reply] if reply else [])]
    sizes = [len(payload)] if headers is None else [len(headers), len(headers) + len(payload)]
    line = b" ".join([*words, *(b"%d" % size for size in sizes)])
    return line + b"\r\n" + (headers or b"") + payload + b"\r\n"


@given(st.lists(MESSAGE | st.just("ping"), max_size=8), st.lists(st.integers(0, 400), max_size=8))
async def test_all_messages_arrive_as_they_were_sent(messages: list[Message | str], cuts: list[int]) -> None:
    stream = b"".join(b"PING\r\n" if isinstance(each, str) else sent(*each) for each in messages)
    parser, taker = reader()
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    for start, end in pairwise(places):
        await parser.parse(stream[start:end])
    assert taker.taken == [
        each if isinstance(each, str) else (*each[:4], each[4] or None) for each in messages
    ]


@pytest.mark.parametrize(
    "line",
    [
        b"MSG a 1",
        b"MSG a x 1",
        b"MSG a 1 -1",
        b"MSG a 1 r s 0",
        b"HMSG a 1 5 4",
        b"HMSG a 1 4",
        b"WHAT is this",
    ],
)
async def test_what_is_not_in_the_protocol_is_refused(line: bytes) -> None:
    parser, _ = reader()
    with pytest.raises(ProtocolError):
        await parser.parse(line + b"\r\n")


async def test_nothing_of_an_ended_connection_is_read_with_the_next_one() -> None:
    parser, taker = reader()
    await parser.parse(b"MSG a 1 5\r\nhal")
    parser.reset()
    await parser.parse(b"PING\r\n")
    assert taker.taken == ["ping"]


async def test_a_message_after_which_the_connection_ends_is_the_last() -> None:
    parser, taker = reader()

    async def end(*message: Any) -> None:
        taker.taken.append(message)
        parser.reset()

    taker._process_msg = end  # type: ignore[method-assign]
    await parser.parse(b"MSG a 1 0\r\n\r\nMSG b 1 0\r\n\r\n")
    assert [message[1] for message in taker.taken] == [b"a"]


@pytest.mark.parametrize(
    "sent",
    [
        b"MSG a 1 99999999999\r\n",
        b"MSG a 1 " + b"9" * 5000 + b"\r\n",
        b"HMSG a 1 5 99999999999\r\n",
        b"MSG " + b"a" * (2 * 1024 * 1024),
        b"INFO {\r\n",
        b"INFO " + b"[" * 100_000 + b"\r\n",
    ],
)
async def test_what_no_server_sends_makes_the_connection_again_and_fills_no_memory(sent: bytes) -> None:
    parser, _ = reader()
    with pytest.raises(ProtocolError):
        await parser.parse(sent)
