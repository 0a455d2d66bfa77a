"""The owner of a table or view that a job signs: his code runs whenever somebody reads it, and may do nothing but compute."""

from __future__ import annotations

from pathlib import Path

import asyncpg
import pytest

from support.as_user import connect
from support.engine import add_batches, add_job, new_name
from support.guarded import GuardedDatabase, GuardedNats, workers
from support.merchant import Merchant, flood_of, job_on, outcome_of, read_all
from support.planning import job_of, spec_of
from support.waiting import eventually
from vaultstream.api import RecordsSpec, SigningJobSpec
from vaultstream.errors import SourceError, SourceReadError, VaultStreamError
from vaultstream.records.source import inspect_source, open_readable_source
from vaultstream.signing.read import read
from vaultstream.store import source_pool
from vaultstream.store.batches import highest_id, plan_page
from vaultstream.store.jobs import create_job, get_job, start_job
from vaultstream.store.source_pool import SourcePool
from vaultstream_operator.adapters.jetstream import JetStreamLags
from vaultstream_operator.adapters.postgres import PostgresStore
from vaultstream_operator.core.plan import StoreAction
from vaultstream_operator.core.view import StoredJob

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]


REFUSED = {
    "the wrapped keys": ("SELECT wrapped FROM vaultstream.key_material", "permission denied for schema"),
    "a job": ("UPDATE vaultstream.jobs SET message = 'mine'", "permission denied for schema"),
    "a lease": (
        "SELECT vaultstream.claim_batches(1, 'me', '{1}', 30)",
        "permission denied for schema",
    ),
    "the role of signers": ("SET ROLE vaultstream_signing", "permission denied to set role"),
    "another user": ("SET SESSION AUTHORIZATION postgres", "permission denied to set session auth"),
    "a write to a table of his own": ("INSERT INTO {schema}.loot VALUES ('x')", "read-only transaction"),
    "a table": ("CREATE TEMP TABLE mine (id int)", "read-only transaction"),
    "a number of a sequence": ("SELECT nextval('{schema}.numbers')", "read-only transaction"),
    "a transaction that writes": ("SET transaction_read_only = off", "read-write mode"),
    "a transaction that writes, by a function": (
        "SELECT set_config('transaction_read_only', 'off', false)",
        "read-write mode",
    ),
    "the end of the transaction": ("COMMIT", "transaction"),
    "a setting of the server": ("ALTER SYSTEM SET fsync = off", "ALTER SYSTEM"),
    "a program on the server": ("COPY (SELECT 1) TO PROGRAM 'true'", "permission denied"),
    "a file of the server": ("SELECT pg_read_file('PG_VERSION')", "permission denied"),
}


@pytest.mark.parametrize("what", REFUSED)
async def test_code_of_a_source_gets_nothing_that_its_reader_must_keep(
    merchant: Merchant, owner: asyncpg.Connection, sources: SourcePool, what: str
) -> None:
    await merchant.execute("CREATE SEQUENCE {schema}.numbers")
    await merchant.execute("GRANT USAGE ON SEQUENCE {schema}.numbers TO PUBLIC")
    statement, why = REFUSED[what]
    for before in ((), ("RESET ROLE", "SET LOCAL search_path = vaultstream")):
        told = await outcome_of(
            merchant, owner, sources, *before, statement.replace("{schema}", merchant.schema)
        )
        assert why in told, told


LEFT = {
    "search_path": ("SELECT set_config('search_path', 'evil', false)", "pg_catalog, pg_temp"),
    "default_transaction_read_only": ("SET default_transaction_read_only = off", "on"),
    "standard_conforming_strings": ("SET standard_conforming_strings = off", "on"),
    "statement_timeout": ("SET statement_timeout = '1ms'", "0"),
    "client_encoding": ("SET client_encoding = 'LATIN1'", "UTF8"),
}


async def test_what_code_of_a_source_leaves_in_the_session_does_not_meet_the_next_read(
    merchant: Merchant, owner: asyncpg.Connection, sources: SourcePool
) -> None:
    for statement, _ in LEFT.values():
        assert await outcome_of(merchant, owner, sources, statement) == "done"
    assert await outcome_of(merchant, owner, sources, "SELECT pg_advisory_lock(7)", "LISTEN news") == "done"
    async with sources.transaction() as connection:
        left = {name: await connection.fetchval(f"SHOW {name}") for name in LEFT}
        locks = await connection.fetchval(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
        )
        assert await connection.fetchval("SELECT count(*) FROM pg_listening_channels()") == 0
    assert left == {name: value for name, (_, value) in LEFT.items()}
    assert locks == 0


