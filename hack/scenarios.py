"""Runs the catalog of scenarios, and writes docs/scenarios.md and a plot of each. `hack/scenarios.py [SEEDS]`."""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from vaultstream.simulation.catalog import AS_LONG, AS_MANY, TRIALS
from vaultstream.simulation.chart import svg_chart
from vaultstream.simulation.comparison import FEWEST_SEEDS, Interval, compare

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "scenarios.md"
PLOTS = ROOT / "docs" / "images" / "scenarios"
RIVAL = "keda-tuned"

HEAD = f"""\
# Scenarios

What the scaling decision makes of {len(TRIALS)} scenarios, beside tuned KEDA and the oracle of the [simulation](simulation.md). `make scenarios` writes this page
and its plots. The scenarios are data: [catalog.py](../workers/vaultstream/simulation/catalog.py).

Each number is a mean over SEEDS paired seeds. The ratios are VaultStream's makespan and pod-seconds divided by those of tuned KEDA with the same
seed, with the upper bound of their 95 % interval. **As good** means that this bound is at most {AS_LONG:g} for the makespan, and at most
{AS_MANY:g} for pod-seconds. Where VaultStream is not as good, the reason is below the table.

| Scenario | Makespan, s: VaultStream, tuned KEDA, oracle | Ratio | Pod-seconds: VaultStream, tuned KEDA, oracle | Ratio | As good |
| --- | --- | --- | --- | --- | --- |
"""


def run(name: str, seeds: int) -> tuple[str, str, bool]:
    """Returns the row of a scenario, its plot, and whether it is as good as the rival."""
    scenario = TRIALS[name].scenario
    compared = compare(scenario, (RIVAL, "oracle"), range(seeds))
    ratios = compared[RIVAL].ratios
    good = ratios["makespan"].high <= AS_LONG and ratios["pod_seconds"].high <= AS_MANY
    spans, pods = (
        ", ".join(f"{one.measures[measure].mean:,.0f}" for one in compared.values())
        for measure in ("makespan", "pod_seconds")
    )
    row = (
        f"| [{name}](#{name.lower().replace(' ', '-')}) | {spans} | {_ratio(ratios['makespan'])} | {pods} | "
        f"{_ratio(ratios['pod_seconds'])} | {'yes' if good else '**no**'} |"
    )
    title = f"{name}: {TRIALS[name].about}"
    return row, svg_chart(title, {who: one.runs[0] for who, one in compared.items()}), good


def _ratio(interval: Interval) -> str:
    return f"{interval.mean:.2f} (≤ {interval.high:.2f})"


def main() -> None:
    """Runs all scenarios, two at a time, and writes the files."""
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else FEWEST_SEEDS
    PLOTS.mkdir(parents=True, exist_ok=True)
    rows, sections = [], []
    with ProcessPoolExecutor(2) as pool:
        results = pool.map(run, TRIALS, [seeds] * len(TRIALS))
        for (name, trial), (row, plot, good) in zip(TRIALS.items(), results, strict=True):
            sys.stdout.write(f"{row}\n")
            sys.stdout.flush()
            file = f"{name.lower().replace(' ', '-')}.svg"
            (PLOTS / file).write_text(plot, encoding="utf-8")
            rows.append(row)
            why = "" if good else f"\n**Not as good as tuned KEDA**: {trial.worse or 'not explained yet.'}\n"
            sections.append(f"## {name}\n\n{trial.about}\n{why}\n![{trial.about}](images/scenarios/{file})\n")
    head = HEAD.replace("SEEDS", str(seeds))
    PAGE.write_text(head + "\n".join(rows) + "\n\n" + "\n".join(sections), encoding="utf-8")


if __name__ == "__main__":
    main()
