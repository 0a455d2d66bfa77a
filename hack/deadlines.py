"""Measures how well finishing times hold, and writes docs/deadlines.md. `hack/deadlines.py [SEEDS]`."""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from vaultstream.simulation.finishing import FINISHING, ideal_peak, in_time, share_interval
from vaultstream.simulation.run import simulate

PAGE = Path(__file__).parents[1] / "docs" / "deadlines.md"
SEEDS = 200
MOST_PEAK = 1.25

HEAD = f"""\
# Finishing times

How well [finishing times](scaling.md#a-finishing-time) hold in the [simulation](simulation.md), over SEEDS seeds each. `make deadlines` writes this page. The
scenarios are data: [finishing.py](../workers/vaultstream/simulation/finishing.py). All are the first job of their kind, so that nothing is known beforehand.

- **In time**: share of the runs that ended by their finishing time, with its 95 % interval (Clopper and Pearson).
- **Alarms**: share of the runs in which `DeadlineAtRisk` was ever True. Where the time can be met, each is false.
- **First alarm**: seconds after the job's creation, median and latest.
- **Peak**: most signers over the fewest that meet the time if somebody who knows the curve and the drift asks for them at once; mean, 95th percentile, and the share of runs up to {MOST_PEAK:g}.
  Nobody can reach 1 everywhere: four signers first show what a signer signs, and a rate that falls later takes more signers for less time.

| Scenario | In time | Alarms | First alarm, s | Peak: mean, p95 | Peak ≤ {MOST_PEAK:g} |
| --- | --- | --- | --- | --- | --- |
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one run. `ratio`: its peak over the ideal one; None: the time can't be met."""

    in_time: bool
    alarm: float | None
    ratio: float | None


def run(name: str, seed: int) -> Outcome:
    """Returns the outcome of a scenario with a seed."""
    scenario = FINISHING[name].drawn(seed)
    done, ideal = simulate(scenario, seed), ideal_peak(scenario)
    return Outcome(in_time(scenario, done), done.at_risk_at, done.peak / ideal if ideal else None)


def row(name: str, outcomes: list[Outcome]) -> str:
    """Returns the row of a scenario."""
    count = len(outcomes)
    alarms = sorted(one.alarm for one in outcomes if one.alarm is not None)
    ratios = sorted(one.ratio for one in outcomes if one.ratio is not None)
    when = f"{alarms[len(alarms) // 2]:.0f}, {alarms[-1]:.0f}" if alarms else ""
    peak = f"{fmean(ratios):.2f}, {ratios[int(0.95 * (len(ratios) - 1))]:.2f}" if ratios else ""
    few = _share(sum(ratio <= MOST_PEAK + 1e-9 for ratio in ratios), len(ratios)) if ratios else ""
    met = _share(sum(one.in_time for one in outcomes), count)
    return f"| {name}: {FINISHING[name].about} | {met} | {_share(len(alarms), count)} | {when} | {peak} | {few} |"


def _share(hits: int, count: int) -> str:
    low, high = share_interval(hits, count)
    return f"{100 * hits / count:.1f} % ({100 * low:.1f} to {100 * high:.1f})"


def main() -> None:
    """Runs all scenarios, two at a time, and writes the page."""
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else SEEDS
    rows = []
    with ProcessPoolExecutor(2) as pool:
        for name in FINISHING:
            rows.append(row(name, list(pool.map(run, [name] * seeds, range(seeds), chunksize=5))))
            sys.stdout.write(f"{rows[-1]}\n")
            sys.stdout.flush()
    PAGE.write_text(HEAD.replace("SEEDS", str(seeds)) + "\n".join(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
