"""Why a job has as many signers as it has, from the decisions that were kept."""

from __future__ import annotations

import asyncio
import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from integration.cli.conftest import clean_environment, command_line
from vaultstream.scaling.kept import KeptDecision
from vaultstream.store.decisions import keep_decision

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import asyncpg

    from integration.cli.conftest import RunCli
    from vaultstream.local.services import Services
    from vaultstream.store.jobs import Job

pytestmark = pytest.mark.integration

FIRST = KeptDecision(
    1_700_000_000.0,
    {
        "replicas": 0,
        "desired": 4,
        "reason": "Lag",
        "limit": {"name": "MaxReplicaCount", "value": 4},
        "inputs": {"lag": 600, "lagThreshold": 100},
        "formula": "⌈600 / 100⌉ = 6",
        "hold": False,
        "message": "Scaled from 0 to 4 signers: lag is 600 batches, ⌈600 / 100⌉ = 6, limited by maxReplicaCount to 4.",
    },
)
SECOND = KeptDecision(FIRST.at + 60, {**FIRST.shown, "replicas": 4, "desired": 3, "message": "Scaled in."})


def test_a_run_explains_the_signers_that_it_started(run_cli: RunCli, small_job: str) -> None:
    shown = json.loads(run_cli("explain", small_job, "--json").stdout)
    first = shown["decisions"][0]
    assert (first["replicas"], first["reason"]) == (0, "FirstStep")
    assert first["formula"] in first["message"]
    text = run_cli("explain", small_job).stdout
    assert first["message"] in text
    assert f"0 → {first['desired']}" in text


async def test_the_latest_decisions_are_shown_oldest_first_with_their_inputs_on_request(
    run_cli: RunCli, make_job: Callable[..., Awaitable[Job]], connection: asyncpg.Connection
) -> None:
    job = await make_job("explained")
    assert "has no decisions yet" in run_cli("explain", "explained").stderr
    for kept in (FIRST, SECOND):
        await keep_decision(connection, job.job_no, kept)
    lines = run_cli("explain", "explained").stdout.splitlines()
    assert [line.split("  ")[1:3] for line in lines] == [
        ["0 → 4", ""],
        ["4 → 3", ""],
    ]
    assert lines[0].startswith("2023-11-14 22:13:20Z")
    assert "4 → 3" in run_cli("explain", "explained", "--limit", "1").stdout.splitlines()[0]
    assert "lag 600, lagThreshold 100" in run_cli("explain", "explained", "--inputs").stdout


async def test_new_decisions_are_shown_as_they_are_made(
    make_job: Callable[..., Awaitable[Job]], connection: asyncpg.Connection, cli_services: Services
) -> None:
    job = await make_job("watched")
    await keep_decision(connection, job.job_no, FIRST)
    watching = await asyncio.create_subprocess_exec(
        *command_line("explain", "watched", "--watch", "--json"),
        env=clean_environment(cli_services.data_dir),
        stdout=subprocess.PIPE,
    )
    assert watching.stdout is not None
    assert json.loads(await watching.stdout.readline())["desired"] == 4
    await keep_decision(connection, job.job_no, SECOND)
    assert json.loads(await watching.stdout.readline())["desired"] == 3
    await connection.execute(
        "UPDATE vaultstream.jobs SET state = 'Failed', finished_at = now() WHERE job_no = $1", job.job_no
    )
    assert await watching.stdout.readline() == b""
    assert await asyncio.wait_for(watching.wait(), 30) == 0
