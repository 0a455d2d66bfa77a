"""The best that can be done by someone who knows all that comes: a fixed count, and a plan of counts.

Both take the fewest pod-seconds of all whose makespan is at most 1.03 times the best one, on the plant without chance. They know the
curve, the arrivals, the loads and the outages, but not the noise, nor how long each start takes. How long records wait is nothing to them.
"""

from __future__ import annotations

from typing import Final

from vaultstream.simulation.plant import Sight
from vaultstream.simulation.rivals.fluid import Flow, flow_of, flowed
from vaultstream.simulation.scenario import Scenario

ALLOWED_MAKESPAN: Final = 1.03
"""How many times the best makespan a plan may take."""
_LOOK_SECONDS = 1.0
_FARTHEST_LOOK_SECONDS = 10.0
_ROUNDS = 4

CountPlan = tuple[tuple[float, int], ...]
"""Times in seconds, in order, each with the count from then on."""


class Planned:
    """Follows a plan, and goes to 0 once all is signed."""

    def __init__(self, plan: CountPlan) -> None:
        self._plan = plan
        self._now, self._look = 0.0, _LOOK_SECONDS

    @property
    def interval(self) -> float:
        """Seconds until the next entry of the plan, or until it looks again whether all is signed."""
        return min([self._look, *(at - self._now for at, _ in self._plan if at > self._now)])

    def decide(self, sight: Sight) -> int:
        """Returns the count of the plan at this time."""
        self._now = sight.now
        if sight.counts.planned and sight.counts.batches_left == 0:
            return 0
        rate, left = sight.counts.recent_rate or 0.0, sight.counts.records_left
        half = left / rate / 2 if rate and sight.counts.planned else _LOOK_SECONDS
        self._look = max(_LOOK_SECONDS, min(_FARTHEST_LOOK_SECONDS, half))
        return next((count for at, count in reversed(self._plan) if at <= sight.now), 0)


def best_fixed(scenario: Scenario) -> int:
    """Returns the count that is best from the first record to the last."""
    flow = flow_of(scenario)
    outcomes = {
        count: flowed(flow, [min(count, most) for most in flow.most]) for count in _tried(max(flow.most))
    }
    allowed = ALLOWED_MAKESPAN * min(outcome.makespan for outcome in outcomes.values())
    return min(
        (count for count, outcome in outcomes.items() if outcome.makespan <= allowed),
        key=lambda count: outcomes[count].pod_seconds,
    )


def best_plan(scenario: Scenario) -> CountPlan:
    """Returns the plan of someone who knows all that comes: one count for each span between two changes."""
    flow = flow_of(scenario)
    fastest = [max(_tried(most), key=lambda n: (scenario.curve(n), -n)) for most in flow.most]
    allowed = ALLOWED_MAKESPAN * flowed(flow, fastest).makespan
    fixed = best_fixed(scenario)
    starts = [fastest, [min(fixed, most) for most in flow.most]]
    plans = [
        _improved(flow, counts, allowed) for counts in starts if flowed(flow, counts).makespan <= allowed
    ]
    counts = min(plans, key=lambda plan: flowed(flow, plan).pod_seconds)
    return _asked_in_time(flow, counts)


def _improved(flow: Flow, counts: list[int], allowed: float) -> list[int]:
    """Returns a plan of which no single count can be changed for fewer pod-seconds."""
    best = flowed(flow, counts).pod_seconds
    for _ in range(_ROUNDS):
        before = best
        for span in reversed(range(len(counts))):
            for count in _tried(flow.most[span], least=0):
                tried = [*counts[:span], count, *counts[span + 1 :]]
                outcome = flowed(flow, tried)
                if outcome.makespan <= allowed and outcome.pod_seconds < best:
                    counts, best = tried, outcome.pod_seconds
        if best >= before:
            break
    return counts


def _asked_in_time(flow: Flow, counts: list[int]) -> CountPlan:
    """Returns when the signers of each span are asked for: one start before they are to be up, and earlier if a node must come first."""
    scenario = flow.scenario
    there = scenario.nodes.ready * scenario.nodes.slots
    plan: list[tuple[float, int]] = []
    for begin, count in zip(flow.begins, counts, strict=True):
        before = plan[-1][1] if plan else 0
        lead = scenario.start + (scenario.nodes.provisioning if count > there else 0.0)
        at = max(0.0, begin - lead) if count > before else begin
        while plan and plan[-1][0] >= at:
            plan.pop()
        plan.append((at, count))
    return tuple(plan)


def _tried(most: int, least: int = 1) -> list[int]:
    """Returns the counts that are tried: all small ones, and larger ones in steps of 5 %."""
    counts, count = [], least
    while count < most:
        counts.append(count)
        count = max(count + 1, round(count * 1.05))
    return [*counts, most]
