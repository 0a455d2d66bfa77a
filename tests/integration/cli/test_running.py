"""The commands while a job runs: what they show of it, and that they do not disturb it."""

from __future__ import annotations

import json
import signal
import subprocess
from typing import TYPE_CHECKING

import psutil  # type: ignore[import-untyped]
import pytest

from integration.cli.conftest import clean_environment, command_line, manifest
from vaultstream.crypto.keyring import load_keyring

if TYPE_CHECKING:
    from collections.abc import Iterator

    from integration.cli.conftest import RunCli
    from vaultstream.local.services import Services

pytestmark = pytest.mark.integration

NAME = "longer"


@pytest.fixture(scope="module")
def watched(
    run_cli: RunCli, cli_services: Services, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[subprocess.Popen[str]]:
    """A running job, with one record per batch and one key, and a process that watches it in JSON."""
    folder = tmp_path_factory.mktemp("longer")
    file = manifest(folder, NAME, records={"table": "many"}, batchSize=1, keys={"count": 1})
    env = clean_environment(cli_services.data_dir)
    with (folder / "run.log").open("w") as log:
        run = subprocess.Popen(
            command_line("run", "-f", str(file), "--max-signers", "1"),
            cwd=folder,
            env=env,
            stdout=log,
            stderr=log,
        )
    try:
        while run_cli("status", NAME, check=False).returncode:
            assert run.poll() is None, (folder / "run.log").read_text()
        watch = subprocess.Popen(
            command_line("status", NAME, "--watch", "--json"),
            cwd=folder,
            env=env,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            yield watch
        finally:
            watch.kill()
            watch.communicate()
    finally:
        run.send_signal(signal.SIGINT)
        run.wait(60)
        run_cli("delete", NAME, "--yes")


@pytest.fixture(scope="module")
def at_work(watched: subprocess.Popen[str]) -> dict[str, object]:
    """The first line of status at which the signer has committed something."""
    assert watched.stdout is not None
    for line in watched.stdout:
        look: dict[str, object] = json.loads(line)
        assert look["state"] in {"Pending", "Running"}
        if look["signed"] and look["records_per_second"]:
            return look
    pytest.fail("the watching ended before anything was signed")


def test_status_names_the_processes_of_a_running_job(at_work: dict[str, list[dict[str, int]]]) -> None:
    (signer,) = at_work["signers"]

    assert psutil.Process(signer["pid"]).cmdline()[-3:-1] == ["worker", "signing"]
    assert {worker["role"] for worker in at_work["workers"]} == {"keys", "records", "signing"}


def test_status_of_a_running_job_has_lag_rate_and_eta(at_work: dict[str, dict[str, int]]) -> None:
    assert at_work["lag"]["state"] == "ok"
    assert at_work["lag"]["batches"] > 0
    assert at_work["records_per_second"] > 0
    assert at_work["eta_seconds"] > 0


def test_a_job_with_workers_is_not_deleted(run_cli: RunCli, at_work: dict[str, list[dict[str, int]]]) -> None:
    refused = run_cli("delete", NAME, "--yes", check=False)

    assert refused.returncode == 2
    assert f":{at_work['signers'][0]['pid']}" in refused.stderr
    assert "--force" in refused.stderr
    assert json.loads(run_cli("status", NAME, "--json").stdout)["state"] == "Running"


def test_logs_show_what_the_workers_wrote(run_cli: RunCli, at_work: dict[str, object]) -> None:
    shown = run_cli("debug", "logs", NAME, "--no-follow").stdout.splitlines()

    assert any(line.startswith("signing-1: ") and "signing worker started" in line for line in shown)
    assert any(line.startswith("records-1: ") for line in shown)


def test_streams_show_the_consumer_of_a_running_job(run_cli: RunCli, at_work: dict[str, object]) -> None:
    records, keys = json.loads(run_cli("debug", "streams", "--json").stdout)

    assert (records["name"], records["retention"]) == ("VAULTSTREAM_RECORDS", "workqueue")
    assert at_work["token"] in [consumer["name"] for consumer in records["consumers"]]
    assert keys["messages"] >= 1
    assert str(at_work["token"]) in run_cli("debug", "streams").stdout


def test_the_key_encryption_key_is_rotated_while_the_job_runs(
    run_cli: RunCli, at_work: dict[str, object], cli_services: Services, watched: subprocess.Popen[str]
) -> None:
    before = load_keyring(cli_services.kek_file).primary.kek_id

    done = json.loads(run_cli("keys", "rewrap", NAME, "--json").stdout)

    assert load_keyring(cli_services.kek_file).primary.kek_id == done["kek_id"] != before
    assert done["keys"] == 1
    signed = json.loads(run_cli("status", NAME, "--json").stdout)["signed"]
    assert watched.stdout is not None
    assert any(json.loads(line)["signed"] > signed for line in watched.stdout), "the job stopped signing"


def test_ctrl_c_ends_the_watch_and_not_the_job(
    run_cli: RunCli, at_work: dict[str, object], watched: subprocess.Popen[str]
) -> None:
    watched.send_signal(signal.SIGINT)

    assert watched.wait(20) == 0
    shown = json.loads(run_cli("status", NAME, "--json").stdout)
    assert shown["state"] == "Complete" or shown["signers"]


def test_a_job_whose_last_key_is_retired_says_so(run_cli: RunCli, at_work: dict[str, object]) -> None:
    retired = run_cli("keys", "retire", NAME, "--all")

    assert "has no active key left and waits for one" in retired.stderr
    assert f"vaultstream keys add {NAME}" in retired.stderr
