"""Who did what to a job is listed, also when the job was deleted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from integration.cli.conftest import manifest
from vaultstream.store.jobs import get_job
from vaultstream_cli.commands.audit_log import _short

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    import asyncpg

    from integration.cli.conftest import RunCli
    from vaultstream.store.jobs import Job

pytestmark = pytest.mark.integration


async def test_what_was_done_to_a_job_is_listed_also_when_it_was_deleted(
    run_cli: RunCli, make_job: Callable[..., Awaitable[Job]], connection: asyncpg.Connection
) -> None:
    job = await make_job("audited", keys=3)
    [key] = [
        row["key_id"]
        for row in await connection.fetch(
            "SELECT key_id FROM vaultstream.keys WHERE job_no = $1 AND ordinal = 1", job.job_no
        )
    ]
    run_cli("export", "audited")
    run_cli("keys", "revoke", "audited", key)
    run_cli("keys", "rewrap", "audited")
    run_cli("delete", "audited", "--yes", "--policy", "Delete")

    shown = json.loads(run_cli("audit-log", "audited", "--json").stdout)
    login = await connection.fetchval("SELECT session_user::text")
    assert (shown["job"], shown["token"], shown["total"]) == ("audited", job.token, 6)
    assert {event["login"] for event in shown["events"]} == {login}
    assert [(event["number"], event["action"]) for event in shown["events"]] == [
        (1, "create"),
        (2, "export"),
        (3, "revoke"),
        (4, "rewrap"),
        (5, "retire"),
        (6, "delete"),
    ]
    assert shown["events"][1]["arguments"] == {"what": "jsonl"}
    assert shown["events"][2]["arguments"] == {"count": "1", "keys": key}
    assert shown["events"][3]["arguments"]["count"] == "3"

    latest = run_cli("audit-log", job.token, "--limit", "2")
    lines = latest.stdout.splitlines()
    assert lines[0].split() == ["number", "time", "action", "login", "arguments"]
    assert [line.split()[2] for line in lines[1:]] == ["retire", "delete"]
    assert "policy='Delete'" in lines[2]
    assert "Showing 2 of 6" in latest.stderr


async def test_the_events_of_a_job_are_sealed_and_one_that_is_removed_is_named(
    run_cli: RunCli, connection: asyncpg.Connection, tmp_path: Path
) -> None:
    await connection.execute(
        "CREATE TABLE few AS SELECT n AS id, 'few' AS payload FROM generate_series(1, 9) AS n"
    )
    await connection.execute("ALTER TABLE few ADD PRIMARY KEY (id)")
    file = manifest(tmp_path, "few", records={"table": "few"}, batchSize=5, keys={"count": 2})
    run_cli("run", "-f", str(file), "--max-signers", "1")
    assert json.loads(run_cli("verify", "few", "--json").stdout)["ok"]

    job = await get_job(connection, "few")
    async with connection.transaction():
        await connection.execute("ALTER TABLE vaultstream.audit_events DISABLE TRIGGER guard")
        await connection.execute(
            "DELETE FROM vaultstream.audit_events WHERE job_no = $1 AND action = 'create'", job.job_no
        )
        await connection.execute("ALTER TABLE vaultstream.audit_events ENABLE ALWAYS TRIGGER guard")
    found = run_cli("verify", "few", check=False)
    assert found.returncode == 4
    assert "audit event 1 was sealed and is gone" in found.stdout + found.stderr


def test_a_job_that_never_was_has_no_audit_log(run_cli: RunCli) -> None:
    refused = run_cli("audit-log", "never-was", check=False)
    assert refused.returncode == 2
    assert "There is no job named 'never-was'" in refused.stderr


def test_of_many_ids_the_first_few_and_a_count_are_shown() -> None:
    ids = [f"job-1a2b3c4d-key-{number}" for number in range(84)]
    shown = _short(" ".join(ids))
    assert shown == f"{' '.join(ids[:3])} … and 81 more"
    assert _short("a b c d e") == "a b c d e"
