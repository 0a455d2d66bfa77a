"""Compares VaultStream with rivals on the same scenario: equal seeds give each the same noise, so differences are paired."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from random import Random
from statistics import NormalDist, fmean, stdev
from typing import Final

from vaultstream.simulation import constants
from vaultstream.simulation.rivals.formulas import Flink, Numaflow
from vaultstream.simulation.rivals.keda import Keda, KedaOptions
from vaultstream.simulation.rivals.oracle import CountPlan, Planned, best_fixed, best_plan
from vaultstream.simulation.run import Autoscaler, SimulatedRun, simulate
from vaultstream.simulation.scenario import Scenario

VAULTSTREAM: Final = "vaultstream"
RIVALS: Final = ("keda", "keda-tuned", "numaflow", "flink", "fixed", "oracle")
"""What VaultStream can be compared with."""
FEWEST_SEEDS: Final = 30
"""Seeds from which an interval is worth reading."""
LEVEL: Final = 0.95
"""Of the intervals of confidence."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its interval of confidence, of the level `LEVEL`. With one value, the interval is that value."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Interval:
        """Returns the interval of a mean by Student's distribution. `values`: at least one."""
        mean = fmean(values)
        if len(values) == 1:
            return cls(mean, mean, mean)
        half = _student(len(values) - 1) * stdev(values) / sqrt(len(values))
        return cls(mean, mean - half, mean + half)


@dataclass(frozen=True, slots=True)
class Compared:
    """What one way to scale took.

    Attributes:
        runs: one per seed.
        measures: by name; see `measures_of`.
        ratios: VaultStream's measure over its, for each seed: below 1, VaultStream needs less.
    """

    runs: tuple[SimulatedRun, ...]
    measures: Mapping[str, Interval]
    ratios: Mapping[str, Interval]


def compare(scenario: Scenario, rivals: Sequence[str], seeds: Sequence[int]) -> dict[str, Compared]:
    """Returns what VaultStream and the rivals took, VaultStream first.

    Args:
        scenario: what to run.
        rivals: names of `RIVALS`.
        seeds: at least one; everyone runs with each.
    """
    made = {name: _maker(name, scenario) for name in dict.fromkeys((*rivals, "oracle"))}
    runs = {VAULTSTREAM: tuple(simulate(scenario, seed) for seed in seeds)}
    for name, maker in made.items():
        runs[name] = tuple(simulate(scenario, seed, maker(seed)) for seed in seeds)
    wanted = (VAULTSTREAM, *rivals)
    return {name: _compared(scenario, runs[name], runs[VAULTSTREAM], runs["oracle"]) for name in wanted}


def measures_of(scenario: Scenario, run: SimulatedRun, oracle: SimulatedRun) -> dict[str, float]:
    """Returns the measures of a run, under their names.

    Those in seconds are: makespan, pod_seconds, node_seconds, reaction, freshness, and lateness if there is a finishing time. Regret is what
    is spent beyond the oracle, as a share of what the oracle spends on the same seed: of pod-seconds, and of the makespan.
    """
    measured = {
        "makespan": run.makespan,
        "pod_seconds": run.pod_seconds,
        "node_seconds": run.node_seconds,
        "peak": float(run.peak),
        "reaction": run.reaction,
        "freshness": run.freshness,
        "wasted_starts": float(run.wasted_starts),
        "changes": float(run.changes),
        "regret_pod_seconds": run.pod_seconds / oracle.pod_seconds - 1 if oracle.pod_seconds else 0.0,
        "regret_makespan": run.makespan / oracle.makespan - 1,
    }
    if scenario.finish_within is not None:
        measured["lateness"] = max(0.0, run.late(scenario.finish_within))
    return measured


def _compared(
    scenario: Scenario,
    runs: tuple[SimulatedRun, ...],
    ours: tuple[SimulatedRun, ...],
    oracles: tuple[SimulatedRun, ...],
) -> Compared:
    each = [measures_of(scenario, run, oracle) for run, oracle in zip(runs, oracles, strict=True)]
    measures = {name: Interval.of([one[name] for one in each]) for name in each[0]}
    ratios = {
        "makespan": Interval.of([a.makespan / b.makespan for a, b in zip(ours, runs, strict=True)]),
        "pod_seconds": Interval.of(
            [a.pod_seconds / max(1.0, b.pod_seconds) for a, b in zip(ours, runs, strict=True)]
        ),
    }
    return Compared(runs, measures, ratios)


def _maker(name: str, scenario: Scenario) -> Callable[[int], Callable[[Scenario], Autoscaler]]:
    """Returns what makes an autoscaler for a seed, which also gives the phases of its clocks."""
    most = int(scenario.scaling.max_replica_count or constants.MOST_SIGNERS.value)
    plan: CountPlan = ()
    if name == "fixed":
        plan = ((0.0, best_fixed(scenario)),)
    if name == "oracle":
        plan = best_plan(scenario)
    makers: dict[str, Callable[[int], Autoscaler]] = {
        "keda": lambda seed: Keda(keda_options(scenario), _random(seed)),
        "keda-tuned": lambda seed: Keda(keda_options(scenario).tuned(), _random(seed)),
        "numaflow": lambda seed: Numaflow(most, scenario.batch_size, _random(seed)),
        "flink": lambda _: Flink(most, scenario.batch_size),
        "fixed": lambda _: Planned(plan),
        "oracle": lambda _: Planned(plan),
    }
    return lambda seed: lambda _: makers[name](seed)


def keda_options(scenario: Scenario) -> KedaOptions:
    """Returns the ScaledObject of a job: its own bounds and threshold, and KEDA's defaults."""
    spec = scenario.scaling
    return KedaOptions(
        least=spec.min_replica_count,
        most=int(spec.max_replica_count or constants.MOST_SIGNERS.value),
        lag_threshold=spec.lag_threshold or KedaOptions().lag_threshold,
        activation_lag_threshold=spec.activation_lag_threshold,
    )


def _random(seed: int) -> Random:
    return Random(f"phases {seed}")  # noqa: S311 - a model, no secret


def _student(freedom: int) -> float:
    """Returns the quantile of Student's distribution by its expansion in 1 / freedom (Abramowitz and Stegun, 26.7.5)."""
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92_160,
    )
    return z + sum(term / float(freedom) ** (power + 1) for power, term in enumerate(terms))
