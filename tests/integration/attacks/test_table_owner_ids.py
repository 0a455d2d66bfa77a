"""The owner of a signed view, who returns ids without end, or a name that means another table: no memory is filled, nobody is misled."""

from __future__ import annotations

import asyncpg
import pytest

from support.as_user import connect
from support.guarded import GuardedDatabase
from support.merchant import Merchant, flood_of, job_on, open_sources
from vaultstream.api import RecordsSpec, SigningJobSpec
from vaultstream.audit.checks.payloads import present_payloads
from vaultstream.errors import SourceError, SourceReadError, UsageError
from vaultstream.records.source import inspect_source, open_readable_source
from vaultstream.store.batches import ID_BYTES, highest_id, plan_page
from vaultstream.store.jobs import create_job, get_job, start_job
from vaultstream.store.source_login import SourceDatabase, check_source_login, find_place
from vaultstream.store.source_pool import SourcePool

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


async def test_an_audit_of_a_view_that_returns_one_id_many_times_is_refused_and_fills_no_memory(
    merchant: Merchant, owner: asyncpg.Connection, sources: SourcePool
) -> None:
    job, source = await flood_of(merchant, owner)
    async with sources.transaction() as reading:
        with pytest.raises(SourceReadError, match="more than two rows for each id"):
            [found async for found in present_payloads(reading, source, [1], max_bytes=10_000)]
    assert job.source_oid == source.oid


async def test_an_id_that_is_too_long_for_a_record_is_refused_before_it_is_planned(
    merchant: Merchant, owner: asyncpg.Connection, sources: SourcePool
) -> None:
    await merchant.execute(
        "CREATE VIEW {schema}.long AS SELECT repeat('a', n) AS id, 'p'::text AS payload "
        f"FROM unnest(ARRAY[1, {ID_BYTES}, {ID_BYTES + 1}]) AS n"
    )
    job, _ = await job_on(owner, f"{merchant.schema}.long")
    source = await open_readable_source(sources, job)
    with pytest.raises(SourceError, match="an id of more than 2,500 bytes, which begins with 'aaaa"):
        await highest_id(sources, source)
    for upper, planned in (("b", None), ("a" * ID_BYTES, 2)):
        if planned is None:
            await start_job(owner, job.job_no, upper_id=upper)
            with pytest.raises(SourceError, match="an id of more than 2,500 bytes"):
                await plan_page(owner, sources, await get_job(owner, job.token), source)
        else:
            other, _ = await job_on(owner, f"{merchant.schema}.long")
            await start_job(owner, other.job_no, upper_id=upper)
            page = await plan_page(owner, sources, await get_job(owner, other.token), source)
            assert page.records == planned


async def test_a_function_that_an_earlier_query_put_into_the_search_path_hides_no_long_id(
    merchant: Merchant, owner: asyncpg.Connection, sources: SourcePool
) -> None:
    await merchant.execute(
        "CREATE FUNCTION {schema}_2.octet_length(text) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1'"
    )
    reader = await sources_login(sources)
    await merchant.execute(f"GRANT USAGE ON SCHEMA {{schema}}_2 TO {reader}")
    await merchant.execute(
        "CREATE FUNCTION {schema}.prepare() RETURNS text LANGUAGE plpgsql AS $f$ BEGIN "
        "PERFORM pg_catalog.set_config('search_path', '{schema}_2, pg_catalog', false); RETURN 'p'; END $f$; "
        f"CREATE VIEW {{schema}}.hidden AS SELECT CASE WHEN {{schema}}.prepare() = 'p' THEN repeat('a', {ID_BYTES + 1}) END AS id, "
        "'p'::text AS payload"
    )
    job, _ = await job_on(owner, f"{merchant.schema}.hidden")
    source = await open_readable_source(sources, job)
    with pytest.raises(SourceError, match="an id of more than 2,500 bytes"):
        await highest_id(sources, source)


async def sources_login(sources: SourcePool) -> str:
    async with sources.transaction() as connection:
        return str(await connection.fetchval("SELECT quote_ident(session_user)"))


