"""`vaultstream simulate`."""

from __future__ import annotations

import json as json_
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError

from vaultstream.api.loader import load_signing_job
from vaultstream.errors import UsageError
from vaultstream.output_file import write_output
from vaultstream.plurals import counted
from vaultstream.scaling.curve import Curve
from vaultstream.scaling.prior import Prior
from vaultstream.settings import Settings
from vaultstream.simulation import constants
from vaultstream.simulation.arrivals import make_arrivals, parse_arrivals
from vaultstream.simulation.chart import svg_chart, text_chart
from vaultstream.simulation.comparison import FEWEST_SEEDS, RIVALS, Compared, compare
from vaultstream.simulation.run import learned_from
from vaultstream.simulation.scenario import Nodes, Scenario
from vaultstream.simulation.trace import decision_lines
from vaultstream_cli.app import Json, command, named_path
from vaultstream_cli.input import interruptible
from vaultstream_cli.manifests import ManifestFile
from vaultstream_cli.output import out, print_line, print_object, print_table
from vaultstream_cli.root import app

if TYPE_CHECKING:
    from vaultstream.api import SigningJob
    from vaultstream.simulation.scenario import Arrival

_MOST_RECORDS = 1_000_000_000
_MOST_BATCHES = 2_000_000
"""More would take minutes and gigabytes; a larger job behaves as a shorter one of the same rate does."""
_LEAST_HORIZON = 20_000.0
"""Seconds that are simulated at most, beside what one signer needs for all records."""
_MOST_HORIZON = 300_000.0
"""Seconds that are simulated at most in all: each poll of each run is kept, for the plot and the means."""


