"""A refusal ends the waiting call, or the next one that checks."""

from __future__ import annotations

import asyncio

import pytest

from vaultstream.bus.refusals import Refusals
from vaultstream.errors import BusError

pytestmark = pytest.mark.unit


async def never() -> None:
    await asyncio.Event().wait()


async def test_an_answer_or_an_error_is_passed_on() -> None:
    refusals = Refusals()

    async def answer() -> int:
        return 7

    async def fail() -> None:
        raise LookupError

    assert await refusals.answer(answer()) == 7
    with pytest.raises(LookupError):
        await refusals.answer(fail())
    refusals.check()


async def test_a_refusal_ends_every_waiting_call_and_is_not_reported_again() -> None:
    refusals = Refusals()
    calls = [asyncio.create_task(refusals.answer(never())) for _ in range(2)]
    await asyncio.sleep(0)
    refusals.note(BusError("no"))
    for call in calls:
        with pytest.raises(BusError, match="no"):
            await call
    refusals.check()


async def test_a_refusal_that_no_call_waited_for_is_reported_once() -> None:
    refusals = Refusals()
    refusals.note(BusError("no"))
    with pytest.raises(BusError, match="no"):
        refusals.check()
    refusals.check()


async def test_a_call_that_swallows_its_cancellation_once_is_ended_all_the_same() -> None:
    refusals, swallowed = Refusals(), False

    async def stubborn() -> None:
        nonlocal swallowed
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            swallowed = True
        await asyncio.Event().wait()

    call = asyncio.create_task(refusals.answer(stubborn()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    refusals.note(BusError("no"))
    with pytest.raises(BusError):
        await asyncio.wait_for(call, 5)
    assert swallowed


async def test_a_call_that_is_cancelled_takes_what_it_waits_for_with_it() -> None:
    refusals, ended = Refusals(), asyncio.Event()

    async def asking() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    call = asyncio.create_task(refusals.answer(asking()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert ended.is_set()
