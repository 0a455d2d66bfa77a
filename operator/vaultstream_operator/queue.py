"""A work queue of keys: urgent and earliest first, each processed once at a time. Failed keys are retried with backoff."""

from __future__ import annotations

import asyncio
import heapq
import logging
import random
import time
from collections.abc import Awaitable, Callable, Hashable
from contextlib import suppress
from typing import Generic, TypeVar

from vaultstream.errors import VaultStreamError, shown

K = TypeVar("K", bound=Hashable)

log = logging.getLogger(__name__)

FIRST_DELAY_SECONDS = 0.25
MOST_DELAY_SECONDS = 30.0
HEAD_START_SECONDS = 30.0
"""An urgent key goes first unless another key was due this much earlier, so that other keys do not starve."""


def backoff(failures: int, share: float) -> float:
    """Returns the backoff in seconds after a number of consecutive failures.

    Args:
        failures: 1 or more.
        share: jitter from 0 to 1 over the upper half of the delay, so that keys that failed together are not retried
            together.
    """
    whole = min(MOST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2.0 ** min(failures - 1, 30))
    return whole * (0.5 + 0.5 * share)


class Schedule(Generic[K]):
    """When to process which key. Pure bookkeeping: the caller passes times, and nothing waits.

    A key has one time, the earliest requested. A key in process is not returned again until it is done; requests made in the
    meantime take effect then.

    Args:
        urgent: returns whether a key is urgent; called each time the key is scheduled.
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
        """Returns the number of waiting keys, due or not."""
        return len(self._times)

    @property
    def busy(self) -> int:
        """Number of keys in process."""
        return len(self._busy)

    def due(self, now: float) -> int:
        """Returns the number of keys that are due."""
        return sum(at <= now and key not in self._busy for key, at in self._times.items())

    def add(self, key: K, at: float) -> None:
        """Schedules `key` at a time, unless it is already scheduled earlier."""
        if at < self._times.get(key, float("inf")):
            self._times[key] = at
            self._push(key, at)

    def take(self, now: float, *, only_urgent: bool = False, others_first: bool = False) -> K | None:
        """Returns the next due key; None if no key is due."""
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
        """Returns the time at which a key in process was due."""
        return self._busy[key]

    def done(self, key: K) -> None:
        """Records a success."""
        self._release(key)
        self._failures.pop(key, None)

    def failed(self, key: K, now: float, share: float) -> float:
        """Records a failure and schedules the retry; returns the seconds until then.

        Requests made in the meantime wait as long: frequent requests do not make a failing key spin.
        """
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        delay = backoff(failures, share)
        self._times[key] = now + delay
        self._release(key)
        return delay

    def next_time(self, *, only_urgent: bool = False) -> float | None:
        """Returns when the next key is due; None if there is none."""
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
        """Returns the non-empty heaps, the urgent one first, without outdated entries on top."""
        heaps = [self._urgent_heap] if only_urgent else [self._urgent_heap, self._heap]
        for heap in heaps:
            while heap and (self._times.get(heap[0][2]) != heap[0][0] or heap[0][2] in self._busy):
                heapq.heappop(heap)
        return [heap for heap in heaps if heap]


class WorkQueue(Generic[K]):
    """Processes due keys concurrently.

    Args:
        process: processes a key; returns the seconds until the next time, or None to wait for an event. Errors are
            logged and retried.
        workers: maximum number of keys in process. Keys that are not urgent get at most a quarter of the workers, and at least
            an eighth if any are due, so that a new job, which is not urgent, does not wait for all urgent ones.
        limit: timeout of one call of `process`, in seconds; a timeout counts as a failure.
        urgent: returns whether a key takes precedence; called when the key is scheduled and when it is processed.
        waited: called with the seconds that a key waited after it was due.
    """

    def __init__(
        self,
        process: Callable[[K], Awaitable[float | None]],
        *,
        workers: int = 16,
        limit: float = 60.0,
        urgent: Callable[[K], bool] = lambda _: False,
        waited: Callable[[K, float], object] = lambda _key, _seconds: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._process = process
        self._workers = workers
        self._most_others, self._least_others = max(1, workers // 4), max(1, workers // 8)
        self._urgent = urgent
        self._limit = limit
        self._waited = waited
        self._clock = clock
        self._schedule: Schedule[K] = Schedule(urgent)
        self._wake = asyncio.Event()
        self._tasks: dict[asyncio.Task[None], bool] = {}
        """The running tasks, each with whether it is urgent."""

    def add(self, key: K, delay: float = 0.0) -> None:
        """Schedules `key` in `delay` seconds, unless it is already scheduled earlier."""
        self._schedule.add(key, self._clock() + delay)
        self._wake.set()

    @property
    def depth(self) -> int:
        """Number of due keys that wait."""
        return self._schedule.due(self._clock())

    @property
    def busy(self) -> int:
        """Number of keys in process."""
        return self._schedule.busy

    async def run(self) -> None:
        """Runs until it is canceled, and then cancels the running tasks."""
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
            task = asyncio.create_task(self._run_one(key))
            self._tasks[task] = urgent
            task.add_done_callback(self._finished)

    @property
    def _others(self) -> int:
        """Number of tasks for keys that are not urgent."""
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
        ):  # not `wait_for`: before Python 3.12 it can lose a cancellation, and this would never end
            async with asyncio.timeout(timeout):
                await self._wake.wait()

    async def _run_one(self, key: K) -> None:
        try:
            async with asyncio.timeout(self._limit):
                again = await self._process(key)
        except Exception as error:
            delay = self._schedule.failed(key, self._clock(), random.random())  # noqa: S311 - spreads load, no secret
            log.log(
                logging.ERROR,  # the runbooks refer to this line
                "reconcile failed: %s",
                shown(error),
                extra={"key": str(key), "again_in": round(delay, 2)},
                exc_info=not isinstance(error, VaultStreamError | TimeoutError),
            )
        else:
            self._schedule.done(key)
            if again is not None:
                self._schedule.add(key, self._clock() + again)
