"""`vaultstream jobs` and `vaultstream status` on jobs that do not run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import psutil  # type: ignore[import-untyped]
import pytest

from vaultstream.store.jobs import delete_job

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import asyncpg

    from integration.cli.conftest import RunCli
    from vaultstream.local.services import Services
    from vaultstream.store.jobs import Job

pytestmark = pytest.mark.integration


def test_a_bare_command_shows_help(run_cli: RunCli) -> None:
    shown = run_cli(check=False)

    for name in ("jobs", "status", "retry", "dead", "keys", "delete", "doctor", "migrate", "debug"):
        assert f" {name} " in shown.stderr


def test_jobs_lists_a_finished_job_with_its_counts(run_cli: RunCli, small_job: str) -> None:
    (line,) = [line for line in run_cli("jobs").stdout.splitlines() if line.startswith(f"{small_job} ")]
    (job,) = [job for job in json.loads(run_cli("jobs", "--json").stdout) if job["name"] == small_job]

    assert line.split()[:5] == [small_job, "Complete", "2,000", "2,000", "0"]
    assert job["token"] in line
    assert (job["records"], job["signed"], job["dead"], job["batch_size"]) == (2000, 2000, 0, 50)
    assert job["records_per_second"] == pytest.approx(2000 / job["seconds"])


async def test_jobs_lists_a_deleted_job_only_when_asked_for_all(
    run_cli: RunCli, make_job: Callable[..., Awaitable[Job]], connection: asyncpg.Connection
) -> None:
    job = await make_job("gone")
    await delete_job(connection, job.job_no, "Retain")

    assert job.token not in run_cli("jobs").stdout
    assert "Pending (deleted)" in run_cli("jobs", "--all").stdout


def test_status_of_a_finished_job_has_counts_keys_and_services(
    run_cli: RunCli, small_job: str, cli_services: Services
) -> None:
    shown = json.loads(run_cli("status", small_job, "--json").stdout)

    assert (shown["state"], shown["records"], shown["signed"], shown["dead"]) == ("Complete", 2000, 2000, 0)
    assert shown["batches"] == {"total": 40, "done": 40, "pending": 0, "failing": 0, "unpublished": 0}
    assert shown["keys"] == {"total": 5, "active": 5, "retired": 0, "revoked": 0, "leased": 0}
    assert shown["signers"] == []
    assert shown["eta_seconds"] == 0
    assert shown["records_per_second"] == pytest.approx(2000 / shown["seconds"])
    assert shown["services"]["postgres"]["pid"] == cli_services.postgres_pid
    assert psutil.pid_exists(shown["services"]["nats"]["pid"])
    assert shown["services"]["nats"]["url"] == cli_services.nats_url


def test_a_missing_consumer_is_shown_as_such_and_not_as_no_lag(run_cli: RunCli, small_job: str) -> None:
    shown = json.loads(run_cli("status", small_job, "--json").stdout)

    assert shown["lag"]["state"] == "no consumer"
    assert shown["lag"]["batches"] is None
    assert "no consumer; the job has ended" in run_cli("status", small_job).stdout


def test_an_unreachable_nats_is_shown_as_such(
    run_cli: RunCli, small_job: str, cli_services: Services
) -> None:
    env = {
        "DATABASE_URL": cli_services.database_url,
        "VAULTSTREAM_NATS_URL": "nats://user:geheim@127.0.0.1:9",
    }

    shown = run_cli("status", small_job, "--json", env=env)

    assert json.loads(shown.stdout)["lag"]["state"] == "NATS does not answer"
    assert json.loads(shown.stdout)["services"]["nats"] == {"url": "nats://user:***@127.0.0.1:9", "pid": None}
    assert "geheim" not in shown.stdout + shown.stderr


async def test_a_job_that_did_not_start_has_neither_rate_nor_eta(
    run_cli: RunCli, make_job: Callable[..., Awaitable[Job]]
) -> None:
    await make_job("idle")

    shown = json.loads(run_cli("status", "idle", "--json").stdout)

    assert (shown["state"], shown["records_per_second"], shown["eta_seconds"]) == ("Pending", None, None)
    assert shown["seconds"] is None


def test_watching_a_finished_job_ends_with_one_line(run_cli: RunCli, small_job: str) -> None:
    watched = run_cli("status", small_job, "--watch")
    as_json = run_cli("status", small_job, "--watch", "--json")

    (line,) = watched.stdout.splitlines()
    assert line.startswith(f"{small_job} Complete · 2,000 of 2,000 signed · 0 dead")
    (look,) = as_json.stdout.splitlines()
    assert json.loads(look)["state"] == "Complete"


def test_an_unknown_job_is_bad_input_and_says_what_to_do(run_cli: RunCli) -> None:
    refused = run_cli("status", "nowhere", check=False)

    assert refused.returncode == 2
    assert "There is no job named 'nowhere'." in refused.stderr
    assert "vaultstream jobs" in refused.stderr
