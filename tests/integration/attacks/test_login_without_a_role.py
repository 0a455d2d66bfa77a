"""What somebody tries who may connect to the database, and is in no role of VaultStream."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import asyncpg
import pytest

from support.as_user import connect
from support.engine import add_batches, add_job
from support.guarded import GuardedDatabase
from vaultstream.errors import UsageError
from vaultstream.keys import changes
from vaultstream.keys.changes import KEK_LOCK, making_keys
from vaultstream.keys.rewrap import rewrapping
from vaultstream.store import schema
from vaultstream.store.database import open_pool
from vaultstream.store.jobs import Job

pytestmark = pytest.mark.integration


@pytest.fixture
async def job(owner: asyncpg.Connection) -> AsyncIterator[Job]:
    job = await add_job(owner, keys=1)
    await add_batches(owner, job, [1])
    yield job
    await owner.execute("SELECT vaultstream.delete_job($1, 'Delete')", job.job_no)


@pytest.fixture
async def nobody(database: GuardedDatabase) -> AsyncIterator[asyncpg.Connection]:
    """A connection of a login in no role."""
    admin = await asyncpg.connect(database.superuser_url)
    login, password = f"{database.logins['owner']}_nobody", secrets.token_hex(8)
    await admin.execute(f"CREATE ROLE {login} LOGIN PASSWORD '{password}'")
    owner_login, _, place = database.urls["owner"].removeprefix("postgresql://").partition("@")
    assert owner_login.startswith(database.logins["owner"])
    try:
        async with connect(f"postgresql://{login}:{password}@{place}") as connection:
            yield connection
    finally:
        await admin.execute(f"DROP ROLE {login}")
        await admin.close()


async def test_a_login_without_a_role_gets_nothing(
    job: Job, owner: asyncpg.Connection, nobody: asyncpg.Connection
) -> None:
    """No table, no function, no sequence, whether it was there from the start or belongs to a job."""
    tables = await owner.fetch(
        "SELECT oid::regclass::text AS name FROM pg_class"
        " WHERE relnamespace = 'vaultstream'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'S')"
    )
    assert f"vaultstream.signatures_{job.job_no}" in {row["name"] for row in tables}
    for row in tables:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await nobody.fetch(f"SELECT * FROM {row['name']}")
    functions = await owner.fetch(
        "SELECT oid FROM pg_proc WHERE pronamespace = 'vaultstream'::regnamespace AND prorettype <> 'trigger'::regtype"
    )
    assert len(functions) >= 10
    for row in functions:
        assert not await nobody.fetchval("SELECT has_function_privilege($1::oid, 'EXECUTE')", row["oid"])
    for place in ("vaultstream", "public"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await nobody.execute(f"CREATE TABLE {place}.mine ()")


async def test_the_statements_of_others_are_hidden_from_a_login_without_a_role(
    job: Job, owner: asyncpg.Connection, nobody: asyncpg.Connection
) -> None:
    pid = owner.get_server_pid()
    assert await owner.fetchval("SELECT count(*) FROM vaultstream.keys WHERE job_no = $1", job.job_no) == 1
    shown = await nobody.fetchrow("SELECT query, client_addr FROM pg_stat_activity WHERE pid = $1", pid)
    assert shown is not None
    assert (shown["query"], shown["client_addr"]) == ("<insufficient privilege>", None)


async def test_an_advisory_lock_of_a_stranger_stops_no_migration(
    nobody: asyncpg.Connection, owner: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "PATIENCE_SECONDS", 0.0)
    await nobody.execute(
        "SELECT pg_advisory_lock(n) FROM unnest('{0,1}'::bigint[] || $1::bigint) AS n", 0x5641554C54
    )
    assert await schema.migrate(owner) == schema.current_version()


async def test_whoever_keeps_an_advisory_lock_of_ours_is_named(
    database: GuardedDatabase, job: Job, nobody: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "ORDINALS_WAIT_SECONDS", 0.5)
    who = f"process {nobody.get_server_pid()} of the user {database.logins['owner']}_nobody"

    async with open_pool(database.urls["keys"], role="test", size=1) as pool:

        async def make() -> None:
            async with pool.acquire() as connection, making_keys(connection, job):
                pass

        async def rewrap() -> None:
            async with rewrapping(pool):
                pass

        for lock, steps in ((f"{KEK_LOCK}", (make, rewrap)), (f"{KEK_LOCK}, {job.job_no}", (make,))):
            await nobody.execute(f"SELECT pg_advisory_lock({lock})")
            for step in steps:
                with pytest.raises(UsageError, match=who) as caught:
                    await step()
                assert f"pg_terminate_backend({nobody.get_server_pid()})" in (caught.value.hint or "")
            await nobody.execute(f"SELECT pg_advisory_unlock({lock})")
            for step in steps:
                await step()
