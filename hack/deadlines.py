"""Measures how well finishing times hold, and writes docs/deadlines.md. `hack/deadlines.py [SEEDS [PROCESSES]]`."""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from vaultstream.scaling.prior import Prior
from vaultstream.simulation.finishing import FINISHING, ideal_peak, in_time, share_interval
from vaultstream.simulation.run import learned_from, simulate

PAGE = Path(__file__).parents[1] / "docs" / "deadlines.md"
SEEDS = 200
NEXT_SHARE = 4
"""Of so many seeds, one is run as the next job as well."""
EARLIER = range(1000, 1003)
"""Seeds of the jobs from which the next one learns."""
MOST_PEAK = 1.25

HEAD = f"""\
# Finishing times

How well [finishing times](scaling.md#a-finishing-time) hold in the [simulation](simulation.md), over SEEDS seeds each. `make deadlines` writes this page. The
scenarios are data: [finishing.py](../workers/vaultstream/simulation/finishing.py). All are the first job of their kind, so that nothing is known beforehand.
**The next job** begins with what {len(EARLIER)} earlier ones, each with a drift of its own, have [shown](scaling.md#earlier-jobs); one of {NEXT_SHARE} seeds is run so as well.

- **In time**: share of the runs that ended by their finishing time, with its 95 % interval (Clopper and Pearson).
- **Alarms**: share of the runs in which `DeadlineAtRisk` was ever True. Where the time can be met, each is false.
- **First alarm**: seconds after the job's creation, median and latest.
- **Peak**: most signers over the fewest that meet the time if somebody who knows the curve and the drift asks for them at once; mean, 95th percentile, and the share of runs up to {MOST_PEAK:g}.
  Nobody can reach 1 everywhere: four signers first show what a signer signs, and a rate that falls later takes more signers for less time.

**Where the peak is higher than {MOST_PEAK:g}, time was lost that others had to make up for.** With starts of 45 s, some twice as long, those of the first four that sign first show what a signer signs, and
signers that are needed anyway are asked for then; they sign one start later, and others are needed if their starts take longer than the median. The next job asks for the right number at once. A rate that falls to 0.7 until the end
is known when it has fallen, and each signer that is added then has less time; a rate that varies by half is known to 6 % after a minute. "near" has two minutes: the first step lasts a quarter of it.
A reserve of 0.03 in place of 0.05, other errors of the rate, and a first step of 8 were tried: the first had 82 and 68 % in place of 92 and 82 % in "drift" and "all at once" (40 seeds), the last missed one time of 160.

| Scenario | In time | Alarms | First alarm, s | Peak: mean, p95 | Peak ≤ {MOST_PEAK:g} | Next job: in time; alarms; mean peak, share ≤ {MOST_PEAK:g} |
| --- | --- | --- | --- | --- | --- | --- |
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one run. `ratio`: its peak over the ideal one; None: the time can't be met."""

    in_time: bool
    alarm: float | None
    ratio: float | None


def run(name: str, seed: int, prior: Prior | None = None) -> Outcome:
    """Returns the outcome of a scenario with a seed. `prior`: what earlier jobs have shown; None: there were none."""
    scenario = replace(FINISHING[name].drawn(seed), prior=prior)
    done, ideal = simulate(scenario, seed), ideal_peak(scenario)
    return Outcome(in_time(scenario, done), done.at_risk_at, done.peak / ideal if ideal else None)


def learned(name: str) -> Prior:
    """Returns what some jobs of a scenario teach."""
    prior = Prior()
    for seed in EARLIER:
        prior = learned_from(replace(FINISHING[name].drawn(seed), prior=prior), [seed])
    return prior


def row(name: str, outcomes: list[Outcome], following: list[Outcome]) -> str:
    """Returns the row of a scenario. `following`: of the next job."""
    count = len(outcomes)
    alarms = sorted(one.alarm for one in outcomes if one.alarm is not None)
    ratios, later = _ratios(outcomes), _ratios(following)
    when = f"{alarms[len(alarms) // 2]:.0f}, {alarms[-1]:.0f}" if alarms else ""
    peak = f"{fmean(ratios):.2f}, {ratios[int(0.95 * (len(ratios) - 1))]:.2f}" if ratios else ""
    few = _share(_few(ratios), len(ratios)) if ratios else ""
    met = _share(sum(one.in_time for one in outcomes), count)
    shares = [sum(one.in_time for one in following), sum(one.alarm is not None for one in following)]
    then = "; ".join(f"{100 * hits / len(following):.0f} %" for hits in shares)
    then += f"; {fmean(later):.2f}, {100 * _few(later) / len(later):.0f} %" if later else ""
    return f"| {name}: {FINISHING[name].about} | {met} | {_share(len(alarms), count)} | {when} | {peak} | {few} | {then} |"


def _ratios(outcomes: list[Outcome]) -> list[float]:
    return sorted(one.ratio for one in outcomes if one.ratio is not None)


def _few(ratios: list[float]) -> int:
    return sum(ratio <= MOST_PEAK + 1e-9 for ratio in ratios)


def _share(hits: int, count: int) -> str:
    low, high = share_interval(hits, count)
    return f"{100 * hits / count:.1f} % ({100 * low:.1f} to {100 * high:.1f})"


def main() -> None:
    """Runs all scenarios, two runs at a time, and writes the page."""
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else SEEDS
    rows = []
    with ProcessPoolExecutor(int(sys.argv[2]) if len(sys.argv) > 2 else 2) as pool:  # noqa: PLR2004 - an argument
        for name in FINISHING:
            first = list(pool.map(run, [name] * seeds, range(seeds), chunksize=5))
            some, prior = range(0, seeds, NEXT_SHARE), learned(name)
            rows.append(row(name, first, list(pool.map(run, [name] * len(some), some, [prior] * len(some)))))
            sys.stdout.write(f"{rows[-1]}\n")
            sys.stdout.flush()
    PAGE.write_text(HEAD.replace("SEEDS", str(seeds)) + "\n".join(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
