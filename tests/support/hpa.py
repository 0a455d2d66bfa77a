"""A port of HPA v2's `behavior`, from Kubernetes 1.31's `pkg/controller/podautoscaler/horizontal.go`.

Ported line by line: `stabilizeRecommendationWithBehaviors`, `convertDesiredReplicasWithBehaviorRate`, `storeScaleEvent` and what
they call. Percentages are whole numbers if `whole` is True, as docs/scaling.md says of the product; else floats, as in the HPA.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil
from random import Random
from typing import Any

from vaultstream.api import ScaleDownRules, ScaleUpRules, ScalingBehavior, ScalingPolicy


@dataclass
class Stamped:
    """A recommendation or a change with its time; `outdated`: its slot may be used again."""

    count: int
    at: float
    outdated: bool = False


@dataclass
class HpaPort:
    behavior: ScalingBehavior
    most: int
    whole: bool = True
    recommendations: list[Stamped] = field(default_factory=list)
    up_events: list[Stamped] = field(default_factory=list)
    down_events: list[Stamped] = field(default_factory=list)

    def desired(self, current: int, wanted: int, now: float) -> int:
        """Returns the count after one reconcile, and records the change."""
        if not self.recommendations:  # recordInitialRecommendation
            self.recommendations.append(Stamped(current, now))
        stable = self._stabilized(current, wanted, now)
        count = self._paced(current, stable, now)
        if count != current:
            self._store(current, count, now)
        return count

    def _stabilized(self, current: int, wanted: int, now: float) -> int:
        up, down, old = wanted, wanted, None
        up_cutoff = now - self.behavior.scale_up.stabilization_window_seconds
        down_cutoff = now - self.behavior.scale_down.stabilization_window_seconds
        for index, one in enumerate(self.recommendations):
            if one.at > up_cutoff:
                up = min(one.count, up)
            if one.at > down_cutoff:
                down = max(one.count, down)
            if one.at < up_cutoff and one.at < down_cutoff:
                old = index
        recommendation = min(max(current, up), down)
        new = Stamped(wanted, now)
        if old is not None:
            self.recommendations[old] = new
        else:
            self.recommendations.append(new)
        return recommendation

    def _paced(self, current: int, wanted: int, now: float) -> int:
        if wanted > current:
            limit = max(current, self._up_limit(current, now))
            return min(wanted, limit, self.most)
        if wanted < current:
            limit = min(current, self._down_limit(current, now))
            return max(wanted, limit, 1)
        return wanted

    def _up_limit(self, current: int, now: float) -> int:
        rules = self.behavior.scale_up
        if rules.select_policy == "Disabled":
            return current
        proposals = []
        for policy in rules.policies:
            start = current - self._changed(self.up_events, policy.period_seconds, now)
            start += self._changed(self.down_events, policy.period_seconds, now)
            if policy.type == "Pods":
                proposals.append(start + policy.value)
            elif self.whole:
                proposals.append(-(-start * (100 + policy.value) // 100))
            else:
                proposals.append(ceil(float(start) * (1 + float(policy.value) / 100)))
        return min(proposals) if rules.select_policy == "Min" else max(proposals)

    def _down_limit(self, current: int, now: float) -> int:
        rules = self.behavior.scale_down
        if rules.select_policy == "Disabled":
            return current
        proposals = []
        for policy in rules.policies:
            start = current - self._changed(self.up_events, policy.period_seconds, now)
            start += self._changed(self.down_events, policy.period_seconds, now)
            if policy.type == "Pods":
                proposals.append(start - policy.value)
            elif self.whole:
                proposals.append(start * (100 - policy.value) // 100)
            else:
                proposals.append(int(float(start) * (1 - float(policy.value) / 100)))
        return max(proposals) if rules.select_policy == "Min" else min(proposals)

    @staticmethod
    def _changed(events: list[Stamped], period: float, now: float) -> int:
        return sum(event.count for event in events if event.at > now - period)

    def _store(self, before: int, after: int, now: float) -> None:
        rules: ScaleUpRules | ScaleDownRules
        if after > before:
            rules, events = self.behavior.scale_up, self.up_events
        else:
            rules, events = self.behavior.scale_down, self.down_events
        cutoff = now - max(policy.period_seconds for policy in rules.policies)
        old = None
        for index, event in enumerate(events):
            event.outdated = event.outdated or event.at < cutoff
            if event.outdated:
                old = index
        new = Stamped(abs(after - before), now)
        if old is not None:
            events[old] = new
        else:
            events.append(new)


def random_behavior(random: Random) -> ScalingBehavior:
    """A behavior with one to three policies in each direction."""
    return ScalingBehavior(
        scale_up=ScaleUpRules(**_rules(random)), scale_down=ScaleDownRules(**_rules(random))
    )


def _rules(random: Random) -> dict[str, Any]:
    policies = tuple(
        ScalingPolicy(
            type=random.choice(["Pods", "Percent"]),
            value=random.randint(1, 120),
            period_seconds=random.choice([15, 30, 60, 120, 300]),
        )
        for _ in range(random.randint(1, 3))
    )
    return {
        "stabilization_window_seconds": random.choice([0, 0, 30, 60, 300]),
        "select_policy": random.choice(["Max", "Max", "Min", "Disabled"]),
        "tolerance": 0.0,
        "policies": policies,
    }
