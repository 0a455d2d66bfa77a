"""The owner of a table or view that a job signs: his code runs whenever somebody reads it, and may do nothing but compute."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from support.engine import add_batches, add_job, new_name
from support.guarded import GuardedDatabase, GuardedNats, start_worker
from support.merchant import Merchant, job_on, open_sources, outcome_of, read_all
from support.planning import job_of, spec_of
from support.waiting import eventually
from vaultstream.api import RecordsSpec, SigningJobSpec
from vaultstream.crypto.keyring import create_keyring
from vaultstream.errors import SourceError, SourceReadError, UsageError, VaultStreamError
from vaultstream.records.source import inspect_source, open_readable_source
from vaultstream.signing.read import read
from vaultstream.store import source_pool
from vaultstream.store.batches import highest_id, plan_page
from vaultstream.store.database import connect
from vaultstream.store.jobs import accept_source, create_job, get_job, start_job
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


@asynccontextmanager
async def workers(
    database: GuardedDatabase, nats: GuardedNats, token: str, folder: Path
) -> AsyncIterator[None]:
    create_keyring(folder / "kek")
    async with AsyncExitStack() as stack:
        for part in ("keys", "records", "signing"):
            environment = {
                **database.environment(part),
                **nats.environment(part),
                **({"VAULTSTREAM_KEK_FILE": str(folder / "kek")} if part != "records" else {}),
            }
            process = await start_worker(part, token, environment, folder / f"{part}.log")

            async def end(process: asyncio.subprocess.Process = process) -> None:
                if process.returncode is None:
                    process.terminate()
                await asyncio.wait_for(process.wait(), 30)

            stack.push_async_callback(end)
        yield


@pytest.mark.parametrize("kind", ["view", "policy"])
async def test_a_job_over_a_source_that_attacks_whoever_reads_it_ends_and_the_attack_got_nothing(  # noqa: PLR0917 - fixtures
    database: GuardedDatabase,
    nats: GuardedNats,
    owner: asyncpg.Connection,
    merchant: Merchant,
    tmp_path: Path,
    kind: str,
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
    table = f"{merchant.schema}.plain"
    if kind == "view":
        await merchant.execute(
            f"CREATE VIEW {{schema}}.receipts AS SELECT * FROM {{schema}}.plain WHERE {attack}"
        )
        table = f"{merchant.schema}.receipts"
    else:
        await merchant.execute("ALTER TABLE {schema}.plain ENABLE ROW LEVEL SECURITY")
        await merchant.execute(f"CREATE POLICY trap ON {{schema}}.plain USING ({attack})")
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


FOREIGN = [
    "vaultstream.jobs",
    "vaultstream.key_material",
    "pg_catalog.pg_authid",
    "information_schema.tables",
]


@pytest.mark.parametrize("table", FOREIGN)
async def test_a_relation_of_ours_or_of_postgres_is_no_source(
    database: GuardedDatabase, owner: asyncpg.Connection, table: str
) -> None:
    with pytest.raises(SourceError, match="belongs to VaultStream or to Postgres"):
        await inspect_source(owner, RecordsSpec(table=table))
    spec = SigningJobSpec.model_validate({"records": {"table": table}})
    oid = await owner.fetchval("SELECT $1::text::regclass::oid", table)
    async with connect(database.urls["operator"]) as connection:  # the check is Postgres's too
        with pytest.raises(asyncpg.InvalidParameterValueError, match="that a job may sign"):
            await create_job(connection, new_name("job"), spec, id_type="text", source_oid=oid)


async def test_a_view_over_our_schema_is_not_read(
    merchant: Merchant, owner: asyncpg.Connection, sources: SourcePool
) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await merchant.execute(
            "CREATE VIEW {schema}.keys AS SELECT key_no AS id, wrapped AS payload FROM vaultstream.key_material"
        )
    told = await outcome_of(
        merchant, owner, sources, "SELECT key_no, wrapped FROM vaultstream.key_material LIMIT 1"
    )
    assert "permission denied" in told


@pytest.fixture
async def receipts(merchant: Merchant) -> str:
    await merchant.execute("CREATE TABLE {schema}.receipts (id bigint PRIMARY KEY, payload text)")
    await merchant.execute("INSERT INTO {schema}.receipts VALUES (1, 'agreed')")
    await merchant.execute("CREATE TABLE {schema}.forged (id bigint PRIMARY KEY, payload text)")
    await merchant.execute("INSERT INTO {schema}.forged VALUES (1, 'forged')")
    return f"{merchant.schema}.receipts"


SWAPS = {
    "renamed": (
        "ALTER TABLE {schema}.receipts RENAME TO former; ALTER TABLE {schema}.forged RENAME TO receipts"
    ),
    "dropped and made again": (
        "DROP TABLE {schema}.receipts; CREATE VIEW {schema}.receipts AS SELECT * FROM {schema}.forged"
    ),
    "moved": (
        "ALTER TABLE {schema}.receipts SET SCHEMA {schema}_2; ALTER TABLE {schema}.forged RENAME TO receipts"
    ),
}


@pytest.mark.parametrize("how", SWAPS)
async def test_a_relation_that_gets_the_name_of_a_jobs_source_is_not_read_for_it(
    merchant: Merchant,
    owner: asyncpg.Connection,
    sources: SourcePool,
    receipts: str,
    how: str,
) -> None:
    job, _ = await job_on(owner, receipts)
    source = await open_readable_source(sources, job)
    assert await read_all(sources, source) == [b"agreed"]
    await merchant.execute(SWAPS[how])
    with pytest.raises(SourceError, match="no longer the relation"):  # by a signer that has it open
        await read_all(sources, source)
    with pytest.raises(SourceError, match="no longer the relation"):  # by one that starts now
        await open_readable_source(sources, job)
    with pytest.raises(SourceError, match="no longer the relation"):  # by planning
        await highest_id(sources, source)


async def test_code_that_replaces_our_prepared_statements_does_not_forge_which_relation_was_read(
    merchant: Merchant, owner: asyncpg.Connection, sources: SourcePool, receipts: str
) -> None:
    job, _ = await job_on(owner, receipts)
    source = await open_readable_source(sources, job)
    assert await read_all(sources, source) == [b"agreed"]
    await merchant.execute(
        "CREATE FUNCTION {schema}.swap() RETURNS text LANGUAGE plpgsql AS $f$ DECLARE r record; BEGIN "
        "FOR r IN SELECT name FROM pg_catalog.pg_prepared_statements WHERE statement LIKE '%to_regclass($1::text)%' LOOP "
        "EXECUTE pg_catalog.format('DEALLOCATE %I', r.name); "
        f"EXECUTE pg_catalog.format('PREPARE %I(text) AS SELECT {source.oid}::oid', r.name); "
        "END LOOP; RETURN 'forged'; END $f$"
    )
    await merchant.execute(
        "ALTER TABLE {schema}.receipts RENAME TO former; "
        "CREATE VIEW {schema}.receipts AS SELECT 1::bigint AS id, {schema}.swap() AS payload"
    )
    for _ in range(2):
        with pytest.raises(SourceError, match="no longer the relation"):
            await read_all(sources, source)


async def test_a_schema_that_has_another_name_only_during_a_read_is_noticed(
    database: GuardedDatabase,
    merchant: Merchant,
    owner: asyncpg.Connection,
    sources: SourcePool,
    receipts: str,
) -> None:
    """No lock on a table keeps its schema's name."""
    job, _ = await job_on(owner, receipts)
    source = await open_readable_source(sources, job)
    name = merchant.schema
    admin = await asyncpg.connect(database.admin_url)
    await admin.execute(f"GRANT CREATE ON DATABASE {database.name} TO {merchant.login}")
    await admin.close()
    await merchant.execute("CREATE TABLE {schema}_2.receipts (id bigint PRIMARY KEY, payload text)")
    await merchant.execute("INSERT INTO {schema}_2.receipts VALUES (1, 'forged')")
    reader = database.logins["source"]
    await merchant.execute(
        f"GRANT USAGE ON SCHEMA {name}_2 TO {reader}; GRANT SELECT ON {name}_2.receipts TO {reader}"
    )
    swap = (
        f"BEGIN; ALTER SCHEMA {name} RENAME TO {name}_3; ALTER SCHEMA {name}_2 RENAME TO {name}; "
        f"ALTER SCHEMA {name}_3 RENAME TO {name}_2; COMMIT"
    )
    with pytest.raises(asyncpg.SerializationError, match="altered while it was read"):  # noqa: PT012 - raised at the end
        async with sources.read(source) as connection:
            await merchant.execute(swap)
            rows = await connection.fetch(source.read_sql(ranged=True), 10_000, [0], [10])
            await merchant.execute(swap)
    assert [row["payload"] for row in rows] == [b"forged"]
    assert await read_all(sources, source) == [b"agreed"]


