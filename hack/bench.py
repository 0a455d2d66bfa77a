"""Measures the rate against signers, keys, batch size and algorithm; writes docs/bench.json and the plots in docs/images."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from plots import Plot, Series
from vaultstream.cores import usable_cores

DOCS = Path(__file__).parents[1] / "docs"

STANDARD = {"records": 100_000, "keys": 100, "batch-size": 1000}
"""Options of every run, unless it varies them. Also: payloads of 256 bytes, one signer per core, ECDSA P-256."""

SHORT_RECORDS = 2000


@dataclass(frozen=True)
class Axis:
    """The option that one plot varies."""

    name: str
    title: str
    values: tuple[int | str, ...]


CORES = usable_cores()
AXES = (
    Axis("signers", "Number of signers", tuple(range(1, 2 * CORES + 1))),
    Axis("keys", "Number of keys", (1, 10, 100, 1000)),
    Axis("batch-size", "Batch size", (10, 50, 100, 500, 1000, 5000, 20_000)),
    Axis("algorithm", "Algorithm", ("ECDSA_P256_SHA256", "ED25519", "RSA_PSS_3072_SHA256", "ML_DSA_65")),
)


def measure(axis: Axis, value: int | str, *, records: int, limit_seconds: float) -> dict[str, Any]:
    """Runs one benchmark in its own services; returns its output, with the option that was varied.

    With fewer keys than cores it runs one signer per key: more signers would wait for keys.
    """
    options = {**STANDARD, "records": records, "limit-seconds": limit_seconds, axis.name: value}
    if axis.name == "keys" and int(value) < CORES:
        options["signers"] = value
    words = [word for name, given in options.items() for word in (f"--{name}", str(given))]
    command = [sys.executable, "-m", "vaultstream_cli", "bench", "--json", *words]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    return {"varied": axis.name, "value": value, **json.loads(printed)}


def draw(axis: Axis, runs: list[dict[str, Any]]) -> str:
    """Returns the plot of one axis as SVG."""
    limits = [run["limit"][run["limit"]["measured_by"]] for run in runs]
    return Plot(
        title=f"Records per second by {axis.title.lower()}",
        x_title=axis.title,
        labels=[f"{run['value']:,}" for run in runs],
        series=[
            Series("whole job", [run["records_per_second"] for run in runs]),
            Series(
                "all cores, signing only",
                [sum(each["per_second"] for each in pair) / len(pair) for pair in limits],
            ),
        ],
    ).svg()


def main() -> None:
    """Runs all benchmarks one after another, and writes the results after each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="folder for bench.json and images/ [default: docs]")
    parser.add_argument(
        "--short",
        action="store_true",
        help="use few records and two values of each option, to test this script; needs --out",
    )
    options = parser.parse_args()
    if options.short and options.out is None:
        parser.error("--short does not measure enough for docs: choose another folder with --out")
    options.out = options.out or DOCS
    (options.out / "images").mkdir(parents=True, exist_ok=True)
    runs: list[dict[str, Any]] = []
    for axis in AXES:
        for value in axis.values[:2] if options.short else axis.values:
            sys.stderr.write(f"{axis.name} {value}\n")
            runs.append(
                measure(
                    axis,
                    value,
                    records=SHORT_RECORDS if options.short else STANDARD["records"],
                    limit_seconds=0.2 if options.short else 2.0,
                )
            )
            (options.out / "bench.json").write_text(json.dumps(runs, indent=1) + "\n")
    axes = {axis.name: axis for axis in AXES}
    for name, group in groupby(runs, key=lambda run: str(run["varied"])):
        if name != "algorithm":  # algorithms are a table in the docs, not a plot
            (options.out / "images" / f"bench-{name}.svg").write_text(draw(axes[name], list(group)))


if __name__ == "__main__":
    main()
