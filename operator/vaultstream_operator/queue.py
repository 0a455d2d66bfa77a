"""A queue of keys to look at: each once at a time, the urgent and the earliest first, later each time that a look fails."""

from __future__ import annotations

import asyncio
import heapq
import logging
import random
import time
from collections.abc import Awaitable, Callable, Hashable
from contextlib import suppress
from typing import Generic, TypeVar

from vaultstream.errors import VaultStreamError

K = TypeVar("K", bound=Hashable)

log = logging.getLogger(__name__)

FIRST_DELAY_SECONDS = 0.25
MOST_DELAY_SECONDS = 30.0
HEAD_START_SECONDS = 30.0
"""What is urgent goes before all else whose time came less than so long before its own: the rest waits, but not for ever."""


def backoff(failures: int, share: float) -> float:
    """Returns the seconds to wait after so many failures in a row.

    Args:
        failures: 1 or more.
        share: where in the upper half of the delay, from 0 to 1: keys that failed together do not come back together.
    """
    whole = min(MOST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2.0 ** min(failures - 1, 30))
    return whole * (0.5 + 0.5 * share)


class Schedule(Generic[K]):
    """When to look at which key. Plain bookkeeping: times are given, nothing is waited for.

    A key has one time, the earliest that was asked for. One that is being looked at is not handed out again until that
    look is done; what was asked for meanwhile counts then.

    Args:
        urgent: whether a key is urgent, asked each time that it gets a time.
    """

    def __init__(self, urgent: Callable[[K], bool] = lambda _: False) -> None:
        self._urgent = urgent
        self._times: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._urgent_heap: list[tuple[float, int, K]] = []
        self._order = 0
        self._busy: dict[K, float] = {}
        self._failures: dict[K, int] = {}

    def __len__(self) -> int:
        """Keys that wait, also those whose time has not come."""
        return len(self._times)

    @property
    def busy(self) -> int:
        """Keys that are being looked at."""
        return len(self._busy)

    def due(self, now: float) -> int:
        """Keys that could be looked at now."""
        return sum(at <= now and key not in self._busy for key, at in self._times.items())

    def add(self, key: K, at: float) -> None:
        """Asks for a look at `key` at a time; an earlier one that was asked for stands."""
        if at < self._times.get(key, float("inf")):
            self._times[key] = at
            self._push(key, at)

    def take(self, now: float, *, only_urgent: bool = False, others_first: bool = False) -> K | None:
        """Hands out the key whose turn it is; None: there is none whose time has come."""
        due = [heap for heap in self._heaps(only_urgent=only_urgent) if heap[0][0] <= now]
        if not due:
            return None
        overdue = due[-1][0][0] < due[0][0][0] - HEAD_START_SECONDS
        first = due[-1] if others_first or overdue else due[0]
        at, _, key = heapq.heappop(first)
        del self._times[key]
        self._busy[key] = at
        return key

    def time_of(self, key: K) -> float:
        """Returns the time at which a key that is being looked at was to be."""
        return self._busy[key]

    def done(self, key: K) -> None:
        """Takes note that a look has succeeded."""
        self._release(key)
        self._failures.pop(key, None)

    def failed(self, key: K, now: float, share: float) -> float:
        """Takes note that a look has failed, and asks for the next; returns the seconds until then.

        What was asked for meanwhile waits as long: a key that keeps failing does not spin because it is often asked for.
        """
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        delay = backoff(failures, share)
        self._times[key] = now + delay
        self._release(key)
        return delay

    def next_time(self, *, only_urgent: bool = False) -> float | None:
        """Returns when the next key can be handed out; None: there is none."""
        return min((heap[0][0] for heap in self._heaps(only_urgent=only_urgent)), default=None)

    def _release(self, key: K) -> None:
        del self._busy[key]
        if key in self._times:
            self._push(key, self._times[key])

    def _push(self, key: K, at: float) -> None:
        if key not in self._busy:
            self._order += 1
            heap = self._urgent_heap if self._urgent(key) else self._heap
            heapq.heappush(heap, (at, self._order, key))

    def _heaps(self, *, only_urgent: bool) -> list[list[tuple[float, int, K]]]:
        """Returns the heaps that have a key to hand out, the urgent first, with nothing out of date on top."""
        heaps = [self._urgent_heap] if only_urgent else [self._urgent_heap, self._heap]
        for heap in heaps:
            while heap and (self._times.get(heap[0][2]) != heap[0][0] or heap[0][2] in self._busy):
                heapq.heappop(heap)
        return [heap for heap in heaps if heap]


