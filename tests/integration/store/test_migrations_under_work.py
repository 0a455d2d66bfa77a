"""A migration while jobs run: signers keep working, and nobody queues behind it."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from support.as_user import connect
from support.engine import add_job, add_table
from support.signer import open_bench
from support.waiting import eventually
from vaultstream.errors import DatabaseError
from vaultstream.local.services import Services
from vaultstream.store import schema
from vaultstream.store.jobs import get_job

pytestmark = pytest.mark.integration

MIGRATIONS = schema.sql.migrations()
EXPANDING = """\
-- works with programs from version 1
ALTER TABLE vaultstream.jobs ADD later text NOT NULL DEFAULT 'x';
ALTER TABLE vaultstream.batches ADD later text;
ALTER TABLE vaultstream.keys ADD later text;
ALTER TABLE vaultstream.leases ADD later text;
"""


@pytest.fixture
def next_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the next release had one migration more."""
    monkeypatch.setattr(schema.sql, "migrations", lambda: [*MIGRATIONS, EXPANDING])
    monkeypatch.setattr(schema, "LOCK_SECONDS", 0.2)
    monkeypatch.setattr(schema, "PAUSE_SECONDS", 0.1)


async def test_a_running_job_completes_during_a_migration_that_adds_columns(
    services: Services, database_url: str, next_version: None
) -> None:
    payloads = {n: f"payload of {n}".encode() for n in range(1, 1501)}
    async with connect(database_url) as db:
        with pytest.MonkeyPatch.context() as former:
            former.setattr(schema.sql, "migrations", lambda: MIGRATIONS)
            await schema.migrate(db)
        table = await add_table(db, payloads)
        async with open_bench(services, database_url, db, table, batchSize=5, key_count=6) as bench:

            async def migrate() -> None:
                async def under_way() -> bool:
                    return await bench.signed() > 50

                await eventually(under_way)
                async with connect(database_url) as other:
                    assert await schema.migrate(other) == len(MIGRATIONS)
                assert await bench.signed() < len(payloads), "the job was over before"

            with pytest.MonkeyPatch.context() as former:
                former.setattr(schema, "require_current", _pass)  # the workers are of the former release
                await bench.run(during=migrate)
            await bench.assert_ended_well(payloads)


async def _pass(connection: asyncpg.Connection) -> None:
    pass


async def test_nobody_waits_long_behind_a_migration_that_waits_for_a_reader(
    database_url: str, next_version: None
) -> None:
    async with (
        connect(database_url) as reader,
        connect(database_url) as worker,
        connect(database_url) as mine,
    ):
        with pytest.MonkeyPatch.context() as former:
            former.setattr(schema.sql, "migrations", lambda: MIGRATIONS)
            await schema.migrate(mine)
        job = await add_job(worker)
        async with reader.transaction():
            await reader.fetch("SELECT FROM vaultstream.jobs")
            migrating = asyncio.create_task(schema.migrate(mine))

            async def waits() -> bool:
                return bool(await worker.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))

            await eventually(waits)
            for _ in range(5):
                await asyncio.wait_for(get_job(worker, job.token), 5)
            assert not migrating.done()
        assert await asyncio.wait_for(migrating, 20) == len(MIGRATIONS)


async def test_a_migration_that_never_gets_its_lock_says_what_to_do(
    database_url: str, next_version: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "PATIENCE_SECONDS", 0.3)
    async with connect(database_url) as reader, connect(database_url) as mine:
        with pytest.MonkeyPatch.context() as former:
            former.setattr(schema.sql, "migrations", lambda: MIGRATIONS)
            await schema.migrate(mine)
        async with reader.transaction():
            await reader.fetch("SELECT FROM vaultstream.jobs")
            with pytest.raises(DatabaseError, match="nothing was changed") as caught:
                await schema.migrate(mine)
        assert "vaultstream verify" in (caught.value.hint or "")
        assert await schema.installed_version(mine) == len(MIGRATIONS)
