"""`simulate`: what it prints, the files that it writes, and what it refuses."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner, Result

from support.json_page import assert_documented
from vaultstream.simulation.trace import OPERATOR_LOGGER
from vaultstream_cli.main import load
from vaultstream_cli.root import app
from vaultstream_operator import reconciler

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.unit

JOB = """
apiVersion: vaultstream.dev/v1alpha1
kind: SigningJob
metadata: {name: night}
spec: {records: {table: receipts}, batchSize: 500, finishWithin: 120}
"""
QUICK = ("--seeds", "3", "--records", "100000")


@pytest.fixture
def job(tmp_path: Path) -> Path:
    path = tmp_path / "job.yaml"
    path.write_text(JOB)
    return path


def run(job: Path, *options: str, text: str | None = None) -> Result:
    load("simulate")
    if text is not None:
        job.write_text(text)
    return CliRunner().invoke(app, ["simulate", "-f", str(job), *QUICK, *options])


def test_the_table_has_each_measure_for_each_rival(job: Path) -> None:
    shown = run(job, "--against", "keda,oracle")
    assert shown.exit_code == 0, shown.output
    header = next(line for line in shown.output.splitlines() if "vaultstream" in line)
    assert header.split() == ["vaultstream", "keda", "oracle"]
    for measure in (
        "makespan",
        "pod seconds",
        "peak",
        "reaction",
        "lateness",
        "freshness",
        "regret makespan",
    ):
        assert f"\n{measure} " in shown.output
    assert "Scaled from 0 to 4 signers" in shown.output
    assert "█" in shown.output


def test_as_json_it_is_as_documented(job: Path) -> None:
    value: Any = json.loads(run(job, "--against", "fixed", "--json").output)
    assert_documented("simulate", value)
    assert [one["name"] for one in value["results"]] == ["vaultstream", "fixed"]
    makespan = value["results"][0]["measures"][0]
    assert makespan["low"] < makespan["mean"] < makespan["high"]
    assert value["decisions"][0]["decided"]["reason"] == "FirstStep"


def test_equal_seeds_print_the_same(job: Path) -> None:
    assert run(job, "--json").output == run(job, "--json").output
    assert run(job, "--json").output != run(job, "--json", "--seed", "7").output


def test_the_plot_is_an_svg_that_shows_each_decision(job: Path, tmp_path: Path) -> None:
    assert run(job, "--plot", str(tmp_path / "plot.svg")).exit_code == 0
    drawn = ET.fromstring((tmp_path / "plot.svg").read_text())
    name = "{http://www.w3.org/2000/svg}"
    marks = [title.text or "" for title in drawn.findall(f"{name}circle/{name}title")]
    assert any("Scaled from 0 to 4 signers" in mark for mark in marks)


def test_the_trace_has_the_lines_that_the_operator_logs(job: Path, tmp_path: Path) -> None:
    assert run(job, "--trace", str(tmp_path / "trace.jsonl")).exit_code == 0
    lines = [json.loads(line) for line in (tmp_path / "trace.jsonl").read_text().splitlines()]
    assert lines[0]["decided"]["desired"] == 4
    assert lines[-1]["reason"] == "JobDone"
    assert reconciler.log.name == OPERATOR_LOGGER


def test_records_that_come_later_are_read_or_made(job: Path, tmp_path: Path) -> None:
    (tmp_path / "later.csv").write_text("seconds,records\n60,50000\n")
    value = json.loads(run(job, "--arrivals", str(tmp_path / "later.csv"), "--json").output)
    assert value["records"] == 150_000
    assert json.loads(run(job, "--arrivals", "every:30:1000:5", "--json").output)["records"] == 105_000


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (("--against", "kedda"), ("--against", "kedda", "keda-tuned")),
        (("--arrivals", "burst:5"), ("--arrivals", "burst:AT:RECORDS")),
        (("--arrivals", "nowhere.csv"), ("--arrivals", "nowhere.csv")),
        (("--records", "1000000000000"), ("--records",)),
        (("--records", "1000000000", "--signer-rate", "1e9"), ()),
        (("--records", "1000", "--signer-rate", "0.001"), ("--signer-rate", "300,000 s")),
        (("--seeds", "0"), ("--seeds",)),
        (("--noise", "-1"), ("--noise",)),
        (("--plot", ""), ("--plot",)),
    ],
)
def test_bad_input_names_the_option(job: Path, options: tuple[str, ...], names: tuple[str, ...]) -> None:
    small = JOB.replace("500", "50")
    refused = run(job, *options, text=small)
    assert refused.exit_code == 2
    for name in names:
        assert name in refused.output


def test_a_finishing_date_is_refused_with_the_way_out(job: Path) -> None:
    dated = JOB.replace("finishWithin: 120", 'finishBy: "2030-01-01T00:00:00Z"')
    refused = run(job, text=dated)
    assert refused.exit_code == 2
    assert "spec.finishBy" in refused.output
    assert "spec.finishWithin" in refused.output


def test_a_long_simulation_ends_when_it_is_asked_to() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "vaultstream_cli", "simulate", "-f", "-", "--seeds", "10000"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        process.stdin.write(JOB)
        process.stdin.flush()  # it is read once the handlers of signals are there; without its end, the command waits
        process.stdin.close()
        while process.poll() is None:
            process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0.2)
        assert process.stdout is not None
        assert process.stdout.read() == ""