async def test_nor_does_it_meet_the_next_read_that_ends_the_transaction_of_the_one_before(
    merchant: Merchant, owner: asyncpg.Connection, sources: SourcePool
) -> None:
    statements = [statement for statement, _ in LEFT.values()] + ["SELECT pg_advisory_lock(7)"]
    quoted = ", ".join("'" + statement.replace("'", "''") + "'" for statement in statements)
    await merchant.execute(
        f"CREATE VIEW {{schema}}.leaves AS SELECT 1::bigint AS id, {{schema}}.attempt({quoted}) AS payload"
    )
    _, source = await job_on(owner, f"{merchant.schema}.leaves")
    shown = ", ".join(f"current_setting('{name}')" for name in LEFT)
    for _ in range(3):
        [left], _ = await sources.fetch(
            source,
            f"SELECT {shown}, (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())",
        )
        assert tuple(left) == (*(value for _, value in LEFT.values()), 0)
        [row], _ = await sources.fetch(source, source.read_range_sql(), 10_000, 1, 1)
        assert row["payload"] == b"done"


KINDS = {
    "READ WRITE": "read-write mode",
    "ISOLATION LEVEL SERIALIZABLE": "must be called before any query",
    "DEFERRABLE": "cannot be called within a subtransaction",
}


async def test_code_of_a_source_does_not_choose_the_kind_of_transaction_of_the_next_read(
    merchant: Merchant, owner: asyncpg.Connection, sources: SourcePool
) -> None:
    """The next transaction takes over its kind from the one that it ends."""
    shown = ", ".join(
        f"current_setting('transaction_{name}')" for name in ("read_only", "isolation", "deferrable")
    )
    await merchant.execute(
        "CREATE FUNCTION {schema}.insist(what text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN EXECUTE what; RETURN 'done'; END $$"
    )
    for number, (kind, why) in enumerate(KINDS.items()):
        await merchant.execute(
            f"CREATE VIEW {{schema}}.chooses_{number} AS SELECT id, CASE id WHEN 1 THEN "
            f"{{schema}}.attempt('SET TRANSACTION {kind}') ELSE {{schema}}.insist('SET TRANSACTION {kind}') END AS payload "
            "FROM generate_series(1::bigint, 2) AS id"
        )
        _, source = await job_on(owner, f"{merchant.schema}.chooses_{number}")
        [row], _ = await sources.fetch(source, source.read_range_sql(), 10_000, 1, 1)
        assert why in row["payload"].decode(), row
        [now], _ = await sources.fetch(source, f"SELECT {shown}")
        with pytest.raises(SourceReadError, match="before any query"):
            await sources.fetch(source, source.read_range_sql(), 10_000, 2, 2)
        [later], _ = await sources.fetch(source, f"SELECT {shown}")
        assert tuple(now) == tuple(later) == ("on", "read committed", "off")


async def test_a_source_that_writes_when_it_is_read_is_refused_with_the_reason(
    merchant: Merchant, owner: asyncpg.Connection, sources: SourcePool
) -> None:
    """Elsewhere the same error means that Postgres is a standby, and work is retried without end."""
    await merchant.execute(
        "CREATE FUNCTION {schema}.log(p text) RETURNS text LANGUAGE sql AS "
        "$$ INSERT INTO {schema}.loot VALUES (p); SELECT p $$"
    )
    view = f"{merchant.schema}.logged"
    await merchant.execute(f"CREATE VIEW {view} AS SELECT 1 AS id, {{schema}}.log('x') AS payload")
    job, source = await job_on(owner, view)
    with pytest.raises(SourceError, match="runs code that writes"):
        await read_all(sources, source)
    assert job.source_oid == source.oid


