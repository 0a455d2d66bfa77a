"""A work queue of keys: lanes take turns, urgent keys first. Each key is processed once at a time; failures are retried."""

from __future__ import annotations

import asyncio
import heapq
import logging
import random
import sys
import time
from collections.abc import Awaitable, Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass, field
from operator import attrgetter
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


@dataclass(slots=True)
class _Lane(Generic[K]):
    """The waiting keys that take turns with those of other lanes, and how many of its keys are in process."""

    urgent: list[tuple[float, int, K]] = field(default_factory=list)
    others: list[tuple[float, int, K]] = field(default_factory=list)
    busy: int = 0
    busy_others: int = 0
    turn: int = 0
    """When it was last its turn; a count."""


class Schedule(Generic[K]):
    """When to process which key. Pure bookkeeping: the caller passes times, and nothing waits.

    A key has one time, the earliest requested. A key in process is not returned again until it is done; requests made in the
    meantime take effect then. Lanes take turns: of those with a due key, the one with the fewest keys in process goes first, then
    the one whose last turn is longest ago. Within a lane, the earliest key goes first.

    Args:
        urgent: returns whether a key is urgent; called each time the key is scheduled.
        lane: returns the lane of a key, which never changes.
        most: maximum number of keys of one lane in process, while other lanes have keys, due or not.
        most_others: the same of keys that are not urgent.
    """

    def __init__(
        self,
        urgent: Callable[[K], bool] = lambda _: False,
        lane: Callable[[K], Hashable] = lambda _: None,
        *,
        most: int = sys.maxsize,
        most_others: int = sys.maxsize,
    ) -> None:
        self._urgent = urgent
        self._lane_of = lane
        self._most, self._most_others = most, most_others
        self._times: dict[K, float] = {}
        self._lanes: dict[Hashable, _Lane[K]] = {}
        self._order = 0
        self._busy: dict[K, tuple[float, bool]] = {}
        """The keys in process: when each was due, and whether it was urgent."""
        self._failures: dict[K, int] = {}

    def __len__(self) -> int:
        """Returns the number of waiting keys, due or not."""
        return len(self._times)

    @property
    def busy(self) -> int:
        """Number of keys in process."""
        return len(self._busy)

    @property
    def busy_others(self) -> int:
        """Number of keys in process that were not urgent."""
        return sum(lane.busy_others for lane in self._lanes.values())

    def due(self, now: float) -> int:
        """Returns the number of keys that are due."""
        return sum(at <= now and key not in self._busy for key, at in self._times.items())

    def add(self, key: K, at: float) -> None:
        """Schedules `key` at a time, unless it is already scheduled earlier."""
        if at < self._times.get(key, float("inf")):
            self._times[key] = at
            self._push(key, at)

    def take(self, now: float, *, only_urgent: bool = False, others_first: bool = False) -> K | None:
        """Returns the next due key; None if no key is due, or only keys of lanes with too many in process."""
        urgent = self._next_lane(now, urgent=True)
        others = None if only_urgent else self._next_lane(now, urgent=False)
        if urgent is not None and others is not None:
            overdue = others.others[0][0] < urgent.urgent[0][0] - HEAD_START_SECONDS
            if others_first or overdue:
                urgent = None
        lane = urgent or others
        if lane is None:
            return None
        heap = lane.urgent if urgent else lane.others
        at, _, key = heapq.heappop(heap)
        del self._times[key]
        self._busy[key] = at, urgent is not None
        lane.busy += 1
        lane.busy_others += urgent is None
        self._order += 1
        lane.turn = self._order
        return key

    def time_of(self, key: K) -> float:
        """Returns the time at which a key in process was due."""
        return self._busy[key][0]

    def done(self, key: K, again: float | None = None) -> None:
        """Records a success, and schedules the key again at a time; None: it waits for an event."""
        if (
            again is not None
        ):  # before its lane is left: a lane that began again each time would always be the next
            self._times[key] = min(again, self._times.get(key, again))
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
        """Returns when the next key is due, without lanes that have too many in process; None if there is none."""
        tops = [lane.urgent[0][0] for lane in self._open_lanes(urgent=True)]
        if not only_urgent:
            tops += [lane.others[0][0] for lane in self._open_lanes(urgent=False)]
        return min(tops, default=None)

    def _next_lane(self, now: float, *, urgent: bool) -> _Lane[K] | None:
        """Returns the lane whose turn it is, among those with a due key of this kind; None if there is none."""
        due = [
            lane
            for lane in self._open_lanes(urgent=urgent)
            if (lane.urgent if urgent else lane.others)[0][0] <= now
        ]
        busy = attrgetter("busy", "turn") if urgent else attrgetter("busy_others", "turn")
        return min(due, key=busy, default=None)

    def _open_lanes(self, *, urgent: bool) -> list[_Lane[K]]:
        """Returns the lanes with a waiting key of this kind, which may start one more; without outdated entries on top."""
        several = len(self._lanes) > 1
        found = []
        for lane in self._lanes.values():
            if several and (
                lane.busy >= self._most or (not urgent and lane.busy_others >= self._most_others)
            ):
                continue
            heap = lane.urgent if urgent else lane.others
            while heap and (self._times.get(heap[0][2]) != heap[0][0] or heap[0][2] in self._busy):
                heapq.heappop(heap)
            if heap:
                found.append(lane)
        return found

    def _release(self, key: K) -> None:
        _, urgent = self._busy.pop(key)
        place = self._lane_of(key)
        lane = self._lanes[place]
        lane.busy -= 1
        lane.busy_others -= not urgent
        if key in self._times:
            self._push(key, self._times[key])
        elif not lane.busy and not any(other[2] in self._times for other in (*lane.urgent, *lane.others)):
            del self._lanes[place]

    def _push(self, key: K, at: float) -> None:
        if key not in self._busy:
            self._order += 1
            lane = self._lanes.setdefault(self._lane_of(key), _Lane(turn=self._order))
            heapq.heappush(lane.urgent if self._urgent(key) else lane.others, (at, self._order, key))