async def test_a_view_that_returns_one_id_many_times_does_not_fill_the_memory_of_a_signer(
    merchant: Merchant, owner: asyncpg.Connection, sources: SourcePool
) -> None:
    await merchant.execute(
        "CREATE VIEW {schema}.flood AS SELECT 1::bigint AS id, repeat('x', 1000) AS payload FROM generate_series(1, 4000)"
    )
    job, _ = await job_on(owner, f"{merchant.schema}.flood")
    source = await open_readable_source(sources, job)
    for arguments, ranged in (([[1], [10]], True), ([[1]], False)):
        async with sources.read(source) as connection:
            rows = await connection.fetch(source.read_sql(ranged=ranged), 10_000, *arguments)
        assert len(rows) == (21 if ranged else 3)
    for ids in (range(1, 11), [1]):
        with pytest.raises(VaultStreamError, match="more than two rows for each id"):
            await read(sources, source, [ids], cap=10_000, limit=10_000)


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
            await connection.fetch(source.read_sql(ranged=True), 10_000, [0], [10], timeout=1)

    async def gone() -> bool:
        return not await owner.fetchval("SELECT count(*) FROM pg_stat_activity WHERE pid = $1", pid)

    await eventually(gone, seconds=20)


async def test_only_the_owner_of_the_schema_accepts_another_relation(
    database: GuardedDatabase,
    merchant: Merchant,
    owner: asyncpg.Connection,
    sources: SourcePool,
    receipts: str,
) -> None:
    job, _ = await job_on(owner, receipts)
    await merchant.execute(SWAPS["renamed"])
    oid = await merchant.connection.fetchval("SELECT $1::text::regclass::oid", receipts)
    for part in ("operator", "records", "signing", "keys", "auditor", "source"):
        async with connect(database.urls[part]) as connection:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await accept_source(connection, job.job_no, oid)
    await accept_source(owner, job.job_no, oid)
    job = await get_job(owner, job.token)
    assert await read_all(sources, await open_readable_source(sources, job)) == [b"forged"]


