"""An event loop whose time passes as soon as nothing else is to be done: minutes of timers in milliseconds."""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine


class _Selector(selectors.SelectSelector):
    """Instead of waiting, it lets time pass."""

    passed = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "nothing is left to wait for"
            self.passed += max(0.0, timeout)
        return ready


class _VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._passing = _Selector()
        super().__init__(self._passing)

    def time(self) -> float:
        return self._passing.passed


def run_in_virtual_time(main: Coroutine[Any, Any, None]) -> None:
    """Runs it on a loop of its own, with timers alone: no sockets, threads or processes."""
    with asyncio.Runner(loop_factory=_VirtualLoop) as runner:
        runner.run(main)
