"""Waiting for a condition, in tests."""

from __future__ import annotations

import asyncio
import inspect
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


async def eventually(
    condition: Callable[[], Any], *, seconds: float = 45, what: str | Callable[[], str] = ""
) -> Any:
    """Returns the first true result of a condition, sync or async; fails after `seconds`, with `what` in the message."""
    deadline = time.monotonic() + seconds
    while True:
        answer = condition()
        if inspect.isawaitable(answer):
            answer = await answer
        if answer:
            return answer
        if time.monotonic() >= deadline:
            told = what() if callable(what) else what
            raise AssertionError(f"not within {seconds} s: {told or inspect.getsource(condition)}")
        await asyncio.sleep(0.02)
