"""The owner of a table that a job signs: another relation under its name, or one that is ours, is not read for the job."""

from __future__ import annotations

import asyncpg
import pytest

from support.as_user import connect
from support.engine import new_name
from support.guarded import GuardedDatabase
from support.merchant import Merchant, job_on, read_all
from vaultstream.api import RecordsSpec, SigningJobSpec
from vaultstream.errors import SourceError
from vaultstream.records.source import inspect_source, open_readable_source
from vaultstream.store.batches import highest_id
from vaultstream.store.jobs import Job, accept_source, create_job, get_job
from vaultstream.store.source_pool import SourcePool

pytestmark = pytest.mark.integration


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


@pytest.fixture
async def job(owner: asyncpg.Connection, receipts: str) -> Job:
    job, _ = await job_on(owner, receipts)
    return job


@pytest.mark.parametrize("how", SWAPS)
async def test_a_relation_that_gets_the_name_of_a_jobs_source_is_not_read_for_it(
    merchant: Merchant,
    sources: SourcePool,
    job: Job,
    how: str,
) -> None:
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
    merchant: Merchant, sources: SourcePool, job: Job
) -> None:
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
    database: GuardedDatabase, merchant: Merchant, sources: SourcePool, job: Job
) -> None:
    """No lock on a table keeps its schema's name."""
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
            rows = await connection.fetch(source.read_sql(ranged=True), 10_000, "{0}", "{10}")
            await merchant.execute(swap)
    assert [row["payload"] for row in rows] == [b"forged"]
    assert await read_all(sources, source) == [b"agreed"]


async def test_only_the_owner_of_the_schema_accepts_another_relation(
    database: GuardedDatabase,
    merchant: Merchant,
    owner: asyncpg.Connection,
    sources: SourcePool,
    job: Job,
) -> None:
    await merchant.execute(SWAPS["renamed"])
    oid = await merchant.connection.fetchval("SELECT $1::text::regclass::oid", job.spec.records.table)
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
