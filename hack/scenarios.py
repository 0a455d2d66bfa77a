"""Runs the catalog of scenarios, and writes docs/scenarios.md and a plot of each. `hack/scenarios.py [SEEDS [PROCESSES]]`."""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from vaultstream.simulation.catalog import AS_LONG, AS_MANY, TRIALS
from vaultstream.simulation.chart import svg_chart
from vaultstream.simulation.comparison import FEWEST_SEEDS, Interval, compare
from vaultstream.simulation.run import learned_from, simulate

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "scenarios.md"
PLOTS = ROOT / "docs" / "images" / "scenarios"
RIVAL = "keda-tuned"
EARLIER, FIRST_EARLIER = 3, 1000
"""Jobs from which the next one learns, and the first of their seeds."""

HEAD = f"""\
# Scenarios

What the scaling decision makes of {len(TRIALS)} scenarios, beside tuned KEDA and the oracle of the [simulation](simulation.md). `make scenarios` writes this page
and its plots. The scenarios are data: [catalog.py](../workers/vaultstream/simulation/catalog.py).

VaultStream runs each twice: as the **first** job of its kind, and as the **next** one, which begins with what {EARLIER} earlier jobs of the same scenario have
[shown](scaling.md#earlier-jobs). Each number is a mean over SEEDS paired seeds. The ratios are VaultStream's makespan and pod-seconds divided by those of tuned KEDA
with the same seed, with the upper bound of their 95 % interval. **As good** means that this bound is at most {AS_LONG:g} for the makespan, and at most {AS_MANY:g} for
pod-seconds. Where VaultStream is not as good, the reason is below the table. As good are GOOD.

| Scenario | Makespan, s: first, next, tuned KEDA, oracle | Ratio: first, next | Pod-seconds: first, next, tuned KEDA, oracle | Ratio: first, next | As good: first, next |
| --- | --- | --- | --- | --- | --- |
"""


def run(name: str, seeds: int) -> tuple[str, str, tuple[bool, bool]]:
    """Returns the row of a scenario, its plot, and whether the first job and the next one are as good as the rival."""
    scenario = TRIALS[name].scenario
    compared = compare(scenario, (RIVAL, "oracle"), range(seeds))
    first, rival, oracle = (compared[who].runs for who in ("vaultstream", RIVAL, "oracle"))
    knowing = replace(scenario, prior=learned_from(scenario, range(FIRST_EARLIER, FIRST_EARLIER + EARLIER)))
    following = tuple(simulate(knowing, seed) for seed in range(seeds))
    everyone = (first, following, rival, oracle)
    spans = ", ".join(f"{fmean(one.makespan for one in runs):,.0f}" for runs in everyone)
    pods = ", ".join(f"{fmean(one.pod_seconds for one in runs):,.0f}" for runs in everyone)
    longer = [
        _ratios([(a.makespan, b.makespan) for a, b in zip(runs, rival, strict=True)])
        for runs in (first, following)
    ]
    more = [
        _ratios([(a.pod_seconds, max(1.0, b.pod_seconds)) for a, b in zip(runs, rival, strict=True)])
        for runs in (first, following)
    ]
    good = tuple(a.high <= AS_LONG and b.high <= AS_MANY for a, b in zip(longer, more, strict=True))
    said = ", ".join("yes" if each else "**no**" for each in good)
    row = f"| [{name}](#{name.lower().replace(' ', '-')}) | {spans} | {_shown(longer)} | {pods} | {_shown(more)} | {said} |"
    title = f"{name}: {TRIALS[name].about}"
    plotted = {"vaultstream": first[0], "next job": following[0], RIVAL: rival[0], "oracle": oracle[0]}
    return row, svg_chart(title, plotted), (good[0], good[1])


def _ratios(pairs: list[tuple[float, float]]) -> Interval:
    return Interval.of([ours / theirs for ours, theirs in pairs])


def _shown(intervals: list[Interval]) -> str:
    return ", ".join(_ratio(interval) for interval in intervals)


def _ratio(interval: Interval) -> str:
    return f"{interval.mean:.2f} (≤ {interval.high:.2f})"


def _which(good: tuple[bool, bool]) -> str:
    if not any(good):
        return "**Not as good as tuned KEDA**"
    return (
        "**The first job is not as good as tuned KEDA**"
        if good[1]
        else "**The next job is not as good as tuned KEDA**"
    )


def main() -> None:
    """Runs all scenarios, two at a time, and writes the files."""
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else FEWEST_SEEDS
    PLOTS.mkdir(parents=True, exist_ok=True)
    rows, sections, goods = [], [], []
    with ProcessPoolExecutor(int(sys.argv[2]) if len(sys.argv) > 2 else 2) as pool:  # noqa: PLR2004 - an argument
        results = pool.map(run, TRIALS, [seeds] * len(TRIALS))
        for (name, trial), (row, plot, good) in zip(TRIALS.items(), results, strict=True):
            sys.stdout.write(f"{row}\n")
            sys.stdout.flush()
            file = f"{name.lower().replace(' ', '-')}.svg"
            (PLOTS / file).write_text(plot, encoding="utf-8")
            rows.append(row)
            goods.append(good)
            why = "" if all(good) else f"\n{_which(good)}: {trial.worse or 'not explained yet.'}\n"
            sections.append(f"## {name}\n\n{trial.about}\n{why}\n![{trial.about}](images/scenarios/{file})\n")
    told = " and ".join(
        f"{sum(each)} {which} jobs"
        for which, each in zip(("first", "next"), zip(*goods, strict=True), strict=True)
    )
    head = HEAD.replace("SEEDS", str(seeds)).replace("GOOD", f"{told} of {len(TRIALS)}")
    PAGE.write_text(head + "\n".join(rows) + "\n\n" + "\n".join(sections), encoding="utf-8")


if __name__ == "__main__":
    main()
