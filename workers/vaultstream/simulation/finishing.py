"""Scenarios with a finishing time, as data: with noise, drift and slow starts, drawn again for each seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import comb, exp
from random import Random
from typing import Final

from vaultstream.api import ScalingSpec
from vaultstream.scaling.curve import Curve
from vaultstream.simulation import constants
from vaultstream.simulation.rivals.fluid import Flow, flow_of, flowed
from vaultstream.simulation.run import SimulatedRun
from vaultstream.simulation.scenario import Load, Scenario

DRIFT_STEPS: Final = 30
"""Steps in which a rate drifts."""


@dataclass(frozen=True, slots=True)
class FinishingTrial:
    """A job with a finishing time.

    Attributes:
        about: in one sentence.
        scenario: without its drift.
        drift: lowest and highest factor of the rate at the finishing time, from 1 at the start.
        drop: lowest and highest factor to which the rate falls at once, at a moment in the first half of the time.
        feasible: whether the maximum of signers meets the finishing time with every seed.
    """

    about: str
    scenario: Scenario
    drift: tuple[float, float] | None = None
    drop: tuple[float, float] | None = None
    feasible: bool = True

    def drawn(self, seed: int) -> Scenario:
        """Returns the scenario of a seed, with its drift."""
        random = Random(f"drift {seed}")  # noqa: S311 - a model, no secret
        within = self.scenario.finish_within or 0.0
        loads: tuple[Load, ...] = ()
        if self.drift is not None:
            last = random.uniform(*self.drift)
            shares = [(step + 1) / DRIFT_STEPS for step in range(DRIFT_STEPS)]
            loads = tuple(Load(within * share, last**share) for share in shares)
        if self.drop is not None:
            loads = (Load(random.uniform(0.1, 0.5) * within, random.uniform(*self.drop)),)
        return replace(self.scenario, loads=loads)


def ideal_peak(scenario: Scenario) -> int | None:
    """Returns the fewest signers that meet the finishing time; None: no count does.

    They know the curve and the drift, and what the noise is on average; each takes the median of a start, and is asked for at once. One that
    knows of a drop asks for the others when it comes.
    """
    mean, within = exp(scenario.noise**2 / 2), scenario.finish_within or 0.0
    knowing = replace(scenario, curve=scenario.curve.times(mean))
    flow, most = flow_of(knowing), int(scenario.scaling.max_replica_count or constants.MOST_SIGNERS.value)
    known = len(scenario.loads) != 1 or _fewest(flow_of(replace(knowing, loads=())), most, within, 0)
    if known is None:
        return None
    before = 0 if known is True else known
    return _fewest(flow, most, within, before)


def _fewest(flow: Flow, most: int, within: float, before: int) -> int | None:
    """Returns the fewest signers that are enough; `before` of them run in the first span, all if that is 0."""
    low, high = max(1, before), most + 1
    while low < high:
        count = (low + high) // 2
        plan = [min(count, each) for each in flow.most]
        if before:
            plan[0] = before
        low, high = (low, count) if flowed(flow, plan).makespan <= within else (count + 1, high)
    return low if low <= most else None


def in_time(scenario: Scenario, run: SimulatedRun) -> bool:
    """Returns whether a run met its finishing time."""
    return run.finished and run.late(scenario.finish_within or 0.0) <= 0


def share_interval(hits: int, count: int) -> tuple[float, float]:
    """Returns the 95 % interval of a share of which `hits` of `count`, 1 or more, were seen, by Clopper and Pearson."""

    def bound(at_least: int, tail: float) -> float:
        low, high = 0.0, 1.0
        for _ in range(50):
            share = (low + high) / 2
            more = sum(
                comb(count, k) * share**k * (1 - share) ** (count - k) for k in range(at_least, count + 1)
            )
            low, high = (share, high) if more < tail else (low, share)
        return low

    return (bound(hits, 0.025) if hits else 0.0), (bound(hits + 1, 0.975) if hits < count else 1.0)


def _night(**fields: object) -> Scenario:
    usual: dict[str, object] = {
        "finish_within": 620.0,
        "batch_size": 250,
        "start_spread": 0.25,
        "noise": 0.1,
        "estimated": 1_200_000,
        "horizon": 3_000.0,
    }
    return replace(Scenario("night", Curve(100.0), 1_200_000), **{**usual, **fields})  # type: ignore[arg-type]


FINISHING: Final[Mapping[str, FinishingTrial]] = {
    "loose": FinishingTrial("Twenty signers are enough, and 100 may run.", _night()),
    "tight": FinishingTrial(
        "Twenty signers are enough, and 24 may run.", _night(scaling=ScalingSpec(max_replica_count=24))
    ),
    "noisy": FinishingTrial("The rate varies by half from second to second.", _night(noise=0.5)),
    "slow starts": FinishingTrial(
        "A pod takes 45 s to start, some twice as long.", _night(start=45.0, start_spread=0.5)
    ),
    "drift": FinishingTrial(
        "The rate drifts to between 0.7 and 1.3 of what it was.", _night(), drift=(0.7, 1.3)
    ),
    "all at once": FinishingTrial(
        "Noise of a third, starts of 30 s, and a rate that drifts to between 0.8 and 1.2.",
        _night(noise=0.33, start=30.0, start_spread=0.5),
        drift=(0.8, 1.2),
    ),
    "drop": FinishingTrial("The rate falls at once, to between 0.6 and 0.9.", _night(), drop=(0.6, 0.9)),
    "near": FinishingTrial("Two minutes.", _night(records=200_000, estimated=200_000, finish_within=120.0)),
    "just impossible": FinishingTrial(
        "Eighteen signers may run, and twenty are needed.",
        _night(scaling=ScalingSpec(max_replica_count=18)),
        feasible=False,
    ),
    "impossible": FinishingTrial(
        "The maximum needs twice the time.",
        _night(records=12_000_000, estimated=12_000_000, curve=Curve(200.0), finish_within=300.0),
        feasible=False,
    ),
}
"""From a name to a job with a finishing time."""
