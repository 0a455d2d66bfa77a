"""Jobs before and between runs: submitted, suspended, resumed, canceled."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from integration.cli.conftest import clean_environment, command_line, manifest
from support.as_user import connect
from support.waiting import eventually
from vaultstream.api import JobState
from vaultstream.errors import UsageError
from vaultstream.local.runner import _others, open_job
from vaultstream.local.running import CANCELED
from vaultstream.local.submission import change_suspension
from vaultstream.store.database import open_pool
from vaultstream.store.jobs import complete_job_if_settled, find_job, get_job, set_message, start_job
from vaultstream.store.keys import list_keys
from vaultstream.store.progress import LEAST_PAUSE_SECONDS, find_snapshot, with_pauses

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    import asyncpg

    from integration.cli.conftest import RunCli
    from vaultstream.local.services import Services
    from vaultstream.store.jobs import Job

    MakeJob = Callable[..., Awaitable[Job]]

pytestmark = pytest.mark.integration


def documents(folder: Path, *names: str) -> Path:
    path = folder / "jobs.yaml"
    path.write_text("\n---\n".join(manifest(folder, name, keys={"count": 1}).read_text() for name in names))
    return path


async def test_jobs_of_a_file_are_submitted_suspended_resumed_and_canceled(
    run_cli: RunCli, connection: asyncpg.Connection, tmp_path: Path
) -> None:
    file = documents(tmp_path, "sub-1", "sub-2")

    first, second = json.loads(run_cli("submit", "-f", str(file), "--json").stdout)
    assert (first["job"], first["state"], first["created"], second["job"]) == (
        "sub-1",
        "Pending",
        True,
        "sub-2",
    )
    again = run_cli("submit", "-f", str(file))
    assert "Job sub-1 was there already" in again.stderr
    assert "vaultstream run sub-2" in again.stderr

    assert json.loads(run_cli("suspend", "sub-1", "--json").stdout)["changed"] is True
    job = await get_job(connection, "sub-1")
    assert (job.state, job.spec.suspend) == (JobState.SUSPENDED, True)
    assert "was suspended before" in run_cli("suspend", "sub-1").stderr
    assert "vaultstream resume sub-1" in run_cli("run", "sub-1").stderr
    resubmitted = run_cli("submit", "-f", str(file))
    assert "Job sub-1 resumed" in resubmitted.stderr
    assert "Job sub-2 was there already" in resubmitted.stderr
    assert json.loads(run_cli("suspend", "sub-1", "--json").stdout)["changed"] is True
    resumed = json.loads(run_cli("resume", "sub-1", "-o", "json").stdout)
    assert (resumed["state"], resumed["changed"]) == ("Pending", True)

    canceled = json.loads(run_cli("cancel", "sub-1", "--json").stdout)
    assert canceled == {"job": "sub-1", "token": job.token, "policy": "Retain", "signatures": 0}
    assert await find_job(connection, "sub-1") is None
    assert run_cli("cancel", "sub-2", "--yes", "-o", "name").stdout == "sub-2\n"


async def test_of_a_file_with_a_wrong_source_no_job_is_created(
    run_cli: RunCli, connection: asyncpg.Connection, tmp_path: Path
) -> None:
    good = manifest(tmp_path, "half", keys={"count": 1}).read_text()
    wrong = manifest(tmp_path, "wrong", records={"table": "nowhere"}).read_text()
    (tmp_path / "both.yaml").write_text(f"{good}\n---\n{wrong}")

    refused = run_cli("submit", "-f", str(tmp_path / "both.yaml"), "--json", check=False)

    assert refused.returncode == 2
    assert json.loads(refused.stderr)["field"] == "spec.records.table"
    assert await find_job(connection, "half") is None


async def test_a_retry_of_a_job_of_kubernetes_can_be_resumed(
    run_cli: RunCli, make_job: MakeJob, connection: asyncpg.Connection
) -> None:
    job = await make_job("retried-object")
    await start_job(connection, job.job_no, upper_id=None)
    assert await complete_job_if_settled(connection, job.job_no)
    await connection.execute("UPDATE vaultstream.jobs SET owner_uid = 'uid' WHERE job_no = $1", job.job_no)
    await connection.execute(
        "INSERT INTO vaultstream.dead_letters VALUES ($1, '9', 1, 'PayloadNull', 'It is NULL.')", job.job_no
    )
    assert json.loads(run_cli("retry", job.token, "--no-run", "--json").stdout)["retried"] == 1
    assert (await get_job(connection, job.token)).state is JobState.RUNNING
    again = run_cli("retry", job.token, "--no-run", check=False)
    assert "Kubernetes" not in again.stderr


async def test_a_job_that_has_ended_or_is_one_of_kubernetes_is_left_alone(
    run_cli: RunCli, small_job: str, make_job: MakeJob, connection: asyncpg.Connection, tmp_path: Path
) -> None:
    job = await make_job("of-an-object")
    file = manifest(tmp_path, "of-an-object")
    await connection.execute("UPDATE vaultstream.jobs SET owner_uid = 'uid' WHERE job_no = $1", job.job_no)
    for words in (
        ["delete", job.name],
        ["run", job.name],
        ["submit", "-f", str(file)],
        ["run", "-f", str(file)],
    ):
        owned = run_cli(*words, check=False)
        assert (owned.returncode, "kubectl" in owned.stderr) == (2, True), words
    owned = run_cli("retry", job.name, "--no-run", check=False)
    assert (owned.returncode, "has not ended" in owned.stderr) == (2, True)
    with pytest.raises(UsageError, match="Kubernetes"):
        await open_job(connection, job.name, job.spec)
    for command in ("suspend", "resume", "cancel"):
        ended = run_cli(command, small_job, check=False)
        assert (ended.returncode, "has ended" in ended.stderr) == (2, True)
        owned = run_cli(command, "of-an-object", check=False)
        assert (owned.returncode, "kubectl" in owned.stderr) == (2, True)


async def test_a_running_job_is_canceled_after_its_workers_have_left(
    run_cli: RunCli, cli_services: Services, connection: asyncpg.Connection, tmp_path: Path
) -> None:
    file = manifest(tmp_path, "given-up-early", records={"table": "many"}, batchSize=1, keys={"count": 1})
    with (tmp_path / "log").open("w") as log:
        running = subprocess.Popen(  # noqa: ASYNC220 - it returns at once
            command_line("run", "-f", str(file), "--max-signers", "1"),
            cwd=tmp_path,
            env=clean_environment(cli_services.data_dir),
            stdout=log,
            stderr=log,
        )
    try:

        async def signing() -> bool:
            snapshot = await find_snapshot(connection, "given-up-early")
            return snapshot is not None and snapshot.progress.signed > 0

        await eventually(signing)
        job = await get_job(connection, "given-up-early")
        assert run_cli("status", job.token, "-o", "name").stdout == "given-up-early\n"

        canceled = run_cli("cancel", "given-up-early", "--yes")

        assert "Job given-up-early canceled. Kept: " in canceled.stderr
        assert job.token in canceled.stderr
        assert (await get_job(connection, job.token)).deleted_at is not None
        assert running.wait(60) == 2
    finally:
        if running.poll() is None:
            running.send_signal(signal.SIGINT)
            running.wait(60)
    log = (tmp_path / "log").read_text()
    assert "Job given-up-early was canceled while it ran." in log
    assert "is suspended" not in log
    assert "Traceback" not in log


@pytest.mark.parametrize("patient", [False, True])
async def test_a_job_whose_workers_stay_is_suspended_and_not_canceled(
    make_job: MakeJob, cli_services: Services, connection: asyncpg.Connection, patient: bool
) -> None:
    job = await make_job(f"kept-{patient}".lower())
    seconds = "60" if patient else "0"
    async with connect(cli_services.database_url) as worker:
        await worker.execute(f"SET application_name = 'vaultstream-signing {job.job_no} elsewhere:4711'")
        canceling = subprocess.Popen(  # noqa: ASYNC220 - it returns at once
            command_line("cancel", job.name, "--yes", "--wait-seconds", seconds),
            cwd=cli_services.data_dir,
            env=clean_environment(cli_services.data_dir),
            stderr=subprocess.PIPE,
            text=True,
        )

        async def suspended() -> bool:
            return (await get_job(connection, job.name)).state is JobState.SUSPENDED

        await eventually(suspended)
        if patient:
            canceling.send_signal(signal.SIGINT)
        _, said = canceling.communicate(timeout=60)
    assert canceling.returncode == (130 if patient else 2)
    assert "vaultstream resume" in said
    assert ("cancel it again" if patient else "a larger --wait-seconds") in said
    kept = await get_job(connection, job.name)
    assert (kept.deleted_at, kept.message) == (None, CANCELED)

    await set_message(connection, job.job_no, None)
    assert (await get_job(connection, job.name)).message == CANCELED, (
        "a worker that is leaving takes nothing back"
    )
    resumed, _ = await change_suspension(connection, job.name, suspended=False)
    assert resumed.message is None


async def test_a_run_sees_the_workers_of_another_command(make_job: MakeJob, cli_services: Services) -> None:
    job = await make_job("two-terminals")
    name = f"vaultstream-signing {job.job_no} elsewhere:4711"
    url = cli_services.database_url
    async with open_pool(url, role="test", size=1) as pool, connect(url) as connection:
        await connection.execute(f"SET application_name = '{name}'")
        (other,) = await _others(pool, job, {os.getpid()})
        assert (other.role, other.host, other.pid) == ("signing", "elsewhere", 4711)
        assert await _others(pool, job, {4711}) == ()


async def test_only_times_in_which_no_key_is_leased_are_pauses(
    make_job: MakeJob, connection: asyncpg.Connection
) -> None:
    job = await make_job("paused", keys=2)
    first, second = (key.key_no for key in await list_keys(connection, job.job_no))
    leases = [(first, 1, 0.0, 2.0), (second, 1, 1.0, 4.0), (first, 2, 4.5, 5.0), (first, 3, 105.0, 106.0)]
    await connection.executemany(
        "INSERT INTO vaultstream.leases (key_no, epoch, holder, during, outcome) VALUES "
        "($1, $2, 'h', tstzrange('2026-01-01Z'::timestamptz + make_interval(secs => $3), "
        "'2026-01-01Z'::timestamptz + make_interval(secs => $4)), 'released')",
        leases,
    )
    snapshot = await find_snapshot(connection, job.token)
    assert snapshot is not None
    assert (await with_pauses(connection, snapshot)).progress.paused_seconds == 0, "it has not ended"

    await start_job(connection, job.job_no, upper_id=None)
    assert await complete_job_if_settled(connection, job.job_no)
    snapshot = await find_snapshot(connection, job.token)
    assert snapshot is not None
    assert (await with_pauses(connection, snapshot)).progress.paused_seconds == pytest.approx(100.0)
    with (
        pytest.MonkeyPatch.context() as patch
    ):  # a history that takes too long keeps nobody from seeing the job
        patch.setattr("vaultstream.store.progress.PAUSES_SECONDS", 1e-9)
        assert (await with_pauses(connection, snapshot)).progress.paused_seconds == 0
    assert LEAST_PAUSE_SECONDS > 0.5, "the gap from 4 to 4.5 is none"

    async with connection.transaction():
        await connection.execute(
            "CREATE ROLE without_pauses; GRANT USAGE ON SCHEMA vaultstream TO without_pauses"
        )
        await connection.execute("SET LOCAL ROLE without_pauses")
        assert (await with_pauses(connection, snapshot)).progress.paused_seconds == 0
        await connection.execute("RESET ROLE; DROP OWNED BY without_pauses; DROP ROLE without_pauses")


async def test_suspending_twice_changes_nothing(make_job: MakeJob, connection: asyncpg.Connection) -> None:
    await make_job("still")
    assert (await change_suspension(connection, "still", suspended=True))[1] is True
    assert (await change_suspension(connection, "still", suspended=True))[1] is False
