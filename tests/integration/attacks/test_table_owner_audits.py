"""The owner of a signed view, whose code changes the session by which an audit reads it: no later read is under what he set."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from support.as_user import connect
from support.guarded import GuardedDatabase
from support.merchant import Merchant, job_on
from vaultstream.audit.checks.judgement import Absence
from vaultstream.audit.checks.payloads import open_audited_source, present_payloads
from vaultstream.audit.snapshot import export_snapshot, open_snapshot, open_source_snapshot
from vaultstream.records.source import Source
from vaultstream.store.database import Connection
from vaultstream.store.jobs import Job
from vaultstream.store.source_login import SourceDatabase, find_place

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

TAINT = """
CREATE FUNCTION {schema}.taint() RETURNS text LANGUAGE plpgsql AS $f$
DECLARE before text := concat_ws(' ', current_setting('search_path'), current_setting('statement_timeout'),
    current_setting('row_security'), current_setting('client_encoding'), nullif(current_setting('mine.own', true), ''),
    (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()));
BEGIN
    PERFORM set_config('search_path', '{schema}, pg_catalog', false), set_config('statement_timeout', '1h', true),
            set_config('row_security', 'off', false), set_config('client_encoding', 'LATIN1', false),
            set_config('mine.own', 'kept', false), pg_advisory_lock_shared(7);
    RETURN before;
END $f$;
CREATE FUNCTION {schema}.octet_length(bytea) RETURNS integer LANGUAGE sql AS 'SELECT -1';
"""
CLEAN = b"pg_catalog, pg_temp 0 on UTF8 0"


@asynccontextmanager
async def audited(database: GuardedDatabase, job: Job) -> AsyncIterator[tuple[Connection, Source]]:
    """Opens the source of a job as `verify` and `extract` do."""
    url = database.urls["auditor"]
    async with open_snapshot(url, role="verify") as ours, connect(url) as watching:
        snapshot = await export_snapshot(ours)
        place = await find_place(ours)
        sources = SourceDatabase.of(url, database.urls["source"])
        async with open_source_snapshot(sources, place=place, role="verify", snapshot=snapshot) as reading:
            source, obstacle = await open_audited_source(reading, watching, job)
            assert source is not None, obstacle
            yield reading, source


async def test_what_code_of_a_source_sets_does_not_meet_the_next_read_of_an_audit(
    merchant: Merchant, owner: asyncpg.Connection, database: GuardedDatabase
) -> None:
    await merchant.execute(TAINT)
    await merchant.execute(
        "CREATE VIEW {schema}.receipts AS SELECT n::bigint AS id, {schema}.taint() AS payload FROM generate_series(1, 9) AS n"
    )
    job, _ = await job_on(owner, f"{merchant.schema}.receipts")
    async with audited(database, job) as (reading, source):
        for n in (1, 2, 3):
            read = [found async for found in present_payloads(reading, source, [n], max_bytes=1000)]
            assert read == [(n, CLEAN)]


async def test_a_function_that_the_opening_of_a_source_put_into_the_search_path_hides_no_long_payload(
    merchant: Merchant, owner: asyncpg.Connection, database: GuardedDatabase
) -> None:
    """The planner evaluates a condition whose function claims to be immutable, also where no row is asked for."""
    await merchant.execute(TAINT)
    await merchant.execute("ALTER FUNCTION {schema}.taint() IMMUTABLE")
    await merchant.execute(
        "CREATE VIEW {schema}.receipts AS SELECT n::bigint AS id, repeat('x', 2000) AS payload "
        "FROM generate_series(1, 9) AS n WHERE {schema}.taint() <> ''"
    )
    job, _ = await job_on(owner, f"{merchant.schema}.receipts")
    async with audited(database, job) as (reading, source):
        for n in (1, 2, 3):
            read = [found async for found in present_payloads(reading, source, [n], max_bytes=1000)]
            assert read == [(n, Absence.TOO_LONG)]
