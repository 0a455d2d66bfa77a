"""The HorizontalPodAutoscaler: what it makes of one external metric, and how fast it goes there.

As in Kubernetes 1.31, `pkg/controller/podautoscaler`: `GetExternalPerPodMetricReplicas` of replica_calculator.go, then
`normalizeDesiredReplicasWithBehaviors` of horizontal.go. Percentages are floats, as there: 90 % of 100 pods removes 91.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import ceil
from typing import Final

from vaultstream.api import ScaleDownRules, ScaleUpRules, ScalingBehavior

LONGEST_PERIOD_SECONDS: Final = 3600.0
"""Longest window or period that the HPA accepts, in seconds."""


@dataclass(slots=True)
class HorizontalAutoscaler:
    """One HPA with its memory. Times are seconds of the caller's clock.

    Attributes:
        behavior: windows and policies; those of HPA v2 by default.
        least: `minReplicas`, at least 1.
        most: `maxReplicas`.
        wanted: when which count was recommended.
        added: when how many were added; removed: when how many were removed.
    """

    behavior: ScalingBehavior = field(default_factory=ScalingBehavior)
    least: int = 1
    most: int = 100
    wanted: list[tuple[float, int]] = field(default_factory=list)
    added: list[tuple[float, int]] = field(default_factory=list)
    removed: list[tuple[float, int]] = field(default_factory=list)

    def sync(self, current: int, metric: float, target: float, now: float) -> int:
        """Returns the count after one sync by a metric of the type AverageValue.

        Args:
            current: replicas that run; 0 disables the HPA.
            metric: the sum over all replicas.
            target: `averageValue`, for one replica.
            now: seconds.
        """
        if current == 0:
            return 0
        if not self.least <= current <= self.most:
            return self._changed(current, max(self.least, min(self.most, current)), now)
        ratio = metric / (target * current)
        down, up = self.behavior.scale_down.tolerance, self.behavior.scale_up.tolerance
        return self.follow(current, current if 1 - down <= ratio <= 1 + up else ceil(metric / target), now)

    def follow(self, current: int, wanted: int, now: float) -> int:
        """Returns the count after a recommendation: windows, then policies, then bounds."""
        if not self.wanted:
            self.wanted.append((now, current))
        count = self._stabilized(current, wanted, now)
        self.wanted = [*_since(self.wanted, now - LONGEST_PERIOD_SECONDS), (now, wanted)]
        if count > current:
            count = min(count, self.most, max(current, self._allowed(self.behavior.scale_up, current, now)))
        elif count < current:
            count = max(
                count, self.least, min(current, self._allowed(self.behavior.scale_down, current, now))
            )
        return self._changed(current, count, now)

    def _changed(self, before: int, after: int, now: float) -> int:
        """Returns the count after a change, which is remembered as `storeScaleEvent` does.

        It takes the place of one that is older than the longest period of its own direction, although the other direction may look back
        further.
        """
        if before == after:
            return after
        rules: ScaleUpRules | ScaleDownRules = self.behavior.scale_up
        events = self.added
        if after < before:
            rules, events = self.behavior.scale_down, self.removed
        begin = now - max(policy.period_seconds for policy in rules.policies)
        old = [place for place, (at, _) in enumerate(events) if at < begin]
        if old:
            events[old[-1]] = (now, abs(after - before))
        else:
            events.append((now, abs(after - before)))
        return after

    def _stabilized(self, current: int, wanted: int, now: float) -> int:
        up, down = (
            [count for _, count in _since(self.wanted, now - rules.stabilization_window_seconds)]
            for rules in (self.behavior.scale_up, self.behavior.scale_down)
        )
        return min(max(current, min([*up, wanted])), max([*down, wanted]))

    def _allowed(self, rules: ScaleUpRules | ScaleDownRules, current: int, now: float) -> int:
        """Returns the highest count that the policies allow, or the lowest one for a scale-down."""
        if rules.select_policy == "Disabled":
            return current
        sign = 1 if isinstance(rules, ScaleUpRules) else -1
        counts = []
        for policy in rules.policies:
            begin = now - policy.period_seconds
            begun_with = current - _sum(_since(self.added, begin)) + _sum(_since(self.removed, begin))
            if policy.type == "Pods":
                counts.append(begun_with + sign * policy.value)
            elif sign > 0:
                counts.append(ceil(begun_with * (1 + policy.value / 100)))
            else:
                counts.append(int(begun_with * (1 - policy.value / 100)))
        largest_change = rules.select_policy == "Max"
        return max(counts) if (sign > 0) == largest_change else min(counts)


def _since(entries: Iterable[tuple[float, int]], begin: float) -> list[tuple[float, int]]:
    return [entry for entry in entries if entry[0] > begin]


def _sum(entries: Iterable[tuple[float, int]]) -> int:
    return sum(count for _, count in entries)