async def test_a_job_over_a_source_that_attacks_whoever_reads_it_ends_and_the_attack_got_nothing(
    database: GuardedDatabase,
    nats: GuardedNats,
    owner: asyncpg.Connection,
    merchant: Merchant,
    tmp_path: Path,
) -> None:
    """As seen before: a view's WHERE copied all wrapped keys as the signing login, and updated another job as records'."""
    other = await add_job(owner, keys=1)
    await add_batches(owner, other, [1])
    await merchant.execute("CREATE TABLE {schema}.plain (id bigint PRIMARY KEY, payload text)")
    await merchant.execute("INSERT INTO {schema}.plain SELECT n, 'r' || n FROM generate_series(1, 100) AS n")
    attack = (
        "{schema}.attempt('INSERT INTO {schema}.loot SELECT encode(wrapped, ''hex'') FROM vaultstream.key_material') <> '' "
        f"AND {{schema}}.attempt('UPDATE vaultstream.jobs SET message = ''mine'' WHERE job_no = {other.job_no}') <> ''"
    )
    await merchant.execute(
        f"CREATE VIEW {{schema}}.receipts AS SELECT * FROM {{schema}}.plain WHERE {attack}"
    )
    table = f"{merchant.schema}.receipts"
    view = job_of(spec_of(records={"table": table}, batchSize=10, keys={"count": 3, "algorithm": "ED25519"}))
    async with (
        JetStreamLags(nats.address("operator")) as lags,
        PostgresStore(database.urls["operator"], lags) as store,
    ):
        assert await store.act(StoreAction.CREATE, view) is None
        found = await store.find(view)
        assert isinstance(found, StoredJob)
        async with workers(database, nats, found.token, tmp_path):

            async def complete() -> bool:
                now = await store.find(view)
                return isinstance(now, StoredJob) and now.state == "Complete" and now.signed == 100

            await eventually(complete, seconds=120)
        assert await merchant.connection.fetchval(f"SELECT count(*) FROM {merchant.schema}.loot") == 0
        assert (await get_job(owner, other.token)).message is None
        assert await store.act(StoreAction.DELETE, view) is None


async def test_code_in_a_policy_of_a_source_is_not_run(
    merchant: Merchant, owner: asyncpg.Connection, sources: SourcePool
) -> None:
    await merchant.execute("CREATE TABLE {schema}.guarded (id bigint PRIMARY KEY, payload text)")
    await merchant.execute("INSERT INTO {schema}.guarded VALUES (1, 'a')")
    await merchant.execute("ALTER TABLE {schema}.guarded ENABLE ROW LEVEL SECURITY")
    await merchant.execute("CREATE POLICY trap ON {schema}.guarded USING (1 / (id - 1) = 0)")
    job, _ = await job_on(owner, f"{merchant.schema}.guarded")
    with pytest.raises(SourceError, match="row-level security of"):
        await open_readable_source(sources, job)
    source = await inspect_source(owner, job.spec.records)
    with pytest.raises(SourceError, match="row-level security"):  # and not: division by zero
        await highest_id(sources, source)


@pytest.mark.parametrize("table", ["key_material", "jobs"])
async def test_a_view_over_our_schema_is_not_read(
    database: GuardedDatabase,
    merchant: Merchant,
    owner: asyncpg.Connection,
    sources: SourcePool,
    table: str,
) -> None:
    """He can't create it. One that someone with more privileges creates for him, with those of its reader, is read by nobody."""
    other = await add_job(owner, keys=1)
    await owner.execute(
        "INSERT INTO vaultstream.key_material SELECT key_no, 1, 'kek', 'wrapped' FROM vaultstream.keys WHERE job_no = $1",
        other.job_no,
    )
    column = {"key_material": "key_no AS id, wrapped AS payload", "jobs": "job_no AS id, token AS payload"}
    body = f"SELECT {column[table]} FROM vaultstream.{table}"
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await merchant.execute(f"CREATE VIEW {{schema}}.ours AS {body}")
    async with connect(database.admin_url) as admin:
        await admin.execute(f"CREATE VIEW {merchant.schema}.ours WITH (security_invoker) AS {body}")
        await admin.execute(f"GRANT SELECT ON {merchant.schema}.ours TO PUBLIC")
    assert await owner.fetchval(f"SELECT count(*) FROM ({body}) AS ours") > 0
    job, _ = await job_on(owner, f"{merchant.schema}.ours")
    with pytest.raises(SourceError, match="row-level security of vaultstream"):
        await open_readable_source(sources, job)
    source = await inspect_source(owner, job.spec.records)
    with pytest.raises(SourceError, match=r"permission denied for table|row-level security"):
        await highest_id(sources, source)
    with pytest.raises(SourceError, match=r"permission denied for table|row-level security"):
        await read_all(sources, source)


async def test_a_view_that_returns_one_id_many_times_does_not_fill_the_memory_of_a_signer(
    merchant: Merchant, owner: asyncpg.Connection, sources: SourcePool
) -> None:
    job, _ = await flood_of(merchant, owner)
    source = await open_readable_source(sources, job)
    for arguments, ranged in ((["{1}", "{10}"], True), (["{1}"], False)):
        async with sources.read(source) as connection:
            rows = await connection.fetch(source.read_sql(ranged=ranged), 10_000, *arguments)
        assert len(rows) == (21 if ranged else 3)
    rows, _ = await sources.fetch(source, source.read_range_sql(), 10_000, 1, 10)
    assert len(rows) == 21
    for wanted in ([range(1, 11)], [range(1, 2), range(9, 10)], [[1]]):
        with pytest.raises(VaultStreamError, match="more than two rows for each id"):
            await read(sources, source, wanted, cap=10_000, limit=10_000)


