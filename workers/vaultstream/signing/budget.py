"""How many bytes of payloads a process may have in memory."""

from __future__ import annotations

import asyncio
from collections import deque


class ByteBudget:
    """Bytes that are taken before payloads are read and freed when they are dropped; waiters are served in turn.

    Who has taken bytes must be able to free them without taking more: then waiting for bytes always ends.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._free = total
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def taken(self) -> int:
        """Bytes that are not free."""
        return self._total - self._free

    async def take(self, wanted: int) -> None:
        """Waits until `wanted` bytes are free, and takes them.

        Raises:
            ValueError: more than the whole budget is wanted.
        """
        if wanted > self._total:
            raise ValueError(f"{wanted} bytes are more than the budget of {self._total}")
        if wanted <= self._free and not self._waiting:
            self._free -= wanted
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((wanted, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # its turn had come just before
                self._free += wanted
            self._serve()
            raise

    def free(self, count: int) -> None:
        """Frees bytes."""
        self._free += count
        self._serve()

    def _serve(self) -> None:
        while self._waiting:
            wanted, turn = self._waiting[0]
            if not turn.cancelled():
                if wanted > self._free:
                    return
                self._free -= wanted
                turn.set_result(None)
            self._waiting.popleft()
