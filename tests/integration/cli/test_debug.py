"""`vaultstream debug`: psql, streams, logs, stop."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from integration.cli.conftest import clean_environment, command_line
from vaultstream.local.services import inspect_services

if TYPE_CHECKING:
    from pathlib import Path

    from integration.cli.conftest import RunCli
    from vaultstream.local.services import Services

pytestmark = pytest.mark.integration

USE_AND_WAIT = """
import asyncio, pathlib, sys
from vaultstream.local.services import LocalServices

async def main():
    async with LocalServices(pathlib.Path(sys.argv[1])) as local:
        await local.services()
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""


def test_psql_gets_its_own_options_and_its_exit_code_counts(run_cli: RunCli) -> None:
    counted = run_cli("debug", "psql", "-At", "-c", "SELECT count(*) FROM receipts")
    failed = run_cli("debug", "psql", "-v", "ON_ERROR_STOP=1", "-c", "SELECT nonsense", check=False)

    assert counted.stdout.strip() == "2000"
    assert failed.returncode == 1
    assert "nonsense" in failed.stderr


def test_logs_of_the_newest_job_are_shown_unless_one_is_named(run_cli: RunCli, small_job: str) -> None:
    newest = run_cli("debug", "logs", "--no-follow", "--lines", "1")
    named = run_cli("debug", "logs", small_job, "--no-follow", "--lines", "3")
    unknown = run_cli("debug", "logs", "nowhere", "--no-follow", check=False)

    assert "signing-1: " in newest.stdout
    assert sum(line.startswith("signing-1: ") for line in named.stdout.splitlines()) == 3
    assert any(line.startswith("postgres: ") for line in named.stdout.splitlines())
    assert unknown.returncode == 2


def test_logs_are_followed_until_ctrl_c(small_job: str, cli_services: Services) -> None:
    log = next((cli_services.data_dir / "logs").glob(f"{small_job}-*")) / "signing-1.log"
    follow = subprocess.Popen(
        command_line("debug", "logs", small_job, "--lines", "1"),
        cwd=cli_services.data_dir,
        env=clean_environment(cli_services.data_dir),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert follow.stdout is not None
        assert follow.stdout.readline()
        with log.open("a") as file:
            file.write("a new line\n")
        assert any(line == "signing-1: a new line\n" for line in follow.stdout)
        follow.send_signal(signal.SIGINT)
        assert follow.wait(10) == 0
    finally:
        follow.kill()
        follow.communicate()


def test_stop_ends_services_whose_command_was_killed_and_not_those_in_use(
    run_cli: RunCli, tmp_path: Path
) -> None:
    data_dir = tmp_path / "data"
    user = subprocess.Popen(
        [sys.executable, "-c", USE_AND_WAIT, str(data_dir)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert user.stdout is not None
    assert user.stdout.readline() == "ready\n"

    in_use = run_cli("debug", "stop", "--data-dir", str(data_dir), check=False)
    user.kill()
    user.communicate()
    assert inspect_services(data_dir).postgres is not None
    stopped = run_cli("debug", "stop", "--data-dir", str(data_dir))
    again = run_cli("debug", "stop", "--data-dir", str(data_dir))

    assert in_use.returncode == 2
    assert "Stopped." in stopped.stderr
    assert "No services are running" in again.stderr
    assert inspect_services(data_dir).postgres is None
