"""Dead letters: listed, put back, signed once their cause is gone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from integration.cli.conftest import manifest
from vaultstream.api import JobState
from vaultstream.store.jobs import fail_job, get_job, set_suspended
from vaultstream.store.progress import read_job

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    import asyncpg

    from integration.cli.conftest import RunCli
    from vaultstream.store.jobs import Job

pytestmark = pytest.mark.integration


@pytest.mark.long
async def test_dead_letters_are_listed_and_retried_until_their_cause_is_gone(
    run_cli: RunCli, connection: asyncpg.Connection, tmp_path: Path
) -> None:
    await connection.execute("CREATE TABLE flawed (id bigint PRIMARY KEY, payload text)")
    await connection.execute(
        "INSERT INTO flawed SELECT n, CASE WHEN n NOT IN (7, 13, 77) THEN 'text' END FROM generate_series(1, 100) AS n"
    )
    file = manifest(tmp_path, "flawed", records={"table": "flawed"}, batchSize=10, keys={"count": 2})
    retry = ("retry", "flawed", "--dead", "--max-signers", "1")

    ran = run_cli("run", "-f", str(file), "--max-signers", "1", check=False)
    assert ran.returncode == 3

    listed = json.loads(run_cli("dead", "flawed", "--json").stdout)
    assert [letter["record_id"] for letter in listed["dead_letters"]] == ["7", "13", "77"]
    assert listed["total"] == 3
    first = run_cli("dead", "flawed", "--limit", "1")
    assert first.stdout.splitlines()[1].split()[0] == "7"
    assert "Showing 1 of 3" in first.stderr

    in_vain = run_cli(*retry, "--json", check=False)
    assert in_vain.returncode == 3
    assert json.loads(in_vain.stdout)["retried"] == 3
    assert "3 of 100 records of job flawed are dead letters" in in_vain.stderr

    await connection.execute("UPDATE flawed SET payload = 'fixed'")
    put_back = run_cli("retry", "flawed", "--dead", "--no-run")
    assert "Put 3 records of job flawed back in the queue" in put_back.stderr
    job = await get_job(connection, "flawed")
    waiting = (await read_job(connection, job.token)).progress
    assert (job.state, waiting.signed, waiting.batches_left) == (JobState.RUNNING, 97, 1)

    going_on = run_cli(*retry, "--json")
    assert "has no dead letters yet; it has not ended" in going_on.stderr
    ended = json.loads(going_on.stdout)
    assert (ended["state"], ended["signed"], ended["dead"]) == ("Complete", 100, 0)

    assert "has no dead letters to retry" in run_cli(*retry).stderr
    assert "has no dead letters" in run_cli("dead", "flawed").stderr

    cleared = json.loads(run_cli("dead", "flawed", "--cleared", "--json").stdout)
    assert cleared["total"] == 6, "three were cleared twice"
    assert {letter["record_id"] for letter in cleared["dead_letters"]} == {"7", "13", "77"}
    assert {letter["reason"] for letter in cleared["dead_letters"]} == {"PayloadNull"}
    assert {letter["cleared_by"] for letter in cleared["dead_letters"]} == {
        await connection.fetchval("SELECT session_user::text")
    }
    assert "cleared" in run_cli("dead", "flawed", "--cleared").stdout.splitlines()[0]


def test_retry_needs_no_option(run_cli: RunCli, small_job: str) -> None:
    for arguments in ((), ("--dead",)):
        assert "no dead letters to retry" in run_cli("retry", small_job, *arguments).stderr


async def test_a_suspended_job_is_not_retried(
    run_cli: RunCli, make_job: Callable[..., Awaitable[Job]], connection: asyncpg.Connection
) -> None:
    job = await make_job("suspended")
    await set_suspended(connection, job.job_no, suspended=True)

    refused = run_cli("retry", "suspended", "--dead", check=False)

    assert refused.returncode == 2
    assert "Job suspended is suspended." in refused.stderr
    assert "spec.suspend" in refused.stderr


async def test_a_failed_job_is_not_retried_and_the_next_step_is_named(
    run_cli: RunCli, make_job: Callable[..., Awaitable[Job]], connection: asyncpg.Connection
) -> None:
    job = await make_job("given-up")
    await fail_job(connection, job.job_no, "DeadlineExceeded: it ran for too long.")

    refused = run_cli("retry", "given-up", "--dead", check=False)

    assert refused.returncode == 1
    assert "DeadlineExceeded" in refused.stderr
    assert "a new job" in refused.stderr
