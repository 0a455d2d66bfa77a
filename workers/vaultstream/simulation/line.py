"""The batches in line, and the signers that share what the database can do.

All busy signers progress at the same speed, X(n) / n records per second each. So a batch ends once each signer could have
signed as many records since it began: one number of virtual records orders all ends.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass, field
from math import inf
from random import Random

from vaultstream.scaling.workload import RATE_WINDOW_SECONDS


@dataclass(slots=True)
class Line:
    """Batches that wait, that are signed now, and that are done.

    Attributes:
        spread: standard deviation of the logarithm of a batch's effort: no two take equally long.
        waiting: records of each batch that waits, in order.
        settled: records that are done.
        first_settled_at: when the first batch was done; None: none was.
    """

    random: Random
    spread: float = 0.0
    waiting: deque[int] = field(default_factory=deque)
    in_flight: int = 0
    records_left: int = 0
    settled: int = 0
    batches_done: int = 0
    first_settled_at: float | None = None
    _virtual: float = 0.0
    _ends: list[tuple[float, int]] = field(default_factory=list)
    _lately: deque[tuple[float, int]] = field(default_factory=deque)
    _lately_sum: int = 0

    @property
    def batches_left(self) -> int:
        """Batches that are planned and not done."""
        return len(self.waiting) + self.in_flight

    def add(self, records: int, batch_size: int) -> None:
        """Adds records in whole batches; the last one may be smaller."""
        full, rest = divmod(records, batch_size)
        self.waiting.extend([batch_size] * full)
        if rest:
            self.waiting.append(rest)
        self.records_left += records

    def fill(self, signers: int) -> None:
        """Delivers batches until as many signers have one, or none waits."""
        while self.in_flight < signers and self.waiting:
            size = self.waiting.popleft()
            effort = size * self.random.lognormvariate(-(self.spread**2) / 2, self.spread)
            heapq.heappush(self._ends, (self._virtual + effort, size))
            self.in_flight += 1

    def next_end(self, rate: float) -> float:
        """Returns the seconds until the next batch is done. `rate`: records per second of all signers together."""
        if not self._ends or rate <= 0:
            return inf
        return max(0.0, (self._ends[0][0] - self._virtual) * self.in_flight / rate)

    def run(self, seconds: float, rate: float) -> None:
        """Lets the signers work for a time in which no batch is done."""
        if self.in_flight:
            self._virtual += seconds * rate / self.in_flight

    def end_one(self, now: float) -> None:
        """Settles the batch that is done next."""
        at, size = heapq.heappop(self._ends)
        self._virtual = max(self._virtual, at)
        self.in_flight -= 1
        self.records_left -= size
        self.settled += size
        self.batches_done += 1
        if self.first_settled_at is None:
            self.first_settled_at = now
        self._lately.append((now, size))
        self._lately_sum += size

    def lately(self, now: float) -> tuple[int, float | None]:
        """Returns what Postgres reports: records settled in the window, and its length in seconds; None before the first."""
        while self._lately and self._lately[0][0] <= now - RATE_WINDOW_SECONDS:
            self._lately_sum -= self._lately.popleft()[1]
        first = self.first_settled_at
        return self._lately_sum, None if first is None else min(RATE_WINDOW_SECONDS, now - first)
