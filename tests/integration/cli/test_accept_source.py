"""`vaultstream accept-source`: another relation under the name of a job's table, accepted by the owner of the schema."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from support.engine import add_table

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import asyncpg

    from integration.cli.conftest import RunCli
    from vaultstream.store.jobs import Job

    MakeJob = Callable[..., Awaitable[Job]]

pytestmark = pytest.mark.integration


async def replace_table(db: asyncpg.Connection, table: str, *, id_type: str = "bigint") -> int:
    """Makes the table again, as a restore does; returns its oid."""
    await db.execute(f"DROP TABLE {table}; CREATE TABLE {table} (id {id_type} PRIMARY KEY, payload text)")
    return int(await db.fetchval("SELECT $1::text::regclass::oid", table))


async def job_on_a_table(connection: asyncpg.Connection, make_job: MakeJob) -> Job:
    table = await add_table(connection)
    return await make_job(table.replace("_", "-"), keys=1, records={"table": table})


async def test_a_restored_table_is_accepted_once(
    run_cli: RunCli, connection: asyncpg.Connection, make_job: MakeJob
) -> None:
    job = await job_on_a_table(connection, make_job)
    oid = await replace_table(connection, job.spec.records.table)
    first = json.loads(run_cli("accept-source", job.name, "--json").stdout)["accepted"]
    second = json.loads(run_cli("accept-source", job.token, "--json").stdout)["accepted"]
    assert [entry["changed"] for entry in first + second] == [True, False]
    stored = "SELECT source_oid FROM vaultstream.jobs WHERE job_no = $1"
    assert await connection.fetchval(stored, job.job_no) == oid


async def test_a_table_that_can_not_be_the_one_is_refused(
    run_cli: RunCli, connection: asyncpg.Connection, make_job: MakeJob
) -> None:
    job = await job_on_a_table(connection, make_job)
    await replace_table(connection, job.spec.records.table, id_type="uuid")
    refused = run_cli("accept-source", job.name, check=False)
    assert refused.returncode == 2
    assert "the ids of the job's records have the type bigint" in refused.stderr


async def test_of_all_jobs_those_whose_table_is_gone_are_named_and_left_out(
    run_cli: RunCli, connection: asyncpg.Connection, make_job: MakeJob
) -> None:
    kept, gone = [await job_on_a_table(connection, make_job) for _ in range(2)]
    await connection.execute(f"DROP TABLE {gone.spec.records.table}")
    await replace_table(connection, kept.spec.records.table)
    done = run_cli("accept-source", "--all", "--json")
    changed = {entry["job"] for entry in json.loads(done.stdout)["accepted"] if entry["changed"]}
    assert kept.name in changed
    assert gone.name not in changed
    assert gone.name in done.stderr


def test_a_job_or_all_must_be_given(run_cli: RunCli) -> None:
    assert run_cli("accept-source", check=False).returncode == 2
