from __future__ import annotations

import asyncio

import pytest

from support.as_user import connect
from support.engine import add_job
from vaultstream.errors import SchemaVersionError
from vaultstream.store import schema
from vaultstream.store.jobs import get_job

pytestmark = pytest.mark.integration


async def test_an_empty_database_is_migrated_once(database_url: str) -> None:
    async with connect(database_url) as connection:
        assert await schema.installed_version(connection) == 0
        assert await schema.migrate(connection) == 0
        await schema.require_current(connection)
        job = await add_job(connection)
        assert await schema.migrate(connection) == schema.current_version()
        assert await get_job(connection, job.token) == job


async def test_two_commands_may_migrate_at_once(database_url: str) -> None:
    async def migrate() -> int:
        async with connect(database_url) as connection:
            return await schema.migrate(connection)

    before = await asyncio.gather(*(migrate() for _ in range(4)))
    assert sorted(before) == [0, *[schema.current_version()] * 3]
    async with connect(database_url) as connection:
        await schema.require_current(connection)


async def test_a_database_without_a_schema_is_refused_with_what_to_do(database_url: str) -> None:
    async with connect(database_url) as connection:
        with pytest.raises(SchemaVersionError, match="no VaultStream schema yet") as caught:
            await schema.require_current(connection)
    assert "vaultstream migrate" in (caught.value.hint or "")


async def test_an_older_schema_is_refused_then_migrated_with_its_jobs_kept(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connect(database_url) as connection:
        await schema.migrate(connection)
        job = await add_job(connection)
        later = [*schema.sql.migrations(), "CREATE TABLE vaultstream.later (n int)"]
        monkeypatch.setattr(schema.sql, "migrations", lambda: later)
        with pytest.raises(SchemaVersionError, match=f"has schema version {len(later) - 1}") as caught:
            await schema.require_current(connection)
        assert "vaultstream migrate" in (caught.value.hint or "")
        assert await schema.migrate(connection) == len(later) - 1
        await schema.require_current(connection)
        assert await connection.fetchval("SELECT count(*) FROM vaultstream.later") == 0
        assert await get_job(connection, job.token) == job


async def test_a_migration_that_fails_leaves_all_as_it_was(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connect(database_url) as connection:
        await schema.migrate(connection)
        broken = [*schema.sql.migrations(), "CREATE TABLE vaultstream.later (n int); SELECT 1/0"]
        monkeypatch.setattr(schema.sql, "migrations", lambda: broken)
        with pytest.raises(Exception, match="division by zero"):
            await schema.migrate(connection)
        assert await schema.installed_version(connection) == len(broken) - 1
        assert await connection.fetchval("SELECT to_regclass('vaultstream.later')") is None


async def test_a_newer_schema_is_refused_by_worker_and_migration(database_url: str) -> None:
    async with connect(database_url) as connection:
        await schema.migrate(connection)
        newer = schema.current_version() + 1
        await connection.execute(
            "INSERT INTO vaultstream.schema_version (version, works_from) VALUES ($1, $1)", newer
        )
        for refuse in (schema.require_current, schema.migrate):
            with pytest.raises(SchemaVersionError, match="newer VaultStream") as caught:
                await refuse(connection)
            assert "Upgrade" in (caught.value.hint or "")
        assert await schema.installed_version(connection) == newer


MIGRATIONS = schema.sql.migrations()
EXPANDING = (
    "-- works with programs from version 1\nALTER TABLE vaultstream.jobs ADD later text NOT NULL DEFAULT 'x'"
)


async def test_a_program_goes_on_with_a_newer_schema_that_was_made_to_work_with_it(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connect(database_url) as connection:
        with monkeypatch.context() as newer:
            newer.setattr(schema.sql, "migrations", lambda: [*MIGRATIONS, EXPANDING])
            await schema.migrate(connection)
        await schema.require_current(connection)
        assert (
            await schema.migrate(connection) == len(MIGRATIONS) + 1
        )  # as after a rollback: nothing is changed
        assert await schema.installed_version(connection) == len(MIGRATIONS) + 1
        job = await add_job(connection)
        assert await get_job(connection, job.token)


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM vaultstream.schema_version",
        "UPDATE vaultstream.schema_version SET version = version - 1000",
    ],
)
async def test_a_schema_whose_version_was_lost_is_refused_with_what_to_do(
    database_url: str, damage: str
) -> None:
    async with connect(database_url) as connection:
        await schema.migrate(connection)
        await connection.execute(damage)
        for refuse in (schema.require_current, schema.migrate, schema.installed_version):
            with pytest.raises(SchemaVersionError, match="contains no version") as caught:
                await refuse(connection)
            assert "backup" in (caught.value.hint or "")
