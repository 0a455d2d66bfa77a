"""Measures the rate against signers, keys, batch size, algorithm and records; writes docs/bench.json and the plots in docs/images.

    python hack/bench.py [--runs N] [--only AXIS ...] [--out FOLDER]

Broken off, the same command goes on: runs of the same commit that bench.json has are not repeated. The plots show medians, and
the range of all runs. `bench-model.svg` is a model: what more signers on as many cores would sign by the Universal Scalability Law.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from plots import Plot, Series
from scalability import FEWEST, fit
from vaultstream.cores import usable_cores

DOCS = Path(__file__).parents[1] / "docs"

STANDARD = {"records": 100_000, "keys": 100, "batch-size": 1000}
"""Options of every run, unless it varies them. Also: payloads of 256 bytes, one signer per core, ECDSA P-256."""

LIMIT_SECONDS = 1.0
"""Of each measurement of the limit. There are two for a run, and three runs of a value."""

SHORT_RECORDS = 2000
LONG_RECORDS = 1_000_000
"""Jobs of so many records and more are measured once."""


@dataclass(frozen=True)
class Axis:
    """The option that one plot varies."""

    name: str
    title: str
    values: tuple[int | str, ...]
    drawn: bool = True
    """Whether it has a plot; if not, docs/performance.md has a table."""


CORES = usable_cores()
MODELED = tuple(2**power for power in range(6))
"""Numbers of signers in the model."""
AXES = (
    Axis("signers", "Number of signers", tuple(range(1, 2 * CORES + 1))),
    Axis("keys", "Number of keys", (1, 10, 100, 1000)),
    Axis("batch-size", "Batch size", (10, 50, 100, 500, 1000, 5000, 20_000)),
    Axis(
        "algorithm",
        "Algorithm",
        ("ECDSA_P256_SHA256", "ED25519", "RSA_PSS_3072_SHA256", "ML_DSA_65"),
        drawn=False,
    ),
    Axis("records", "Number of records", (100_000, 1_000_000, 10_000_000), drawn=False),
)


def measure(axis: Axis, value: int | str, *, records: int, limit_seconds: float) -> dict[str, Any]:
    """Runs one benchmark in its own services; returns its output.

    With fewer keys than cores it runs one signer per key: more signers would wait for keys.
    """
    options = {**STANDARD, axis.name: value, "records": records, "limit-seconds": limit_seconds}
    if axis.name == "keys" and int(value) < CORES:
        options["signers"] = value
    words = [word for name, given in options.items() for word in (f"--{name}", str(given))]
    command = [sys.executable, "-m", "vaultstream_cli", "bench", "--json", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            printed, _ = process.communicate()
        except KeyboardInterrupt:
            process.terminate()  # it stops its services, which takes longer than the moment that `subprocess.run` would wait
            process.wait()
            raise
    if process.returncode:
        sys.exit(process.returncode)
    found: dict[str, Any] = json.loads(printed)
    return found


def spread(name: str, runs: list[list[float]]) -> Series:
    """Returns the medians of the runs of each value, with their range."""
    return Series(name, [median(each) for each in runs], [(min(each), max(each)) for each in runs])


def draw(axis: Axis, runs: list[dict[str, Any]]) -> str:
    """Returns the plot of one axis as SVG."""
    by_value = [
        [run for run in runs if run["value"] == value]
        for value in dict.fromkeys(run["value"] for run in runs)
    ]
    return Plot(
        title=f"Records per second by {axis.title.lower()}",
        x_title=axis.title,
        labels=[f"{each[0]['value']:,}" for each in by_value],
        series=[
            spread("whole job", [[run["records_per_second"] for run in each] for each in by_value]),
            spread("openssl speed, all cores", [[limit_of(run) for run in each] for each in by_value]),
        ],
    ).svg()


def limit_of(run: dict[str, Any]) -> float:
    """Returns the signatures per second of what the limit of a run was measured by."""
    limits = run["limit"][run["limit"]["measured_by"]]
    return float(sum(each["per_second"] for each in limits) / len(limits))


def draw_model(runs: list[dict[str, Any]], cores: int) -> str | None:
    """Returns the plot of what more signers would sign on as many cores; None: too little is measured, or it says nothing.

    That is so where a second signer adds nothing because Postgres needs the second core: the contention is then 1.
    """
    measured: dict[int, list[float]] = {}
    for run in runs:
        measured.setdefault(int(run["value"]), []).append(run["records_per_second"])
    rates = {signers: median(each) for signers, each in measured.items() if signers <= cores}
    if len(rates) < FEWEST:
        return None
    curve = fit(rates)
    if curve.contention >= 1:
        return None
    return Plot(
        title="A model: records per second by signers, one core for each",
        x_title=f"Signers (contention {curve.contention:.3f}, coherence {curve.coherence:.4f}, fitted to 1 to {max(rates)})",
        labels=[str(signers) for signers in MODELED],
        series=[
            Series("measured", [rates.get(signers) for signers in MODELED]),
            Series(
                "modeled (Universal Scalability Law)", [curve(signers) for signers in MODELED], dashed=True
            ),
        ],
    ).svg()


def commit() -> str:
    """Returns the commit that is measured."""
    git = shutil.which("git") or "git"
    shown = subprocess.run(
        [git, "rev-parse", "--short", "HEAD"], check=True, stdout=subprocess.PIPE, text=True
    )
    return shown.stdout.strip()


def main() -> None:
    """Runs all benchmarks one after another, and writes the results after each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="folder for bench.json and images/ [default: docs]")
    parser.add_argument(
        "--runs", type=int, default=3, help="of each value with fewer than a million records [default: 3]"
    )
    parser.add_argument(
        "--only", nargs="+", choices=[axis.name for axis in AXES], help="measure these axes alone"
    )
    parser.add_argument(
        "--short",
        action="store_true",
        help="use few records, two values of each option and one run, to test this script; needs --out",
    )
    options = parser.parse_args()
    if options.short and options.out is None:
        parser.error("--short does not measure enough for docs: choose another folder with --out")
    out = options.out or DOCS
    (out / "images").mkdir(parents=True, exist_ok=True)
    kept, measured = out / "bench.json", commit()
    axes = [axis for axis in AXES if options.only is None or axis.name in options.only]
    runs: list[dict[str, Any]] = json.loads(kept.read_text()) if kept.exists() else []
    runs = [run for run in runs if run.get("commit") == measured]
    done = {(run["varied"], run["value"], run["run"]) for run in runs}
    for axis in axes:
        for value in axis.values[:2] if options.short else axis.values:
            records = int(value) if axis.name == "records" else STANDARD["records"]
            once = options.short or records >= LONG_RECORDS
            for number in range(1 if once else options.runs):
                if (axis.name, value, number) in done:
                    continue
                sys.stderr.write(f"{axis.name} {value}, run {number + 1}\n")
                seconds = 0.2 if options.short else LIMIT_SECONDS
                found = measure(
                    axis, value, records=SHORT_RECORDS if options.short else records, limit_seconds=seconds
                )
                runs.append({"varied": axis.name, "value": value, "run": number, "commit": measured, **found})
                kept.write_text(json.dumps(runs, indent=1) + "\n")
    for axis in axes:
        of_axis = [run for run in runs if run["varied"] == axis.name]
        if axis.drawn:
            (out / "images" / f"bench-{axis.name}.svg").write_text(draw(axis, of_axis))
        if axis.name == "signers" and (model := draw_model(of_axis, CORES)) is not None:
            (out / "images" / "bench-model.svg").write_text(model)


if __name__ == "__main__":
    main()
