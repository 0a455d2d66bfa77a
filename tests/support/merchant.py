"""The owner of a table or view that a job signs, with a login and a schema of his own, and reads of his records."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg
import pytest

from support.as_user import connect
from support.engine import new_name
from support.guarded import GuardedDatabase
from vaultstream.api import RecordsSpec, SigningJobSpec
from vaultstream.records.source import Source, inspect_source, open_readable_source
from vaultstream.store.database import open_pool
from vaultstream.store.jobs import Job, create_job
from vaultstream.store.source_login import SourceDatabase, find_place
from vaultstream.store.source_pool import SourcePool, open_source_pool

ATTEMPT = """
CREATE FUNCTION {schema}.attempt(VARIADIC statements text[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE statement text;
BEGIN
    FOREACH statement IN ARRAY statements LOOP
        EXECUTE statement;
    END LOOP;
    RETURN 'done';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLERRM;
END $$
"""
"""Runs statements and returns what came of it: 'done', or why it failed."""


@dataclass(frozen=True)
class Merchant:
    """An owner of tables, with a login and a schema of his own. No login of ours trusts him with anything but his records."""

    login: str
    schema: str
    connection: asyncpg.Connection

    async def execute(self, statement: str) -> None:
        await self.connection.execute(statement.replace("{schema}", self.schema))


@pytest.fixture
async def merchant(database: GuardedDatabase, owner: asyncpg.Connection) -> AsyncIterator[Merchant]:
    name, password = new_name("merchant"), secrets.token_hex(8)
    admin = await asyncpg.connect(database.admin_url)
    try:
        await admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
        await admin.execute(f"CREATE SCHEMA {name} AUTHORIZATION {name}")
        await admin.execute(f"CREATE SCHEMA {name}_2 AUTHORIZATION {name}")
        async with connect(database.url_of(name, password)) as connection:
            merchant = Merchant(name, name, connection)
            await merchant.execute(ATTEMPT)
            await merchant.execute("CREATE TABLE {schema}.loot (what text)")
            await merchant.execute("GRANT INSERT ON {schema}.loot TO PUBLIC")
            readers = ", ".join(database.logins[part] for part in ("source", "records", "signing", "auditor"))
            await merchant.execute(f"GRANT USAGE ON SCHEMA {{schema}} TO {readers}")
            await merchant.execute(
                f"ALTER DEFAULT PRIVILEGES IN SCHEMA {{schema}} GRANT SELECT ON TABLES TO {readers}"
            )
            yield merchant
    finally:
        await admin.execute(f"DROP OWNED BY {name} CASCADE; DROP ROLE {name}")
        await admin.close()


@pytest.fixture
async def sources(database: GuardedDatabase, owner: asyncpg.Connection) -> AsyncIterator[SourcePool]:
    """One connection under the source login, so that what a read leaves in the session meets the next one."""
    async with open_sources(database, owner, database.urls["source"]) as pool:
        yield pool


@asynccontextmanager
async def open_sources(
    database: GuardedDatabase, owner: asyncpg.Connection, source_url: str | None, *, part: str = "signing"
) -> AsyncIterator[SourcePool]:
    place = await find_place(owner)
    where = SourceDatabase.of(database.urls[part], source_url)
    async with (
        open_pool(database.urls[part], role="test", size=1) as ours,
        open_source_pool(where, place=place, ours=ours, role="test", size=1) as pool,
    ):
        yield pool


async def job_on(owner: asyncpg.Connection, table: str) -> tuple[Job, Source]:
    """Creates a job as its creator does, and returns it with the source as the creator saw it."""
    source = await inspect_source(owner, RecordsSpec(table=table))
    spec = SigningJobSpec.model_validate({"records": {"table": table}, "keys": {"count": 1}})
    job = await create_job(
        owner, new_name("job").replace("_", "-"), spec, id_type=source.id_type, source_oid=source.oid
    )
    return job, source


async def flood_of(merchant: Merchant, owner: asyncpg.Connection) -> tuple[Job, Source]:
    """Creates a job on a view that returns one id 4,000 times, with payloads of 1,000 bytes."""
    await merchant.execute(
        "CREATE VIEW {schema}.flood AS SELECT 1::bigint AS id, repeat('x', 1000) AS payload FROM generate_series(1, 4000)"
    )
    return await job_on(owner, f"{merchant.schema}.flood")


async def read_all(sources: SourcePool, source: Source) -> list[bytes]:
    """Reads as a signer does."""
    async with sources.read(source) as connection:
        rows = await connection.fetch(source.read_sql(ranged=True), 10_000, "{0}", "{1000}")
    return [row["payload"] for row in rows]


async def outcome_of(
    merchant: Merchant, owner: asyncpg.Connection, sources: SourcePool, *statements: str
) -> str:
    """Returns what came of statements in a view that is read as signers read it."""
    view = f"{merchant.schema}.{new_name('trap')}"
    quoted = ", ".join("'" + statement.replace("'", "''") + "'" for statement in statements)
    await merchant.execute(f"CREATE VIEW {view} AS SELECT 1 AS id, {{schema}}.attempt({quoted}) AS payload")
    job, _ = await job_on(owner, view)
    [payload] = await read_all(sources, await open_readable_source(sources, job))
    return payload.decode()


@pytest.fixture
async def receipts(merchant: Merchant) -> str:
    await merchant.execute("CREATE TABLE {schema}.receipts (id bigint PRIMARY KEY, payload text)")
    await merchant.execute("INSERT INTO {schema}.receipts VALUES (1, 'agreed')")
    await merchant.execute("CREATE TABLE {schema}.forged (id bigint PRIMARY KEY, payload text)")
    await merchant.execute("INSERT INTO {schema}.forged VALUES (1, 'forged')")
    return f"{merchant.schema}.receipts"
