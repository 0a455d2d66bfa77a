"""The owner of a signed view, whose code raises errors, ends its session or sleeps: nobody takes his word, or waits for him."""

from __future__ import annotations

import asyncio
from functools import partial

import asyncpg
import pytest

from support.as_user import connect
from support.engine import add_job, dead_of, new_name, worker_settings
from support.guarded import GuardedDatabase
from support.merchant import Merchant, job_on, read_all
from support.signer import open_bench
from support.waiting import eventually
from vaultstream.errors import SourceError, SourceReadError
from vaultstream.local.services import Services
from vaultstream.records.source import open_readable_source
from vaultstream.records.worker import run_records_worker
from vaultstream.store.batches import highest_id, plan_page
from vaultstream.store.database import explain, is_transient
from vaultstream.store.jobs import Job, delete_job, get_job, set_suspended, start_job
from vaultstream.store.source_pool import SourcePool

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

RAISE = """
CREATE FUNCTION {schema}.trap(code text, message text) RETURNS text LANGUAGE plpgsql AS
$f$ BEGIN RAISE EXCEPTION USING ERRCODE = code, MESSAGE = message; END $f$
"""

FORGED = {
    "a missing privilege": ("42501", "permission denied for table key_material"),
    "a missing privilege of ours": ("42501", "permission denied for function claim_batches"),
    "a missing table": ("42P01", 'relation "jobs" does not exist'),
    "a full disk": ("53100", "could not extend file: No space left on device"),
    "too many connections": ("53300", "sorry, too many clients already"),
    "a server that stops": ("57P01", "terminating connection due to administrator command"),
    "a wrong password": ("28P01", "password authentication failed"),
    "a deadlock": ("40P01", "deadlock detected"),
    "a lost connection": ("08006", "connection failure"),
    "a canceled query": ("57014", "canceling statement due to user request"),
    "a standby": ("25006", "cannot execute INSERT in a read-only transaction"),
}


@pytest.mark.parametrize("what", FORGED)
async def test_an_error_that_code_of_a_source_raises_is_shown_as_such_and_is_believed_in_nothing(
    merchant: Merchant, owner: asyncpg.Connection, sources: SourcePool, what: str
) -> None:
    code, message = FORGED[what]
    await merchant.execute(RAISE)
    quoted = message.replace("'", "''")
    await merchant.execute(
        f"CREATE VIEW {{schema}}.receipts AS SELECT 1 AS id, {{schema}}.trap('{code}', '{quoted}') AS payload"
    )
    job, _ = await job_on(owner, f"{merchant.schema}.receipts")
    source = await open_readable_source(sources, job)
    with pytest.raises(SourceReadError) as caught:
        await read_all(sources, source)
    assert not is_transient(caught.value)
    assert not caught.value.lost
    assert source.relation in caught.value.message
    assert message in caught.value.message
    assert not [
        word
        for word in ("GRANT", "DATABASE_URL", "disk", "max_connections")
        if word in (caught.value.hint or "")
    ]
    assert explain(caught.value) is caught.value


async def test_text_of_another_encoding_that_code_of_a_source_raises_is_an_error_of_the_source(
    merchant: Merchant, owner: asyncpg.Connection, sources: SourcePool
) -> None:
    await merchant.execute(
        "CREATE FUNCTION {schema}.encode() RETURNS text LANGUAGE plpgsql AS $f$ BEGIN "
        "PERFORM pg_catalog.set_config('client_encoding', 'LATIN1', false); RAISE EXCEPTION 'caf\u00e9'; END $f$; "
        "CREATE VIEW {schema}.receipts AS SELECT 1 AS id, {schema}.encode() AS payload"
    )
    job, _ = await job_on(owner, f"{merchant.schema}.receipts")
    source = await open_readable_source(sources, job)
    for _ in range(2):
        with pytest.raises(SourceReadError, match="not UTF-8"):
            await read_all(sources, source)


def trap_at(schema: str, name: str, trap: str, *, column: str = "payload") -> str:
    """Returns the SQL of a view of ten records whose third runs `trap`, an expression, where that column is read."""
    columns = {"id": "n::bigint", "payload": "'payload of ' || n"}
    columns[column] = (
        f"CASE WHEN n = 3 THEN public.spring($trap${trap}$trap$){'::bigint' if column == 'id' else ''} ELSE {columns[column]} END"
    )
    return (
        f"CREATE VIEW {schema}.{name} AS SELECT {columns['id']} AS id, {columns['payload']} AS payload "
        "FROM generate_series(1, 10) AS n"
    )


TRAPS = {
    "a forged full disk": "public.trap('53100', 'No space left on device')",
    "a forged missing privilege": "public.trap('42501', 'permission denied for table jobs')",
    "a forged end of the server": "public.trap('57P01', 'terminating connection')",
    "the end of its own session": "pg_terminate_backend(pg_backend_pid())",
    "a canceled query": "pg_cancel_backend(pg_backend_pid()) || pg_sleep(5)::text",
}


@pytest.fixture
async def trap(db: asyncpg.Connection) -> None:
    await db.execute(RAISE.replace("{schema}", "public").replace("CREATE", "CREATE OR REPLACE"))
    await db.execute(
        "CREATE OR REPLACE FUNCTION public.spring(trap text) RETURNS text LANGUAGE plpgsql STABLE AS "
        "$f$ DECLARE found text; BEGIN EXECUTE 'SELECT (' || trap || ')::text' INTO found; RETURN found; END $f$"
    )


