"""Payloads are brought into canonical form off the event loop."""

from __future__ import annotations

import asyncio
from threading import Event

import pytest

from support.waiting import eventually
from vaultstream.signing.read import FINISH_BYTES, finish

pytestmark = pytest.mark.unit


class Slow(bytes):
    """A payload that takes until the event loop has had its turn."""

    begun: Event
    turn: Event

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        self.begun.set()
        assert self.turn.wait(60)
        return super().decode(encoding, errors)


def slow(payload: bytes) -> Slow:
    made = Slow(payload)
    made.begun, made.turn = Event(), Event()
    return made


async def test_the_event_loop_turns_while_a_payload_is_brought_into_canonical_form() -> None:
    payload = slow(b'{"v": 1.0}')
    rows = [(1, b"[ ]", 3), (2, payload, 10), (3, None, None), (4, b"NaN", 3), (5, b"[1, 2]", 6)]
    asyncio.get_running_loop().call_later(0.0, payload.turn.set)
    assert await finish(rows, limit=8) == [
        (1, b"[]", 2),
        (2, b'{"v":1}', 7),
        (3, None, None),
        (4, None, None),
        (5, b"[1,2]", 5),
    ]


def test_what_nobody_wants_any_longer_is_not_brought_into_canonical_form() -> None:
    first, second = slow(b" " * FINISH_BYTES + b"1"), slow(b"2")

    async def give_up() -> None:
        finishing = asyncio.create_task(finish([(1, first, len(first)), (2, second, 1)], limit=8))
        await eventually(first.begun.is_set)
        finishing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await finishing
        first.turn.set()

    asyncio.run(give_up())  # it ends after its threads
    assert not second.begun.is_set()