async def test_a_type_of_the_owner_s_that_is_called_bytea_is_no_bytea(
    merchant: Merchant, owner: asyncpg.Connection
) -> None:
    await merchant.execute(
        "CREATE TYPE {schema}.bytea AS (a text); "
        "CREATE VIEW {schema}.cast_away AS SELECT 1::bigint AS id, ROW(repeat('x', 100))::{schema}.bytea AS payload"
    )
    with pytest.raises(SourceError, match=r"'payload' is of type \S+\.bytea; a payload is bytea, text"):
        await inspect_source(owner, RecordsSpec(table=f"{merchant.schema}.cast_away"))


async def test_a_name_with_its_schema_means_no_table_of_that_whole_name_in_the_search_path(
    database: GuardedDatabase, merchant: Merchant, owner: asyncpg.Connection
) -> None:
    name = f"{merchant.schema}.receipts"
    await owner.execute(f'CREATE TABLE public."{name}" (id bigint PRIMARY KEY, payload text)')
    try:
        with pytest.raises(SourceError, match="no table or view"):  # not even where the schema has none
            await inspect_source(owner, RecordsSpec(table=name), hints=False)
        forged = await owner.fetchval("SELECT $1::text::regclass::oid", f'public."{name}"')
        spec = SigningJobSpec.model_validate({"records": {"table": name}})
        async with connect(database.urls["operator"]) as connection:
            with pytest.raises(asyncpg.InvalidParameterValueError, match="that the spec names"):
                await create_job(connection, "misled", spec, id_type="bigint", source_oid=forged)
        await merchant.execute("CREATE TABLE {schema}.receipts (id bigint PRIMARY KEY, payload text)")
        found = await inspect_source(owner, RecordsSpec(table=name))
        assert found.relation == name
        whole = await inspect_source(owner, RecordsSpec(table=f"public.{name}"))
        assert whole.relation == f'public."{name}"'
    finally:
        await owner.execute(f'DROP TABLE public."{name}"')


@pytest.mark.parametrize(
    ("change", "what"),
    [({"server": "2020-01-01"}, "another server"), ({"schema_oid": 1}, "another database")],
)
async def test_a_source_login_of_another_server_with_the_same_oids_is_refused(
    database: GuardedDatabase, owner: asyncpg.Connection, change: dict[str, object], what: str
) -> None:
    """As a standby or a copy has them. Both connections tell when their server started."""
    place = await find_place(owner)
    where = SourceDatabase.of(database.urls["signing"], database.urls["source"])
    async with connect(database.urls["source"]) as reading:
        with pytest.raises(UsageError, match=what):
            await check_source_login(reading, where, place=place._replace(**change))  # type: ignore[arg-type]
    async with open_sources(database, owner, database.urls["source"]):
        pass


async def test_an_id_that_is_longer_than_the_one_asked_for_fills_no_memory(
    merchant: Merchant, owner: asyncpg.Connection, sources: SourcePool
) -> None:
    """A collation may take it for the same, or a function may return another one when its value is not compared but returned."""
    await merchant.execute(
        """
        CREATE FUNCTION {schema}.either() RETURNS text LANGUAGE plpgsql STABLE AS $f$ BEGIN
            PERFORM set_config('mine.turn', (current_setting('mine.turn', true) IS DISTINCT FROM 'compare')::text, false);
            IF current_setting('mine.turn') = 'true' THEN
                PERFORM set_config('mine.turn', 'compare', false);
                RETURN 'a';
            END IF;
            RETURN repeat('a', 100000);
        END $f$;
        CREATE VIEW {schema}.long AS SELECT CASE WHEN n < 9 THEN {schema}.either() ELSE 'a' END AS id, n::text AS payload
        FROM generate_series(1, 9) AS n
        """
    )
    job, _ = await job_on(owner, f"{merchant.schema}.long")
    source = await open_readable_source(sources, job)
    rows, _ = await sources.fetch(source, source.read_sql(ranged=False), 100, ["a"])
    assert rows == [("a", b"9", 1)]
    async with sources.read(source) as reading:
        assert await reading.fetch(source.fill("audit_payloads"), 100, ["a"]) == [("a", 1, b"9")]