@pytest.mark.usefixtures("trap")
@pytest.mark.parametrize("what", TRAPS)
async def test_a_record_whose_reading_fails_is_set_aside_and_does_not_hold_up_the_job(
    services: Services, engine_url: str, db: asyncpg.Connection, what: str
) -> None:
    """As seen before: such errors counted as an outage of Postgres or a missing grant, and were retried without end."""
    view = new_name("trap")
    await db.execute(trap_at("public", view, TRAPS[what]))
    payloads = {n: f"payload of {n}".encode() for n in range(1, 11)}
    retries = {"maxAttempts": 1, "backoff": {"initialSeconds": 0.05, "maxSeconds": 0.1}}
    async with open_bench(
        services,
        engine_url,
        db,
        view,
        batchSize=5,
        retries=retries,
    ) as bench:
        await bench.run()
        await bench.assert_ended_well(payloads, dead=frozenset({"3"}))
        assert await dead_of(db, bench.job) == {"3": "Unsignable"}


@pytest.mark.usefixtures("trap")
@pytest.mark.parametrize("what", TRAPS)
async def test_planning_that_fails_is_not_retried_without_end_and_the_job_says_why(
    services: Services, engine_url: str, db: asyncpg.Connection, what: str
) -> None:
    view = new_name("trap")
    await db.execute(trap_at("public", view, TRAPS[what], column="id"))
    retries = {"maxAttempts": 2, "backoff": {"initialSeconds": 0.05, "maxSeconds": 0.1}}
    job = await add_job(db, view, retries=retries)
    with pytest.raises(SourceReadError):
        await asyncio.wait_for(run_records_worker(worker_settings(services, engine_url), job.token), 60)
    message = (await get_job(db, job.token)).message or ""
    assert f"reading public.{view} failed" in message
    assert "GRANT" not in message


async def test_a_missing_privilege_of_the_source_login_is_found_in_the_catalog_and_work_waits_for_it(
    database: GuardedDatabase, merchant: Merchant, owner: asyncpg.Connection, sources: SourcePool
) -> None:
    """The one error of a read that a grant does fix: the catalog tells it, not the error."""
    await merchant.execute("CREATE TABLE {schema}.receipts (id bigint PRIMARY KEY, payload text)")
    job, _ = await job_on(owner, f"{merchant.schema}.receipts")
    source = await open_readable_source(sources, job)
    await merchant.execute(f"REVOKE SELECT ON {{schema}}.receipts FROM {database.logins['source']}")
    with pytest.raises(SourceReadError):
        await read_all(sources, source)
    with pytest.raises(SourceError, match="may not read") as caught:
        await open_readable_source(sources, job)
    assert "GRANT SELECT" in (caught.value.hint or "")


async def asleep(merchant: Merchant, owner: asyncpg.Connection, sources: SourcePool) -> Job:
    """Creates a job over a view that waits while its second page is read, for as long as the advisory lock 11 is held."""
    await merchant.execute(
        "CREATE FUNCTION {schema}.wait() RETURNS boolean LANGUAGE plpgsql AS "
        "$f$ BEGIN PERFORM pg_catalog.pg_advisory_xact_lock_shared(11); RETURN true; END $f$"
    )
    await merchant.execute(
        "CREATE VIEW {schema}.receipts AS SELECT n::bigint AS id, 'x'::text AS payload FROM generate_series(1, 10) AS n "
        "WHERE {schema}.wait()"
    )
    job, source = await job_on(owner, f"{merchant.schema}.receipts")
    await start_job(owner, job.job_no, upper_id=await highest_id(sources, source))
    return await get_job(owner, job.token)


async def one_waits(owner: asyncpg.Connection) -> bool:
    """Whether a read of the view of `asleep` waits."""
    waiting = (
        "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 11 AND NOT granted)"
    )
    return bool(await owner.fetchval(waiting))


@pytest.mark.parametrize("how", ["suspend", "delete"])
async def test_a_view_that_waits_holds_up_nobody_who_suspends_or_deletes_the_job(
    merchant: Merchant,
    owner: asyncpg.Connection,
    sources: SourcePool,
    database: GuardedDatabase,
    how: str,
) -> None:
    job = await asleep(merchant, owner, sources)
    source = await open_readable_source(sources, job)
    async with connect(database.urls["records"]) as planner, connect(database.urls["operator"]) as operator:
        await merchant.connection.execute("SELECT pg_advisory_lock(11)")
        planning = asyncio.create_task(plan_page(planner, sources, job, source))

        await eventually(partial(one_waits, owner))
        async with asyncio.timeout(10):
            if how == "suspend":
                await set_suspended(operator, job.job_no, suspended=True)
            else:
                await delete_job(operator, job.job_no, "Delete")
        await merchant.connection.execute("SELECT pg_advisory_unlock(11)")
        page = await planning
        assert page.records == (10 if how == "suspend" else 0)


async def test_two_who_plan_the_same_page_plan_it_once(
    merchant: Merchant, owner: asyncpg.Connection, sources: SourcePool, database: GuardedDatabase
) -> None:
    job = await asleep(merchant, owner, sources)
    source = await open_readable_source(sources, job)
    async with connect(database.urls["records"]) as planner, connect(database.urls["records"]) as other:
        await merchant.connection.execute("SELECT pg_advisory_lock(11)")
        planning = asyncio.create_task(plan_page(planner, sources, job, source))

        await eventually(partial(one_waits, owner))
        await merchant.connection.execute("SELECT pg_advisory_unlock(11)")
        second = asyncio.create_task(plan_page(other, sources, job, source))
        pages = [await planning, await second]
    assert sorted(page.records for page in pages) == [0, 10]
    assert (
        await owner.fetchval("SELECT sum(records) FROM vaultstream.batches WHERE job_no = $1", job.job_no)
        == 10
    )