async def test_a_job_is_not_created_for_another_relation_than_its_spec_names(
    database: GuardedDatabase, merchant: Merchant, owner: asyncpg.Connection, receipts: str
) -> None:
    spec = SigningJobSpec.model_validate({"records": {"table": receipts}})
    oid = await merchant.connection.fetchval("SELECT $1::text::regclass::oid", f"{merchant.schema}.forged")
    async with connect(database.urls["operator"]) as connection:
        with pytest.raises(asyncpg.InvalidParameterValueError, match="that the spec names"):
            await create_job(connection, new_name("job"), spec, id_type="bigint", source_oid=oid)


async def test_a_relation_is_stored_for_an_older_job_once(
    database: GuardedDatabase, merchant: Merchant, owner: asyncpg.Connection, receipts: str
) -> None:
    job, source = await job_on(owner, receipts)
    await owner.execute("UPDATE vaultstream.jobs SET source_oid = NULL WHERE job_no = $1", job.job_no)
    pin = "SELECT vaultstream.pin_source($1, $2)"
    async with connect(database.urls["records"]) as connection:
        with pytest.raises(asyncpg.InvalidParameterValueError):
            await connection.execute(
                pin, job.job_no, await owner.fetchval("SELECT 'pg_class'::regclass::oid")
            )
        await connection.execute(pin, job.job_no, source.oid)
        await merchant.execute(SWAPS["renamed"])
        forged = await merchant.connection.fetchval("SELECT $1::text::regclass::oid", receipts)
        await connection.execute(pin, job.job_no, forged)
    assert (await get_job(owner, job.token)).source_oid == source.oid


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


