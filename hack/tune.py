"""Searches the defaults of the scaling decision on two thirds of the scenarios, and writes docs/tuning.md. `hack/tune.py [SEEDS]`.

One default after the other is set to other values. A value is better if the score is lower by more than two standard errors; ties keep
the default. The rest of the scenarios are held out: they only show what the outcome is worth.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from math import log, sqrt
from pathlib import Path
from statistics import fmean, stdev
from types import ModuleType
from typing import Final

from vaultstream.simulation.catalog import TRIALS
from vaultstream.simulation.finishing import FINISHING, ideal_peak, in_time
from vaultstream.simulation.rivals.oracle import Planned, best_plan
from vaultstream.simulation.run import SimulatedRun, learned_from, simulate
from vaultstream.simulation.scenario import Scenario

PAGE = Path(__file__).parents[1] / "docs" / "tuning.md"
SEEDS = 1
FIRST_EARLIER = 1000
MISSED: Final = 3.0
"""What a missed finishing time or a false alarm costs: as much as a makespan that is 20 times as long."""

GRID: Final[Mapping[str, tuple[float, ...]]] = {
    "worth.FIRST_STEP": (2, 4, 6, 8),
    "worth.SLACK": (1.05, 1.1, 1.2),
    "worth.LEAST_WORK": (0.25, 0.5, 1.0),
    "throughput.RETRY_FACTOR": (1.25, 1.5, 2.0),
    "throughput._LINEAR": (0.6, 0.7, 0.8),
    "throughput._GLARING": (0.2, 0.35, 0.5),
    "deadline.PLANNED_ERRORS": (0.0, 0.5, 1.0),
    "deadline.KEPT_ERRORS": (1.0, 1.5, 2.0),
    "deadline.RESERVE": (0.03, 0.05, 0.07),
}
"""From a default, as module and name, to the values that are tried; one of them is the default."""

HEAD = """\
# Tuned defaults

How the defaults of the [scaling decision](scaling.md) compare with others on the [simulation](simulation.md). `make tune` writes this page.

Every third scenario of the [catalog](scenarios.md) and of the [finishing times](deadlines.md) is held out; the others are searched. Those of the catalog run as the first job of their kind
and as the next one; seeds of each: SEEDS. The score of a run of the catalog is ln(makespan / oracle's) + ln(pod-seconds / oracle's), so 0.01 is about 1 %; where there is a finishing time, only
lateness counts in place of the makespan. Of a finishing time it is ln(peak / ideal), and MISSED more for one that is missed or for a false alarm. The lower, the better. A value is taken
if its score is lower than that of the default by more than two standard errors of the paired difference.

