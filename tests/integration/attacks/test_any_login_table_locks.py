"""What each login of a role keeps others from by statements that it may not execute: Postgres locks a table before it asks whose it is."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import asyncpg
import pytest

from support.as_user import connect
from support.engine import add_job
from support.guarded import GuardedDatabase
from support.waiting import eventually
from vaultstream.doctor.database import examine_database
from vaultstream.doctor.findings import Level
from vaultstream.doctor.transactions import examine_queues
from vaultstream.local.psql import bundled_psql, psql_command
from vaultstream.store import schema
from vaultstream.store.jobs import delete_job

pytestmark = pytest.mark.integration

NO_DDL = Path(__file__).parents[3] / "charts" / "vaultstream" / "files" / "postgres" / "no-ddl.sql"
LOCKING = [
    "CREATE RULE mine AS ON INSERT TO vaultstream.jobs DO INSTEAD NOTHING",
    "CREATE TEMPORARY TABLE mine PARTITION OF vaultstream.jobs DEFAULT",
    "CREATE TRIGGER mine BEFORE INSERT ON vaultstream.jobs FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "CREATE TEMPORARY TABLE mine (job_no int REFERENCES vaultstream.jobs)",
]


@pytest.mark.parametrize(
    ("login", "statement"), list(zip(["signing", "keys", "records", "auditor"], LOCKING, strict=True))
)
async def test_who_waits_for_a_lock_of_a_table_that_is_not_theirs_is_named_by_the_doctor(
    database: GuardedDatabase, login: str, statement: str
) -> None:
    """Without reading a table of ours, behind which the doctor would wait, too."""
    async with connect(database.urls["auditor"]) as auditor, holding(database, login) as intruder:
        waiting = asyncio.create_task(intruder.execute(statement))
        try:
            await eventually(lambda: examine_queues(auditor))
            findings, _ = await examine_database(auditor, "url", embedded=False)
            assert findings[-1].level is Level.FAILED
            assert (
                f"process {intruder.get_server_pid()} of the user {database.logins[login]}"
                in findings[-1].message
            )
            assert f"pg_terminate_backend({intruder.get_server_pid()})" in (findings[-1].hint or "")
        finally:
            intruder.terminate()
            with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                await waiting


async def test_who_deletes_a_job_waits_for_its_signatures_in_his_right(
    database: GuardedDatabase, owner: asyncpg.Connection
) -> None:
    job = await add_job(owner)
    async with connect(database.urls["auditor"]) as auditor, connect(database.urls["operator"]) as operator:
        async with auditor.transaction():
            await auditor.fetch(f"SELECT FROM {job.signatures_table}")
            deleting = asyncio.create_task(delete_job(operator, job.job_no, "Delete"))
            await eventually(
                lambda: owner.fetchval(
                    "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = $1::regclass",
                    job.signatures_table,
                )
            )
            findings, works = await examine_database(owner, "url", embedded=False)
            assert works
            assert findings[-1].check == "schema"
        await deleting


async def test_the_documented_sql_refuses_such_statements_to_logins_of_roles_and_to_nobody_else(
    database: GuardedDatabase, owner: asyncpg.Connection
) -> None:
    given, environment = psql_command(database.admin_url, ["--no-psqlrc", "--file", str(NO_DDL)])
    process = await asyncio.create_subprocess_exec(
        *(bundled_psql(), *given), env={**os.environ, **environment}, stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    assert process.returncode == 0, said
    async with connect(database.admin_url) as admin:
        try:
            for login in ("signing", "keys", "records", "auditor", "operator"):
                async with holding(database, login) as intruder:
                    for statement in LOCKING:
                        with pytest.raises(
                            asyncpg.InsufficientPrivilegeError, match="not for logins of VaultStream"
                        ):
                            await intruder.execute(statement)
            job = await add_job(owner)
            async with connect(database.urls["operator"]) as operator:
                spec = job.spec.dump()
                made = await operator.fetchval(
                    "SELECT vaultstream.create_job($1, $1, $2, $3, p_source_oid => $4)",
                    f"{job.token}-2",
                    spec,
                    job.id_type,
                    job.source_oid,
                )
                await delete_job(operator, made, "Delete")
            await schema.migrate(owner)
        finally:
            await admin.execute(
                "DROP EVENT TRIGGER vaultstream_no_ddl; DROP SCHEMA vaultstream_guard CASCADE"
            )


@asynccontextmanager
async def holding(database: GuardedDatabase, login: str) -> AsyncIterator[asyncpg.Connection]:
    """Yields a second connection of a login whose first one has locked the jobs as who writes them, and keeps its transaction open."""
    async with connect(database.urls[login]) as first, connect(database.urls[login]) as second:
        await first.execute("BEGIN")
        await first.execute("PREPARE mine AS DELETE FROM vaultstream.jobs")  # no right is asked for yet
        yield second
        await first.execute("ROLLBACK")
