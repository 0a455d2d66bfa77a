"""What someone who has the auditor's login tries: to read what is secret, and to write anything at all."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from support.as_user import connect
from support.engine import add_job
from support.guarded import GuardedDatabase
from vaultstream.errors import LockedError
from vaultstream.store.jobs import delete_job

pytestmark = pytest.mark.integration


@pytest.fixture
async def auditor(database: GuardedDatabase) -> AsyncIterator[asyncpg.Connection]:
    async with connect(database.urls["auditor"]) as connection:
        yield connection


async def test_the_auditor_may_read_everything_but_wrapped_keys_and_write_nothing(
    auditor: asyncpg.Connection, owner: asyncpg.Connection
) -> None:
    """Of every relation of the schema, also of those that a later version adds."""
    job = await add_job(owner)
    rows = await auditor.fetch(
        "SELECT c.relname, p.privilege, has_table_privilege(c.oid, p.privilege) OR has_any_column_privilege(c.oid, p.privilege) AS may "
        "FROM pg_class c CROSS JOIN unnest('{SELECT,INSERT,UPDATE,REFERENCES}'::text[]) AS p (privilege) "
        "WHERE c.relnamespace = 'vaultstream'::regnamespace AND c.relkind IN ('r', 'v', 'm', 'p')"
    )
    may = {(row["relname"], row["privilege"]) for row in rows if row["may"]}
    tables = {row["relname"] for row in rows}
    assert may == {(table, "SELECT") for table in tables - {"key_material"}}
    deletes = await auditor.fetch(
        "SELECT relname FROM pg_class WHERE relnamespace = 'vaultstream'::regnamespace AND relkind = 'r' "
        "AND (has_table_privilege(oid, 'DELETE') OR has_table_privilege(oid, 'TRUNCATE') OR has_table_privilege(oid, 'TRIGGER'))"
    )
    assert deletes == []
    await owner.execute("SELECT vaultstream.delete_job($1, 'Delete')", job.job_no)


async def test_the_auditor_may_call_only_functions_that_change_nothing_but_the_list_of_exports(
    auditor: asyncpg.Connection,
) -> None:
    """The functions of the view run with the auditor's own rights."""
    rows = await auditor.fetch(
        "SELECT oid::regprocedure::text AS name, has_function_privilege(oid, 'EXECUTE') AS may, prosecdef "
        "FROM pg_proc WHERE pronamespace = 'vaultstream'::regnamespace AND prorettype <> 'trigger'::regtype"
    )
    assert rows
    may = {row["name"]: row["prosecdef"] for row in rows if row["may"]}
    assert may.keys() == {
        "vaultstream.sees(text)",
        "vaultstream.tenant_scope()",
        "vaultstream.signed_jobs()",
        "vaultstream.signatures_of(integer,bigint,integer)",
        "vaultstream.newest_seal(integer)",
        "vaultstream.record_export(integer,jsonb)",
        "vaultstream.paused_seconds(integer,double precision)",
    }
    assert not may["vaultstream.signed_jobs()"]
    assert not may["vaultstream.signatures_of(integer,bigint,integer)"]


async def test_a_deletion_that_waits_for_a_reader_of_signatures_names_it(
    database: GuardedDatabase, auditor: asyncpg.Connection, owner: asyncpg.Connection
) -> None:
    job = await add_job(owner)
    await owner.execute("ALTER FUNCTION vaultstream.delete_job SET lock_timeout = '500ms'")
    try:
        async with auditor.transaction():
            await auditor.fetch(f"SELECT * FROM {job.signatures_table}")
            who = f"process {auditor.get_server_pid()} of the user {database.logins['auditor']}"
            with pytest.raises(LockedError, match=who):
                await delete_job(owner, job.job_no, "Delete")
        await delete_job(owner, job.job_no, "Delete")
    finally:
        await owner.execute("ALTER FUNCTION vaultstream.delete_job SET lock_timeout = '10s'")