class WorkQueue(Generic[K]):
    """Processes due keys concurrently.

    Args:
        process: processes a key; returns the seconds until the next time, or None to wait for an event. Errors are
            logged and retried.
        workers: maximum number of keys in process. Keys that are not urgent get at most a quarter of the workers, and at least
            an eighth if any are due, so that a new job, which is not urgent, does not wait for all urgent ones.
        limit: timeout of one call of `process`, in seconds; a timeout counts as a failure.
        urgent: returns whether a key takes precedence; called when the key is scheduled.
        lane: returns the lane of a key. Lanes take turns, and while there are several, none gets more than half of the workers: whoever
            floods one does not hold up the others.
        waited: called with the seconds that a key waited after it was due.
    """

    def __init__(
        self,
        process: Callable[[K], Awaitable[float | None]],
        *,
        workers: int = 16,
        limit: float = 60.0,
        urgent: Callable[[K], bool] = lambda _: False,
        lane: Callable[[K], Hashable] = lambda _: None,
        waited: Callable[[K, float], object] = lambda _key, _seconds: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._process = process
        self._workers = workers
        self._most_others, self._least_others = max(1, workers // 4), max(1, workers // 8)
        self._limit = limit
        self._waited = waited
        self._clock = clock
        self._schedule: Schedule[K] = Schedule(
            urgent, lane, most=max(1, workers // 2), most_others=max(1, self._most_others // 2)
        )
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

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
            others = self._schedule.busy_others
            key = self._schedule.take(
                now, only_urgent=others >= self._most_others, others_first=others < self._least_others
            )
            if key is None:
                return
            self._waited(key, now - self._schedule.time_of(key))
            task = asyncio.create_task(self._run_one(key))
            self._tasks.add(task)
            task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._wake.set()

    async def _wait(self) -> None:
        full = len(self._tasks) >= self._workers
        at = (
            None
            if full
            else self._schedule.next_time(only_urgent=self._schedule.busy_others >= self._most_others)
        )
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
            self._schedule.done(key, None if again is None else self._clock() + again)