@command(app, "simulate", interrupted="Nothing was changed; run the same command to start again.")
async def simulate_job(
    _: Settings,
    *,
    file: ManifestFile,
    records: Annotated[
        int, typer.Option("--records", min=1, max=_MOST_RECORDS, help="Records that are there at the start.")
    ] = 1_000_000,
    arrivals: Annotated[
        str | None,
        typer.Option(
            "--arrivals",
            metavar="FILE|PATTERN",
            help="Records that come later: a file of lines SECONDS,RECORDS, or burst:AT:RECORDS, "
            "every:SECONDS:RECORDS:TIMES, diurnal:SECONDS:RECORDS.",
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="The first seed; its run is the one that is drawn.")
    ] = 0,
    seeds: Annotated[
        int, typer.Option("--seeds", min=1, max=10_000, help="Runs, each with a seed of its own.")
    ] = FEWEST_SEEDS,
    against: Annotated[
        str | None,
        typer.Option("--against", metavar="RIVAL,…", help=f"Compare with some of {', '.join(RIVALS)}."),
    ] = None,
    signer_rate: Annotated[
        float, typer.Option("--signer-rate", min=0.001, help="Records per second of one signer alone.")
    ] = constants.SIGNER_RATE.value,
    contention: Annotated[
        float,
        typer.Option(
            "--contention",
            min=0.0,
            help="Of the Universal Scalability Law: what signers wait for each other.",
        ),
    ] = constants.CONTENTION.value,
    coherence: Annotated[
        float, typer.Option("--coherence", min=0.0, help="Of the same law: what each pair of signers costs.")
    ] = constants.COHERENCE.value,
    ceiling: Annotated[
        float | None,
        typer.Option("--ceiling", min=0.001, help="Records per second that Postgres takes at most."),
    ] = None,
    noise: Annotated[
        float,
        typer.Option("--noise", min=0.0, max=2.0, help="Standard deviation of the logarithm of the rate."),
    ] = constants.RATE_NOISE.value,
    pod_start: Annotated[
        float, typer.Option("--pod-start", min=0.0, help="Median seconds until a pod signs.")
    ] = constants.POD_START.value,
    slots: Annotated[
        int, typer.Option("--slots", min=1, help="Signers that fit on the nodes that are there.")
    ] = 1000,
    prior: Annotated[
        str,
        typer.Option(
            "--prior",
            metavar="none|learned|FILE",
            help="What earlier jobs have shown: nothing, what three simulated ones show, or a file with a prior of vaultstream.priors.",
        ),
    ] = "none",
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot", parser=named_path, metavar="<path>", help="Draw the first run into this SVG file."
        ),
    ] = None,
    trace: Annotated[
        Path | None,
        typer.Option(
            "--trace",
            parser=named_path,
            metavar="<path>",
            help="Write the first run's decisions into this file, as the operator logs them.",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Predict how a job scales on Kubernetes, without a cluster: the operator's own decisions on a model of everything else.

    All that is not in the job's YAML is an option: how many records, what a signer signs. The means of all runs are printed, each with its 95 %
    interval of confidence. docs/simulation.md describes the model and how far off it is.
    """
    with interruptible():
        job = load_signing_job(file)
        coming = _arrivals(arrivals)
        given = _prior(prior)
    curve = Curve(signer_rate, contention, coherence, ceiling or float("inf"))
    total = records + sum(arrival.records for arrival in coming)
    last = coming[-1].at if coming else 0.0
    scenario = Scenario(
        name=job.metadata.name,
        curve=curve,
        horizon=_LEAST_HORIZON + last + 2 * total / curve(1),
        records=records,
        arrivals=coming,
        estimated=records,
        noise=noise,
        start=pod_start,
        start_spread=constants.POD_START_SPREAD.value,
        nodes=Nodes(slots=slots),
        **_of_job(job),
    )
    _require_size(scenario)
    rivals = _rivals(against)
    with interruptible():
        known = learned_from(scenario, range(seed + seeds, seed + seeds + 3)) if prior == "learned" else given
        scenario = replace(scenario, prior=known)
        compared = compare(scenario, rivals, range(seed, seed + seeds))
    first = compared["vaultstream"].runs[0]
    if plot is not None:
        plotted = svg_chart(_title(scenario), {name: one.runs[0] for name, one in compared.items()})
        await write_output(plot, plotted.encode())
    if trace is not None:
        lines = decision_lines(first, namespace="default", job=scenario.name)
        text = "".join(json_.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        await write_output(trace, text.encode())
    if json:
        print_object(_object(scenario, compared, seed, seeds))
        return
    print_line(f"{_title(scenario)}: {counted(seeds, 'run')}, seed {seed} is drawn")
    for line in text_chart(first.moments, min(out.width, 100)):
        print_line(line)
    for at, decision in first.decisions:
        print_line(f"{at:8,.1f} s  {decision.explain()}")
    _print_measures(compared)


def _of_job(job: SigningJob) -> dict[str, Any]:
    spec = job.spec
    if spec.finish_by is not None:
        raise UsageError(
            "spec.finishBy is a date, and a simulation has none.", hint="Set spec.finishWithin, in seconds."
        )
    return {
        "scaling": spec.scaling,
        "batch_size": spec.batch_size,
        "keys": spec.keys.count,
        "finish_within": None if spec.finish_within is None else float(spec.finish_within),
    }


def _require_size(scenario: Scenario) -> None:
    batches = -(-scenario.total // scenario.batch_size)
    if batches > _MOST_BATCHES:
        raise UsageError(
            f"--records and --arrivals make {batches:,} batches of {scenario.batch_size:,} records; {_MOST_BATCHES:,} can be simulated.",
            hint="Give fewer records, or a larger spec.batchSize.",
        )
    if not scenario.horizon <= _MOST_HORIZON:
        raise UsageError(
            f"One signer would need up to {scenario.horizon:,.0f} s for these records and arrivals; {_MOST_HORIZON:,.0f} s can be simulated.",
            hint="Give fewer records, earlier --arrivals, or a higher --signer-rate.",
        )


def _arrivals(given: str | None) -> tuple[Arrival, ...]:
    if given is None:
        return ()
    try:
        path = Path(given)
        if ":" in given and not path.exists():
            return make_arrivals(given)
        return parse_arrivals(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UsageError(
            f"--arrivals {given}: it can't be read: {error.strerror}.",
            hint="Give a file of lines SECONDS,RECORDS, or a pattern such as burst:300:200000.",
        ) from None
    except ValueError as error:  # also text that is no UTF-8
        raise UsageError(
            f"--arrivals {given}: {error}.", hint="`vaultstream simulate --help` lists the patterns."
        ) from None


def _prior(given: str) -> Prior | None:
    if given in {"none", "learned"}:
        return None
    try:
        prior = Prior.model_validate_json(Path(given).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UsageError(
            f"--prior {given}: it can't be read: {error.strerror}.", hint="Give none, learned, or a file."
        ) from None
    except ValueError as error:  # also text that is no UTF-8
        problem = error.errors()[0]["msg"] if isinstance(error, ValidationError) else "it is not UTF-8"
        raise UsageError(
            f"--prior {given}: {problem}.", hint="Write the column prior of vaultstream.priors into the file."
        ) from None
    newest = max((one.at for one in prior.seen), default=0.0)
    return prior.moved(-1.0 - newest)  # a simulation begins at 0


def _rivals(given: str | None) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in (given or "").split(",") if name.strip()))
    if unknown := [name for name in names if name not in RIVALS]:
        raise UsageError(
            f"--against: there is no rival named {unknown[0]!r}.", hint=f"Choose from {', '.join(RIVALS)}."
        )
    return names


def _title(scenario: Scenario) -> str:
    return f"{scenario.name}, {counted(scenario.total, 'record')} in batches of {scenario.batch_size:,}"


def _object(scenario: Scenario, compared: dict[str, Compared], seed: int, seeds: int) -> dict[str, Any]:
    first = compared["vaultstream"].runs[0]
    return {
        "job": scenario.name,
        "records": scenario.total,
        "seed": seed,
        "seeds": seeds,
        "results": [
            {
                "name": name,
                "unfinished": sum(not run.finished for run in one.runs),
                "measures": [{"name": which, **asdict(interval)} for which, interval in one.measures.items()],
                "ratios": [{"name": which, **asdict(interval)} for which, interval in one.ratios.items()],
            }
            for name, one in compared.items()
        ],
        "decisions": decision_lines(first, namespace="default", job=scenario.name),
    }


_UNITS = {
    "makespan": "s", "pod_seconds": "s", "node_seconds": "s", "reaction": "s", "freshness": "s", "lateness": "s",
}  # fmt: skip


def _print_measures(compared: dict[str, Compared]) -> None:
    names = list(compared)
    measures = compared["vaultstream"].measures
    rows = []
    for measure in measures:
        share = measure.startswith("regret")
        unit = " %" if share else f" {_UNITS[measure]}" if measure in _UNITS else ""
        cells = []
        for name in names:
            interval = compared[name].measures[measure]
            factor = 100 if share else 1
            half = (interval.high - interval.low) / 2 * factor
            cells.append(f"{interval.mean * factor:,.1f} ± {half:,.1f}{unit}")
        rows.append((measure.replace("_", " "), *cells))
    print_table(("", *names), rows)
    if unfinished := sum(not run.finished for one in compared.values() for run in one.runs):
        print_line(f"{counted(unfinished, 'run')} did not end within the simulated time.")