class WorkQueue(Generic[K]):
    """Looks at keys as their times come, several at once.

    Args:
        look: looks at a key; returns the seconds until the next look, None: when something happens. What it raises is
            logged, and tried again later.
        workers: keys looked at at once, at most; a quarter of them may be at keys that are not urgent, and an eighth
            is, if there are any: a new job is none of the urgent, and must not wait for all of them.
        limit: seconds that a look may take; it is cancelled then, and counts as failed.
        urgent: whether a key goes before those that are not; asked when it gets a time, and when it is looked at.
        waited: told how many seconds a key waited after its time had come.
    """

    def __init__(
        self,
        look: Callable[[K], Awaitable[float | None]],
        *,
        workers: int = 16,
        limit: float = 60.0,
        urgent: Callable[[K], bool] = lambda _: False,
        waited: Callable[[K, float], object] = lambda _key, _seconds: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._look = look
        self._workers = workers
        self._most_others, self._least_others = max(1, workers // 4), max(1, workers // 8)
        self._urgent = urgent
        self._limit = limit
        self._waited = waited
        self._clock = clock
        self._schedule: Schedule[K] = Schedule(urgent)
        self._wake = asyncio.Event()
        self._tasks: dict[asyncio.Task[None], bool] = {}
        """What is under way, and whether it is urgent."""

    def add(self, key: K, delay: float = 0.0) -> None:
        """Asks for a look at `key` in `delay` seconds, or when it was asked for already if that is earlier."""
        self._schedule.add(key, self._clock() + delay)
        self._wake.set()

    @property
    def depth(self) -> int:
        """Keys whose time has come, and that nobody looks at yet."""
        return self._schedule.due(self._clock())

    @property
    def busy(self) -> int:
        """Keys that are being looked at."""
        return self._schedule.busy

    async def run(self) -> None:
        """Works until it is cancelled; then the looks that are under way are cancelled too."""
        try:
            while True:
                self._wake.clear()
                self._start_due()
                await self._wait()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start_due(self) -> None:
        while len(self._tasks) < self._workers:
            now = self._clock()
            others = self._others
            key = self._schedule.take(
                now, only_urgent=others >= self._most_others, others_first=others < self._least_others
            )
            if key is None:
                return
            self._waited(key, now - self._schedule.time_of(key))
            urgent = self._urgent(key)
            task = asyncio.create_task(self._process(key))
            self._tasks[task] = urgent
            task.add_done_callback(self._finished)

    @property
    def _others(self) -> int:
        """Workers that are at keys that are not urgent."""
        return sum(not urgent for urgent in self._tasks.values())

    def _finished(self, task: asyncio.Task[None]) -> None:
        del self._tasks[task]
        self._wake.set()

    async def _wait(self) -> None:
        full = len(self._tasks) >= self._workers
        at = None if full else self._schedule.next_time(only_urgent=self._others >= self._most_others)
        timeout = None if at is None else max(0.0, at - self._clock())
        with suppress(
            TimeoutError
        ):  # not `wait_for`: before Python 3.12 that can lose a cancellation, and we would not end
            async with asyncio.timeout(timeout):
                await self._wake.wait()

    async def _process(self, key: K) -> None:
        try:
            async with asyncio.timeout(self._limit):
                again = await self._look(key)
        except Exception as error:
            delay = self._schedule.failed(key, self._clock(), random.random())  # noqa: S311 - spreads load, no secret
            log.log(
                logging.ERROR,  # docs/runbooks.md sends people to look for it
                "reconcile failed: %s",
                error or type(error).__name__,
                extra={"key": str(key), "again_in": round(delay, 2)},
                exc_info=not isinstance(error, VaultStreamError | TimeoutError),
            )
        else:
            self._schedule.done(key)
            if again is not None:
                self._schedule.add(key, self._clock() + again)