| Default | Value | Others: change of the score ± its standard error | Found |
| --- | --- | --- | --- |
"""


def modules() -> list[ModuleType]:
    """Returns the modules of the decision: a constant is imported by name, so each has its own."""
    names = ("worth", "throughput", "deadline", "rules", "decide", "history", "forecast", "experience")
    return [import_module(f"vaultstream.scaling.{name}") for name in names]


def value_of(default: str) -> float:
    """Returns a default as it is in the code."""
    module, name = default.split(".")
    value: float = getattr(import_module(f"vaultstream.scaling.{module}"), name)
    return value


@contextmanager
def set_to(values: Mapping[str, float]) -> Iterator[None]:
    """Sets defaults in all modules that use them."""
    before = {default: value_of(default) for default in values}
    try:
        _set(values)
        yield
    finally:
        _set(before)


def _set(values: Mapping[str, float]) -> None:
    for default, value in values.items():
        for module in modules():
            if hasattr(module, name := default.split(".")[1]):
                setattr(module, name, value)


def scores(names: tuple[str, ...], seeds: int, oracles: dict[str, list[SimulatedRun]]) -> list[float]:
    """Returns a score for each scenario and seed, in order. `oracles`: filled as they are needed."""
    found: list[float] = []
    for name in names:
        if name in TRIALS:
            scenario = TRIALS[name].scenario
            knowing = replace(scenario, prior=learned_from(scenario, range(FIRST_EARLIER, FIRST_EARLIER + 2)))
            if name not in oracles:
                oracles[name] = _oracle_runs(scenario, seeds)
            found += [
                _catalog_score(each, simulate(each, seed), oracles[name][seed])
                for each in (scenario, knowing)
                for seed in range(seeds)
            ]
        else:
            trial = FINISHING[name]
            for seed in range(seeds):
                drawn = trial.drawn(seed)
                found.append(_finishing_score(drawn, simulate(drawn, seed), feasible=trial.feasible))
    return found


def _oracle_runs(scenario: Scenario, seeds: int) -> list[SimulatedRun]:
    plan = best_plan(scenario)
    return [simulate(scenario, seed, lambda _: Planned(plan)) for seed in range(seeds)]


def _catalog_score(scenario: Scenario, run: SimulatedRun, oracle: SimulatedRun) -> float:
    longer = log(run.makespan / oracle.makespan)
    if scenario.finish_within is not None:
        longer = max(0.0, log(run.makespan / scenario.finish_within))
    return longer + log(run.pod_seconds / oracle.pod_seconds)


def _finishing_score(scenario: Scenario, run: SimulatedRun, *, feasible: bool) -> float:
    if not feasible:
        return MISSED * (run.at_risk_at is None)
    ideal = ideal_peak(scenario)
    missed = (not in_time(scenario, run)) + (run.at_risk_at is not None)
    return (log(run.peak / ideal) if ideal else 0.0) + MISSED * missed


def compared(ours: list[float], theirs: list[float]) -> tuple[float, float]:
    """Returns the mean of the paired differences, and its standard error."""
    differences = [one - other for one, other in zip(ours, theirs, strict=True)]
    return fmean(differences), stdev(differences) / sqrt(len(differences))


def main() -> None:
    """Searches, and writes the page."""
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else SEEDS
    names = (*TRIALS, *(name for name in FINISHING if name not in TRIALS))
    searched = tuple(name for number, name in enumerate(names) if number % 3 != 2)  # noqa: PLR2004 - a third
    held_out = tuple(name for name in names if name not in searched)
    oracles: dict[str, list[SimulatedRun]] = {}
    base = scores(searched, seeds, oracles)
    found: dict[str, float] = {}
    rows: list[str] = []
    for default, values in GRID.items():
        now, told, best = value_of(default), [], (0.0, value_of(default))
        for value in values:
            if value == now:
                continue
            with set_to({default: value}):
                change, error = compared(scores(searched, seeds, oracles), base)
            told.append(f"{value:g}: {change:+.3f} ± {error:.3f}")
            if change < -2 * error and change < best[0]:
                best = (change, value)
        if best[1] != now:
            found[default] = best[1]
        rows.append(f"| `{default}` | {now:g} | {', '.join(told)} | {best[1]:g} |")
        sys.stdout.write(f"{rows[-1]}\n")
        sys.stdout.flush()
    before = scores(held_out, seeds, oracles)
    text = HEAD.replace("SEEDS", str(seeds)).replace("MISSED", f"{MISSED:g}") + "\n".join(rows) + "\n\n"
    text += f"The mean score of the {len(searched)} searched scenarios is {fmean(base):.3f}, that of the {len(held_out)} held out {fmean(before):.3f}. "
    if found:
        with set_to(found):
            change, error = compared(scores(searched, seeds, oracles), base)
            outside, spread = compared(scores(held_out, seeds, oracles), before)
        gains = outside < -2 * spread
        text += f"With all that was found, they change by {change:+.3f} ± {error:.3f} and {outside:+.3f} ± {spread:.3f}: "
        text += (
            "the held out scenarios gain as well.\n"
            if gains
            else "the held out scenarios don't gain, so the defaults stay as they are.\n"
        )
    else:
        text += "No other value is better by more than the noise: the defaults are what the search finds.\n"
    text += f"\nHeld out: {', '.join(held_out)}.\n"
    PAGE.write_text(text, encoding="utf-8")
    sys.stdout.write(text.rsplit("\n\n", 2)[1] + "\n")


if __name__ == "__main__":
    main()
