"""The formulas of two autoscalers of streams: Numaflow's and Flink's.

Numaflow 1.4, pkg/reconciler/vertex/scaling/scaling.go, for a source: round(pending / rate / targetProcessingSeconds · replicas), by at most two
replicas at a time, 90 s apart. Flink's Kubernetes operator 1.10, autoscaler: the parallelism at which the true rate of a task,
times the utilization, is the rate that comes in plus the backlog over the catch-up time. Defaults of both from their documentation.
"""

from __future__ import annotations

from collections import deque
from math import ceil
from random import Random
from statistics import fmean
from typing import Final

from vaultstream.scaling.observation import Lag
from vaultstream.simulation.plant import Sight

NUMAFLOW_TASK_SECONDS: Final = 5.0
"""How often Numaflow looks at a vertex."""
NUMAFLOW_LOOKBACK_SECONDS: Final = 120.0
"""`lookbackSeconds`, over which the rate and what is pending are averaged."""
NUMAFLOW_COOLDOWN_SECONDS: Final = 90.0
"""`scaleUpCooldownSeconds` and `scaleDownCooldownSeconds`."""
NUMAFLOW_TARGET_SECONDS: Final = 20.0
"""`targetProcessingSeconds`."""
NUMAFLOW_STEP: Final = 2
"""`replicasPerScaleUp` and `replicasPerScaleDown`."""
FLINK_METRICS_SECONDS: Final = 60.0
"""How often Flink's autoscaler evaluates its metrics."""
FLINK_WINDOW_SECONDS: Final = 900.0
"""`job.autoscaler.metrics.window`."""
FLINK_STABILIZATION_SECONDS: Final = 300.0
"""`job.autoscaler.stabilization.interval`."""
FLINK_CATCH_UP_SECONDS: Final = 1800.0
"""`job.autoscaler.catch-up.duration`."""
FLINK_UTILIZATION: Final = 0.7
"""`job.autoscaler.target.utilization`."""
FLINK_BOUNDARY: Final = 0.3
"""`job.autoscaler.target.utilization.boundary`."""
FLINK_SCALE_DOWN: Final = 0.6
"""`job.autoscaler.scale-down.max-factor`."""


class Numaflow:
    """Decides as Numaflow does for a source vertex. A job that has ended is scaled to 0 once nothing is pending."""

    interval = NUMAFLOW_TASK_SECONDS

    def __init__(self, most: int, batch_size: int, random: Random) -> None:
        self._most = most
        self._batch_size = batch_size
        self._scaled_at = -random.uniform(0.0, NUMAFLOW_COOLDOWN_SECONDS)
        self._seen: deque[tuple[float, float, int]] = deque()

    def decide(self, sight: Sight) -> int:
        """Returns the count by the averages of the lookback."""
        current = sight.requested
        if not isinstance(sight.lag, Lag):
            return current
        pending = sight.lag.total * self._batch_size
        self._seen.append((sight.now, sight.counts.signed, pending))
        while sight.now - self._seen[0][0] > NUMAFLOW_LOOKBACK_SECONDS:
            self._seen.popleft()
        if current == 0:
            return self._scaled(1, sight.now) if pending > 0 else 0
        if sight.now - self._scaled_at < NUMAFLOW_COOLDOWN_SECONDS:
            return current
        wanted = self._wanted(sight)
        step = max(-NUMAFLOW_STEP, min(NUMAFLOW_STEP, min(self._most, wanted) - current))
        return self._scaled(current + step, sight.now) if step else current

    def _wanted(self, sight: Sight) -> int:
        begin, signed, _ = self._seen[0]
        seconds = sight.now - begin
        rate = (sight.counts.signed - signed) / seconds if seconds > 0 else 0.0
        pending = fmean(one for _, _, one in self._seen)
        if pending == 0 and rate == 0:
            return 0
        if pending == 0 or rate == 0:
            return 1
        return max(1, round(pending / rate / NUMAFLOW_TARGET_SECONDS * sight.requested))

    def _scaled(self, count: int, now: float) -> int:
        self._scaled_at = now
        return count


class Flink:
    """Decides by Flink's formula. A job of Flink never has 0 tasks: one runs until the job is done."""

    interval = FLINK_METRICS_SECONDS

    def __init__(self, most: int, batch_size: int) -> None:
        self._most = most
        self._batch_size = batch_size
        self._changed_at = 0.0
        self._busy: deque[tuple[float, int, int]] = deque()

    def decide(self, sight: Sight) -> int:
        """Returns the count by the true rate over the window."""
        now, current = sight.now, sight.requested
        if sight.counts.planned and sight.counts.batches_left == 0:
            return 0
        if current == 0:
            self._changed_at = now
            return 1
        self._busy.append((now, sight.counts.signed, sight.ready))
        while now - self._busy[0][0] > FLINK_WINDOW_SECONDS or self._busy[0][0] < self._changed_at:
            self._busy.popleft()
        if now - self._changed_at < FLINK_STABILIZATION_SECONDS or not isinstance(sight.lag, Lag):
            return current
        wanted = self._wanted(sight)
        if wanted != current:
            self._changed_at = now
        return wanted

    def _wanted(self, sight: Sight) -> int:
        begin, signed, _ = self._busy[0]
        seconds = sight.now - begin
        per_task = (sight.counts.signed - signed) / seconds / sight.requested if seconds > 0 else 0.0
        if per_task <= 0 or not isinstance(sight.lag, Lag):
            return sight.requested
        # Records of a table are all there: the backlog is the input.
        target = (sight.lag.total + sight.unpublished) * self._batch_size / FLINK_CATCH_UP_SECONDS
        use = target / (per_task * sight.requested)
        if FLINK_UTILIZATION - FLINK_BOUNDARY <= use <= FLINK_UTILIZATION + FLINK_BOUNDARY:
            return sight.requested
        count = ceil(target / (per_task * FLINK_UTILIZATION))
        return max(1, ceil(sight.requested * (1 - FLINK_SCALE_DOWN)), min(self._most, count))
