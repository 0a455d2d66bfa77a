"""Settings that a database or a login has for other programs do not change what VaultStream's statements mean."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from support.engine import add_batches, add_job, claim_one, signatures_of, signed
from vaultstream.store.database import connect, open_pool
from vaultstream.store.leases import COMMITTED, commit_batches
from vaultstream.store.sql import query

if TYPE_CHECKING:
    import asyncpg

pytestmark = pytest.mark.integration

SETTINGS = {
    "standard_conforming_strings": "off",
    "transform_null_equals": "on",
    "bytea_output": "escape",
    "search_path": "''",
    "datestyle": "German",
    "intervalstyle": "sql_standard",
    "timezone": "'Asia/Kathmandu'",
    "default_transaction_isolation": "serializable",
    "extra_float_digits": "-15",
    "quote_all_identifiers": "on",
    "array_nulls": "off",
    "xmloption": "document",
}


@pytest.mark.parametrize("name", SETTINGS)
async def test_a_batch_is_signed_whatever_settings_the_database_has(
    engine_url: str, db: asyncpg.Connection, name: str
) -> None:
    job = await add_job(db)
    await add_batches(db, job, [1, 2, 3])
    database = urlsplit(engine_url).path.strip("/")
    await db.execute(f'ALTER DATABASE "{database}" SET {name} = {SETTINGS[name]}')
    try:
        async with open_pool(engine_url, role="signing", size=1) as pool, pool.acquire() as connection:
            lease = await claim_one(connection, job, "ann", 1)
            batch = signed(1, lease, [1, 2, 3])
            assert await commit_batches(connection, job.job_no, "ann", [batch], id_type="bigint") == [
                COMMITTED
            ]
    finally:
        await db.execute(f'ALTER DATABASE "{database}" RESET {name}')
    assert set(await signatures_of(db, job)) == {1, 2, 3}


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
async def test_transactions_are_those_that_the_statements_are_written_for(
    engine_url: str, db: asyncpg.Connection, level: str
) -> None:
    database = urlsplit(engine_url).path.strip("/")
    await db.execute(f"ALTER DATABASE \"{database}\" SET default_transaction_isolation = '{level}'")
    await db.execute(f'ALTER DATABASE "{database}" SET default_transaction_deferrable = on')
    try:
        async with open_pool(engine_url, role="command", size=1) as pool, pool.acquire() as connection:
            assert await connection.fetchval("SHOW transaction_isolation") == "read committed"
            assert await connection.fetchval("SHOW transaction_deferrable") == "off"
            async with connection.transaction(), connection.transaction(isolation="read_committed"):
                assert await connection.fetchval("SHOW transaction_isolation") == "read committed"
    finally:
        await db.execute(f'ALTER DATABASE "{database}" RESET ALL')


@pytest.mark.parametrize("reset", [True, False])
@pytest.mark.parametrize(("off", "ours"), [("off", "on"), ("remote_apply", "remote_apply")])
async def test_what_is_acknowledged_outlasts_a_crash_whatever_the_database_has(
    engine_url: str, db: asyncpg.Connection, off: str, ours: str, reset: bool
) -> None:
    database = urlsplit(engine_url).path.strip("/")
    await db.execute(f'ALTER DATABASE "{database}" SET synchronous_commit = {off}')
    try:
        async with open_pool(engine_url, role="signing", size=1, reset=reset) as pool:
            for _ in range(2):  # also after it was returned
                async with pool.acquire() as connection:
                    assert await connection.fetchval("SHOW synchronous_commit") == ours
        async with connect(engine_url) as connection:
            assert await connection.fetchval("SHOW synchronous_commit") == ours
            health = await connection.fetchrow(query("server_health"))
            assert health["synchronous_commit"] == off  # the doctor speaks of what others get
    finally:
        await db.execute(f'ALTER DATABASE "{database}" RESET synchronous_commit')
