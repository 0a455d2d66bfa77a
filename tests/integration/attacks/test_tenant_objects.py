"""What a tenant keeps from happening by objects of its own, such as temporary views, over tables of others."""

from __future__ import annotations

import asyncpg
import pytest

from support.as_user import connect
from support.engine import add_job
from support.guarded import GuardedDatabase
from support.guarded_fixtures import TENANTS
from vaultstream.store import schema
from vaultstream.store.jobs import Job, delete_job
from vaultstream.store.sql import functions

pytestmark = pytest.mark.integration

SHOP, BANK = TENANTS
INSERTED = (
    "vaultstream.insert_signatures_{no}(null::bigint[], null::bigint[], 1, ''::bytea, null::int[], null::int[], "
    "null::timestamptz[], null::int[], null::int[], null::int[], null::boolean[], false)"
)

[DROP_SIGNATURES] = [text for text in functions() if "FUNCTION vaultstream.drop_signatures" in text]
"""Each migration runs it."""
LOCKED = "SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND relation = $1::regclass"


async def test_no_object_over_the_signatures_of_a_job_holds_up_its_deletion(
    tenants_database: GuardedDatabase,
) -> None:
    """Whoever may use the schema can make one, also without a right to read what is in it. They keep an empty table, for a while."""
    async with connect(tenants_database.urls["owner"]) as owner:
        job = await signed_job(owner)
        async with connect(tenants_database.urls[f"signing-{SHOP}"]) as shop:
            await shop.execute(f"CREATE TEMPORARY VIEW mine AS SELECT * FROM {job.signatures_table}")
            await shop.execute(
                "CREATE FUNCTION pg_temp.mine() RETURNS bigint BEGIN ATOMIC "
                f"SELECT {INSERTED.format(no=job.job_no)}; END"
            )
            await delete(tenants_database, job)
            assert await left(owner, job) == (0, 1)
            async with owner.transaction():
                await owner.execute(DROP_SIGNATURES)
                assert not await owner.fetchval(LOCKED, job.signatures_table)  # the table of locks is small
            assert await left(owner, job) == (0, 1)
            await shop.execute("DISCARD TEMP")
        await schema.migrate(owner)
        assert await left(owner, job) == (None, 0)


async def test_a_migration_removes_only_so_many_leftovers_as_the_table_of_locks_has_room_for(
    tenants_database: GuardedDatabase,
) -> None:
    count = r"SELECT count(*) FROM pg_class WHERE relname ~ '^signatures_9000\d{3}$'"
    async with connect(tenants_database.urls["owner"]) as owner:
        await owner.execute(
            "DO $$ BEGIN FOR n IN 9000000..9000201 LOOP EXECUTE format('CREATE TABLE vaultstream.signatures_%s ()', n); END LOOP; END $$"
        )
        await owner.execute(DROP_SIGNATURES)
        assert await owner.fetchval(count) == 2
        await owner.execute(DROP_SIGNATURES)
        assert await owner.fetchval(count) == 0


@pytest.mark.parametrize(
    ("made", "locked"),
    [
        ("CREATE TEMPORARY TABLE mine (it {signatures})", "LOCK TABLE mine IN ACCESS SHARE MODE"),
        ("CREATE TEMPORARY VIEW mine AS SELECT * FROM {signatures}", "COMMENT ON VIEW mine IS ''"),
        (
            "CREATE FUNCTION pg_temp.mine({signatures}[]) RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "COMMENT ON FUNCTION pg_temp.mine IS ''",
        ),
    ],
)
async def test_nor_does_a_lock_on_such_an_object(
    tenants_database: GuardedDatabase, made: str, locked: str
) -> None:
    async with (
        connect(tenants_database.urls["owner"]) as owner,
        connect(tenants_database.urls[f"signing-{SHOP}"]) as shop,
    ):
        job = await signed_job(owner)
        await shop.execute(made.format(signatures=job.signatures_table))
        async with shop.transaction():
            await shop.execute(locked)
            await delete(tenants_database, job)
            assert await left(owner, job) == (0, 0)


async def signed_job(owner: asyncpg.Connection) -> Job:
    """A job of the other tenant, with a signature."""
    job = await add_job(owner, tenant=BANK)
    await owner.execute(f"INSERT INTO {job.signatures_table} VALUES (1, 0, 0, now(), '', '')")
    return job


async def delete(database: GuardedDatabase, job: Job) -> None:
    async with connect(database.urls["operator"]) as operator:
        await delete_job(operator, job.job_no, "Delete")


async def left(owner: asyncpg.Connection, job: Job) -> tuple[int | None, int]:
    """How many signatures the table of a job has, None: there is no table; and how many functions that insert them there are."""
    table = await owner.fetchval("SELECT to_regclass($1)", job.signatures_table)
    return (
        await owner.fetchval(f"SELECT count(*) FROM {job.signatures_table}") if table else None,
        await owner.fetchval(
            "SELECT count(*) FROM pg_proc WHERE proname = $1", f"insert_signatures_{job.job_no}"
        ),
    )
