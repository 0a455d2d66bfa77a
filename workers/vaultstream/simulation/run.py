"""Runs a scenario in a closed loop: what is seen is decided on, and what is decided is done."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from math import ceil
from typing import Protocol

from vaultstream.scaling.decision import Decision
from vaultstream.scaling.prior import Prior
from vaultstream.simulation import constants
from vaultstream.simulation.operated import Operated
from vaultstream.simulation.plant import Plant, Sight
from vaultstream.simulation.scenario import Scenario

EVENT_PACE_SECONDS = 1.0
"""Events of pods, and hints of the records worker, are decided on at most this often, in seconds."""
SHARE_OF_REACTIONS = 0.95
"""Share of the reactions that are at most as long as the one that is reported."""


class Autoscaler(Protocol):
    """What decides how many signers run."""

    @property
    def interval(self) -> float: ...

    def decide(self, sight: Sight) -> Decision | int: ...


@dataclass(frozen=True, slots=True)
class Moment:
    """The state after a decision. `rate` is in records per second over the latest 20 s; None: unknown."""

    at: float
    lag: int
    requested: int
    ready: int
    rate: float | None


@dataclass(frozen=True, slots=True)
class Mark:
    """A decision that changed the count: when, to what, and why."""

    at: float
    count: int
    why: str


@dataclass(frozen=True, slots=True)
class SimulatedRun:
    """What a simulated run took.

    Attributes:
        makespan: seconds until the last record was settled; the horizon if that did not happen.
        finished: whether it happened.
        pod_seconds: of signers that had a node, their starts and drains included.
        node_seconds: of nodes that were there or on their way.
        peak: signers asked for at most.
        changes: changes of the count.
        wasted_starts: pods that left before they signed.
        reaction: seconds from records that came while no signer was asked for until signers were, the 95th percentile; the horizon: they never were.
            0: no records came so.
        freshness: seconds that a record waited for its signature on average, from being planned.
        at_risk_at: when the finishing time was first reported to be at risk; None: it never was.
        moments: one after each decision.
        decisions: those of VaultStream that changed the count, each with its time.
        prior: what the next job of the same kind knows after this one.
    """

    makespan: float
    finished: bool
    pod_seconds: float
    node_seconds: float
    peak: int
    changes: int
    wasted_starts: int
    reaction: float
    freshness: float
    at_risk_at: float | None
    moments: tuple[Moment, ...]
    decisions: tuple[tuple[float, Decision], ...]
    prior: Prior

    @property
    def marks(self) -> tuple[Mark, ...]:
        """The decisions for a chart."""
        return tuple(Mark(at, decision.desired, decision.explain()) for at, decision in self.decisions)

    def late(self, finish_within: float) -> float:
        """Returns the seconds by which the run missed its finishing time; negative: it was early."""
        return self.makespan - finish_within


def simulate(
    scenario: Scenario, seed: int = 0, autoscaler: Callable[[Scenario], Autoscaler] = Operated
) -> SimulatedRun:
    """Returns the outcome of one run. Equal arguments give equal outcomes.

    Args:
        scenario: what to run.
        seed: of the starts and the noise.
        autoscaler: makes what decides; the operator's own loop if none is given.
    """
    plant, scaler = Plant(scenario, seed), autoscaler(scenario)
    moments: list[Moment] = []
    decisions: list[tuple[float, Decision]] = []
    changes, at_risk_at, next_poll, prior = 0, None, 0.0, scenario.prior or Prior()
    while plant.now < scenario.horizon:
        sight = plant.sight()
        decided = scaler.decide(sight)
        count = decided.desired if isinstance(decided, Decision) else decided
        if isinstance(decided, Decision):
            if at_risk_at is None and decided.deadline_at_risk:
                at_risk_at = sight.now
            if decided.changes_count:
                decisions.append((sight.now, decided))
        if count != sight.requested:
            changes += 1
            plant.pods.scale(count, plant.now)
            if isinstance(scaler, Operated):  # the operator writes it at each change, as rates are forgotten
                prior = prior.learned(scaler.history, seed, plant.now)
        moments.append(
            Moment(sight.now, sight.counts.batches_left, count, sight.ready, sight.counts.recent_rate)
        )
        if _over(plant):
            break
        soon = isinstance(decided, Decision) and decided.soon
        next_poll = sight.now + (min(EVENT_PACE_SECONDS, scaler.interval) if soon else scaler.interval)
        event = plant.pods.next_time()
        if isinstance(scaler, Operated) and scenario.hinted:
            event = min(event, plant.next_page())
        change = max(sight.now + EVENT_PACE_SECONDS, event)
        plant.advance(min(next_poll, change))
    if isinstance(scaler, Operated):
        prior = prior.learned(scaler.history, seed, plant.now)
    return SimulatedRun(
        makespan=plant.ended_at if plant.ended_at is not None else scenario.horizon,
        finished=plant.ended_at is not None,
        pod_seconds=plant.pods.pod_seconds,
        node_seconds=plant.pods.node_seconds,
        peak=max(moment.requested for moment in moments),
        changes=changes,
        wasted_starts=plant.pods.wasted_starts,
        reaction=_reaction(plant, moments),
        freshness=plant.waited / max(1, scenario.total),
        at_risk_at=at_risk_at,
        moments=tuple(moments),
        decisions=tuple(decisions),
        prior=prior,
    )


def learned_from(scenario: Scenario, seeds: Iterable[int]) -> Prior:
    """Returns what runs of a scenario teach, one after the other: each begins with what those before have shown."""
    prior = scenario.prior or Prior()
    for seed in seeds:
        run = simulate(replace(scenario, prior=prior), seed)
        newest = max((one.at for one in run.prior.seen), default=0.0)
        prior = run.prior.moved(-1.0 - newest)
    return prior


def _over(plant: Plant) -> bool:
    """Returns whether all is signed and all signers are gone, or a rival keeps them without end."""
    if plant.ended_at is None:
        return plant.done and plant.pods.next_time() > plant.now + plant.scenario.horizon
    nothing_comes = plant.pods.next_time() > plant.now + plant.scenario.horizon
    lingering = plant.now > plant.ended_at + constants.LINGERING.value
    return nothing_comes and (plant.pods.requested == 0 or lingering)


def _reaction(plant: Plant, moments: list[Moment]) -> float:
    times: list[float] = []
    index, asked = 0, 0
    for jump in plant.jumps:
        while index < len(moments) and moments[index].at < jump:
            asked, index = moments[index].requested, index + 1
        if not asked:
            later = (moment.at for moment in moments[index:] if moment.requested > 0)
            times.append(next(later, plant.scenario.horizon) - jump)
    return sorted(times)[ceil(SHARE_OF_REACTIONS * len(times)) - 1] if times else 0.0