@pytest.fixture
async def strangers(database: GuardedDatabase) -> AsyncIterator[dict[str, str]]:
    """URLs of logins that are no source logins, by what they are."""
    admin = await asyncpg.connect(database.superuser_url)
    base, urls = new_name("stranger"), {}
    kinds = {
        "member": "NOINHERIT IN ROLE vaultstream_signing",
        "writer": "IN ROLE pg_write_all_data",
        "program": "IN ROLE pg_execute_server_program",
        "superuser": "SUPERUSER",
        "replication": "REPLICATION",
        "creator": "CREATEROLE",
        "row_reader": "BYPASSRLS",
        "signaler": "IN ROLE pg_signal_backend",
        "monitor": "IN ROLE pg_monitor",
    }
    for kind, clause in kinds.items():
        await admin.execute(f"CREATE ROLE {base}_{kind} LOGIN PASSWORD 'secret' {clause}")
        urls[kind] = database.url_of(f"{base}_{kind}", "secret")
    yield urls
    for kind in kinds:
        await admin.execute(f"DROP ROLE {base}_{kind}")
    await admin.close()


@pytest.mark.parametrize(
    "kind",
    [
        "member",
        "writer",
        "program",
        "superuser",
        "replication",
        "creator",
        "row_reader",
        "signaler",
        "monitor",
        "owner",
        "records",
    ],
)
async def test_a_login_with_more_than_reading_does_not_read_sources(
    database: GuardedDatabase, owner: asyncpg.Connection, strangers: dict[str, str], kind: str
) -> None:
    url = {**strangers, **database.urls}[kind]
    with pytest.raises(UsageError, match="VAULTSTREAM_SOURCE_DATABASE_URL: the user") as caught:
        async with open_sources(database, owner, url):
            pass
    assert "member of no role" in (caught.value.hint or "")


async def test_a_login_and_its_group_may_be_named_after_the_product(
    database: GuardedDatabase, owner: asyncpg.Connection
) -> None:
    """As in the bundled Postgres: a name gives no privilege."""
    async with connect(database.superuser_url) as admin:
        group = f"vaultstream_{new_name('source')}"
        await admin.execute(f"CREATE ROLE {group}")
        await admin.execute(f"CREATE ROLE {group}_ns LOGIN PASSWORD 'secret' IN ROLE {group}")
        try:
            async with (
                open_sources(database, owner, database.url_of(f"{group}_ns", "secret")) as sources,
                sources.transaction() as reading,
            ):
                assert await reading.fetchval("SELECT session_user::text") == f"{group}_ns"
        finally:
            await admin.execute(f"DROP ROLE {group}_ns")
            await admin.execute(f"DROP ROLE {group}")


@pytest.mark.parametrize(("part", "works"), [("owner", True), ("records", False), ("signing", False)])
async def test_without_a_source_login_only_the_one_who_does_everything_reads_sources(
    database: GuardedDatabase, owner: asyncpg.Connection, part: str, works: bool
) -> None:
    if works:
        async with (
            open_sources(database, owner, None, part=part) as sources,
            sources.transaction() as reading,
        ):
            assert await reading.fetchval("SHOW transaction_read_only") == "on"
        return
    with pytest.raises(UsageError, match="VAULTSTREAM_SOURCE_DATABASE_URL is not set"):
        async with open_sources(database, owner, None, part=part):
            pass


async def test_a_source_login_of_another_database_is_refused(
    database: GuardedDatabase, owner: asyncpg.Connection
) -> None:
    elsewhere = database.urls["source"].replace(f"/{database.name}?", "/postgres?")
    with pytest.raises(UsageError, match="another database"):
        async with open_sources(database, owner, elsewhere):
            pass


async def test_a_hint_names_only_what_its_reader_may_see(
    database: GuardedDatabase, merchant: Merchant, owner: asyncpg.Connection, receipts: str
) -> None:
    await owner.execute("CREATE TABLE public.salaries (id bigint, payload text, bonus text)")
    await owner.execute(f"GRANT SELECT (id, payload) ON public.salaries TO {merchant.login}")
    await owner.execute("CREATE TABLE public.secret_plans (id bigint, payload text)")
    try:
        hints = []
        for table, column in (("secret_plan", "payload"), ("zzz", "payload"), ("salaries", "bonsu")):
            for connection in (merchant.connection, owner):
                with pytest.raises(SourceError) as caught:
                    await inspect_source(
                        connection,
                        RecordsSpec(table=table, payload_column=column),
                        hints=connection is merchant.connection,
                    )
                hints.append(caught.value.hint or "")
        assert not [hint for hint in hints if "secret_plans" in hint or "bonus" in hint]
        assert "receipts" in hints[2]
        assert not [hint for hint in hints[1::2] if "salaries" in hint or "receipts" in hint]
    finally:
        await owner.execute("DROP TABLE public.salaries, public.secret_plans")
