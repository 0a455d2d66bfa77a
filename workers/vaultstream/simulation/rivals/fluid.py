"""The plant without chance and without batches: records flow in and are signed at the rate of the curve.

Fast enough to try thousands of plans. A plan is a count for each of some spans of time, during which all its signers are up: who knows
what comes asks for them one start earlier.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from vaultstream.simulation import constants
from vaultstream.simulation.plant import planned_pages
from vaultstream.simulation.scenario import Scenario

MOST_SPANS = 16
"""Spans of a plan at most: more arrivals share one."""


@dataclass(frozen=True, slots=True)
class Flow:
    """What comes in, and what changes the rate.

    Attributes:
        arrivals: when how many records are there, in order.
        changes: from when which factor applies to the curve.
        begins: of the spans of a plan; the first is when the earliest signers can be up.
        most: signers that may be up in each span.
    """

    scenario: Scenario
    arrivals: tuple[tuple[float, int], ...]
    changes: tuple[tuple[float, float], ...]
    begins: tuple[float, ...]
    most: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Flowed:
    """What a plan takes: the seconds until all records are signed (infinity: it never ends), and pod-seconds."""

    makespan: float
    pod_seconds: float


def flow_of(scenario: Scenario) -> Flow:
    """Returns the flow of a scenario, with spans that begin where something changes."""
    pages = tuple(planned_pages(scenario))
    begin = max(scenario.start, pages[0][0] if pages else 0.0)
    changes = sorted(
        {0.0, *(load.at for load in scenario.loads)}
        | {at for outage in scenario.outages for at in (outage.begin, outage.end)}
    )
    factors = tuple((at, _factor(scenario, at)) for at in changes)
    marks = {at for at in changes if at > begin} | {
        arrival.at for arrival in scenario.arrivals if arrival.at > begin
    }
    if scenario.nodes.most > scenario.nodes.ready:
        marks.add(scenario.nodes.provisioning + scenario.start)
    chosen = sorted(marks)
    chosen = chosen[:: -(-len(chosen) // (MOST_SPANS - 1)) or 1]
    begins = (begin, *chosen)
    return Flow(scenario, pages, factors, begins, tuple(_most(scenario, at) for at in begins))


def flowed(flow: Flow, counts: Sequence[int]) -> Flowed:
    """Returns what a plan takes. `counts`: signers in each span of the flow."""
    scenario = flow.scenario
    marks = sorted(
        [(at, 0, records) for at, records in flow.arrivals]
        + [(at, 1, index) for index, (at, _) in enumerate(flow.changes)]
        + [(at, 2, index) for index, at in enumerate(flow.begins)]
    )
    left, now, up, factor, cost, coming = 0.0, 0.0, 0, 1.0, 0.0, len(flow.arrivals)
    ended = inf
    for at, kind, value in [*marks, (inf, 3, 0)]:
        rate = scenario.curve(up) * factor
        seconds = left / rate if rate > 0 and left > 0 else (0.0 if left <= 0 else inf)
        if coming == 0 and now + seconds <= at:
            ended = now + seconds
            cost += up * seconds
            break
        if at == inf:
            break
        left = max(0.0, left - rate * (at - now))
        cost += up * (at - now)
        now = at
        if kind == 0:
            left, coming = left + value, coming - 1
        elif kind == 1:
            factor = flow.changes[value][1]
        elif kind == 2:  # noqa: PLR2004 - a span begins
            cost += (
                max(0, counts[value] - up) * scenario.start
                + max(0, up - counts[value]) * constants.PRE_STOP.value
            )
            up = counts[value]
    return Flowed(ended, cost + up * constants.PRE_STOP.value)


def _factor(scenario: Scenario, at: float) -> float:
    if any(outage.begin <= at < outage.end for outage in scenario.outages):
        return 0.0
    return next((load.factor for load in reversed(scenario.loads) if load.at <= at), 1.0)


def _most(scenario: Scenario, at: float) -> int:
    nodes = scenario.nodes
    there = nodes.ready if at < nodes.provisioning + scenario.start else max(nodes.ready, nodes.most)
    limit = scenario.scaling.max_replica_count or constants.MOST_SIGNERS.value
    return max(1, int(min(limit, scenario.keys, there * nodes.slots, nodes.quota)))