async def test_a_payload_is_used_in_several_places_only_if_it_is_on_disk(
    merchant: Merchant, owner: asyncpg.Connection, sources: SourcePool
) -> None:
    """Else code could return a short payload where its size is compared, and a long one where it is read."""
    await merchant.execute("CREATE TABLE {schema}.bytes (id bigint PRIMARY KEY, payload bytea)")
    await merchant.execute("INSERT INTO {schema}.bytes VALUES (1, 'long'), (2, 'a'), (3, NULL)")
    await merchant.execute("CREATE TABLE {schema}.texts (id bigint PRIMARY KEY, payload text)")
    await merchant.execute("CREATE VIEW {schema}.shown AS SELECT * FROM {schema}.bytes")
    stored = {}
    for name in ("bytes", "texts", "shown"):
        job, _ = await job_on(owner, f"{merchant.schema}.{name}")
        source = await open_readable_source(sources, job)
        stored[name] = source.stored
        rows, _ = await sources.fetch(source, source.read_range_sql(), 2, 1, 2)
        assert [tuple(row) for row in rows] == ([] if name == "texts" else [(1, None, 4), (2, b"a", 1)])
    assert stored == {"bytes": True, "texts": False, "shown": False}


async def test_code_that_ignores_a_cancellation_does_not_outlive_the_read(
    merchant: Merchant,
    owner: asyncpg.Connection,
    sources: SourcePool,
    database: GuardedDatabase,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(source_pool, "END_SECONDS", 1.0)
    await merchant.execute(
        "CREATE FUNCTION {schema}.forever() RETURNS text LANGUAGE plpgsql AS $f$ BEGIN LOOP BEGIN "
        "PERFORM pg_catalog.pg_sleep(30); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END $f$"
    )
    await merchant.execute(
        "CREATE VIEW {schema}.hang AS SELECT 1::bigint AS id, {schema}.forever() AS payload"
    )
    job, _ = await job_on(owner, f"{merchant.schema}.hang")
    source = await open_readable_source(sources, job)
    with pytest.raises(SourceReadError, match="too long"):  # noqa: PT012 - the read is to end by it
        async with sources.read(source) as connection:
            pid = connection.get_server_pid()
            await connection.fetch(source.read_sql(ranged=True), 10_000, "{0}", "{10}", timeout=1)

    async def gone() -> bool:
        return not await owner.fetchval("SELECT count(*) FROM pg_stat_activity WHERE pid = $1", pid)

    await eventually(gone, seconds=20)


async def test_objects_in_the_search_path_do_not_get_into_our_queries(
    database: GuardedDatabase, owner: asyncpg.Connection, sources: SourcePool
) -> None:
    """Whoever may create an operator in a schema of the path could otherwise choose what is signed of other people's tables."""
    await owner.execute(
        """
        CREATE TABLE public.hijacked (id varchar(9) PRIMARY KEY, payload text);
        INSERT INTO public.hijacked VALUES ('a', 'one'), ('b', 'two');
        CREATE FUNCTION public.trap(varchar, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'hijacked'; END $$;
        CREATE OPERATOR public.<= (FUNCTION = public.trap, LEFTARG = varchar, RIGHTARG = text);
        CREATE OPERATOR public.> (FUNCTION = public.trap, LEFTARG = varchar, RIGHTARG = text);
        CREATE OPERATOR public.= (FUNCTION = public.trap, LEFTARG = varchar, RIGHTARG = text);
        CREATE FUNCTION public.format(text, name, name) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE 'hijacked'; END $$;
        """
    )
    await owner.execute(f"GRANT SELECT ON public.hijacked TO {database.logins['source']}")
    try:
        async with connect(database.urls["operator"]) as connection:
            found = await inspect_source(connection, RecordsSpec(table="hijacked"))
        spec = SigningJobSpec.model_validate({"records": {"table": "hijacked"}, "batchSize": 1})
        job = await create_job(owner, new_name("job"), spec, id_type=found.id_type, source_oid=found.oid)
        source = await open_readable_source(sources, job)
        await start_job(owner, job.job_no, upper_id=await highest_id(sources, source))
        page = await plan_page(owner, sources, await get_job(owner, job.token), source)
        assert page.records == 2
        async with sources.read(source) as connection:
            rows = await connection.fetch(source.read_sql(ranged=False), 100, ["a"])
        assert [row["payload"] for row in rows] == [b"one"]
    finally:
        await owner.execute(
            "DROP TABLE public.hijacked; DROP FUNCTION public.trap(varchar, text) CASCADE; "
            "DROP FUNCTION public.format(text, name, name)"
        )
