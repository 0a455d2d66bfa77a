"""The plant: records worker, keys worker, queue, signers and nodes, moved forward event by event."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import inf
from random import Random

from vaultstream.scaling.observation import Lag
from vaultstream.scaling.reasons import LagProblem
from vaultstream.scaling.workload import Counts
from vaultstream.simulation import constants
from vaultstream.simulation.line import Line
from vaultstream.simulation.pods import Pods
from vaultstream.simulation.scenario import Scenario


@dataclass(frozen=True, slots=True)
class Sight:
    """What an autoscaler can read at one moment.

    Attributes:
        lag: of the consumer in JetStream, or why it can't be read.
        unpublished: batches planned and not published.
        expected: batches that the table is expected to have; 0: unknown.
        requested: signers that the Deployment asks for.
        unplaced: those of them that no node has room for.
        keys_active: None while keys are being made.
    """

    now: float
    counts: Counts
    lag: Lag | LagProblem
    unpublished: int
    batches_done: int
    expected: int
    requested: int
    ready: int
    unplaced: int
    keys_active: int | None


class Plant:
    """A job on its cluster. Times are seconds after the job's creation."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self.scenario = scenario
        self._random = Random(seed)  # noqa: S311 - a model, no secret
        self.now = 0.0
        self.line = Line(Random(self._random.random()), scenario.batch_spread)  # noqa: S311
        self.pods = Pods(scenario, Random(self._random.random()))  # noqa: S311 - a model, no secret
        self._pages = deque(planned_pages(scenario))
        self.jumps: list[float] = []
        """When records came while no batch was left."""
        self.waited = 0.0
        """Seconds that all records together have waited, from being planned until they were settled."""
        self._changes = deque(sorted({load.at for load in scenario.loads} | _ends(scenario)))
        self._waves = deque(sorted(scenario.preemptions, key=lambda wave: wave.at))
        self._noise, self._noise_at = 1.0, 0.0
        self.ended_at: float | None = None
        """When the last record was settled; None: not yet."""

    @property
    def done(self) -> bool:
        """Whether all records are settled."""
        return not self._pages and self.line.batches_left == 0

    def advance(self, until: float) -> None:
        """Moves the plant forward to a time, event by event."""
        while self.now < until:
            self._arrive()
            signers = self._signers()
            self.line.fill(signers)
            rate = self._rate()
            end = self.now + self.line.next_end(rate)
            at = min(end, self._next_time(), until)
            self.line.run(at - self.now, rate)
            self.waited += self.line.records_left * (at - self.now)
            self.now = at
            self.pods.settle(at)
            if at == end:
                self.line.end_one(at)
                if self.done and self.ended_at is None:
                    self.ended_at = at
        self._arrive()

    def next_page(self) -> float:
        """Returns when the next records are planned; infinity: never."""
        return self._pages[0][0] if self._pages else inf

    def sight(self) -> Sight:
        """Returns what can be read now."""
        line, scenario = self.line, self.scenario
        settled, window = line.lately(self.now)
        left = line.batches_left
        outstanding = min(left, int(constants.OUTSTANDING_BATCHES.value))
        outage = next((o for o in scenario.outages if o.begin <= self.now < o.end), None)
        keys_ready = self.now >= scenario.keys / scenario.key_rate
        return Sight(
            now=self.now,
            counts=Counts(
                planned=not self._pages,
                records_left=line.records_left,
                batches_left=left,
                settled_lately=settled,
                window_seconds=window,
                signed=line.settled,
            ),
            lag=outage.state if outage else Lag(outstanding - line.in_flight, line.in_flight),
            unpublished=left - outstanding,
            batches_done=line.batches_done,
            expected=-(-(scenario.estimated or 0) // scenario.batch_size),
            requested=self.pods.requested,
            ready=self.pods.ready(self.now),
            unplaced=self.pods.unplaced(),
            keys_active=scenario.keys if keys_ready else None,
        )

    def _signers(self) -> int:
        if any(outage.begin <= self.now < outage.end for outage in self.scenario.outages):
            return 0
        return min(self.pods.signing, self._keys)

    @property
    def _keys(self) -> int:
        return min(self.scenario.keys, int(self.now * self.scenario.key_rate))

    def _rate(self) -> float:
        factor = next((load.factor for load in reversed(self.scenario.loads) if load.at <= self.now), 1.0)
        if self.scenario.noise and self.now >= self._noise_at:
            self._noise = self._random.lognormvariate(0.0, self.scenario.noise)
            self._noise_at = self.now + constants.NOISE_PERIOD.value
        return self.scenario.curve(self.line.in_flight) * factor * self._noise

    def _arrive(self) -> None:
        while self._pages and self._pages[0][0] <= self.now:
            at, records = self._pages.popleft()
            if not self.line.batches_left:
                self.jumps.append(at)
            self.line.add(records, self.scenario.batch_size)
        while self._changes and self._changes[0] <= self.now:
            self._changes.popleft()
        while self._waves and self._waves[0].at <= self.now:
            self.pods.preempt(self._waves.popleft().share, self.now)

    def _next_time(self) -> float:
        page = self.next_page()
        change = self._changes[0] if self._changes else inf
        noise = self._noise_at if self.scenario.noise and self._noise_at > self.now else inf
        key = inf
        if self._keys < min(self.pods.signing, self.scenario.keys):
            key = (int(self.now * self.scenario.key_rate) + 1.000001) / self.scenario.key_rate
        wave = self._waves[0].at if self._waves else inf
        return min(self.pods.next_time(), page, change, noise, key, wave)


def planned_pages(scenario: Scenario) -> list[tuple[float, int]]:
    """Returns when which records are planned: page by page, as fast as the records worker reads."""
    pages: list[tuple[float, int]] = []
    at = constants.PLANNER_START.value
    page = int(constants.PLANNED_PAGE.value)
    for begin, records in [(0.0, scenario.records), *((a.at, a.records) for a in scenario.arrivals)]:
        at = max(at, begin)
        for start in range(0, records, page):
            count = min(page, records - start)
            at += count / scenario.planning_rate
            pages.append((at, count))
    return pages


def _ends(scenario: Scenario) -> set[float]:
    return {at for outage in scenario.outages for at in (outage.begin, outage.end)}
