"""What someone with any of the logins leaves in the login itself: settings, which outlive the session that made them."""

from __future__ import annotations

import asyncpg
import pytest

from support.as_user import connect
from support.guarded import GuardedDatabase
from vaultstream.api import RecordsSpec
from vaultstream.doctor.findings import Level
from vaultstream.doctor.logins import HARMLESS, examine_logins
from vaultstream.errors import SourceError
from vaultstream.records.source import inspect_source
from vaultstream.store.database import connect as connect_ours
from vaultstream.store.database import open_pool
from vaultstream.store.source_login import SESSION, find_place

pytestmark = pytest.mark.integration


async def store(url: str, login: str, **settings: str) -> None:
    """Stores settings by a session of the login itself, as its thief would."""
    async with connect(url) as thief:
        for name, value in settings.items():
            await thief.execute(f"ALTER ROLE {login} SET {name} = '{value}'")


async def test_a_setting_of_a_login_that_may_stop_or_weaken_its_workers_is_named(
    database: GuardedDatabase, owner: asyncpg.Connection
) -> None:
    signing = database.logins["signing"]
    for name in HARMLESS:
        assert await owner.fetchval("SELECT current_setting($1, true)", name) is not None, (
            f"there is no {name}"
        )
    assert [each.level for each in await examine_logins(owner)] == [Level.OK]
    try:
        await store(
            database.urls["signing"],
            signing,
            synchronous_commit="off",
            statement_timeout="1h",
            work_mem="8MB",
            timezone="UTC",
            local_preload_libraries="",
            lock_timeout="1h",
        )
        [finding] = await examine_logins(owner)
        assert finding.level is Level.WARNING
        assert (
            f"{signing} has local_preload_libraries, lock_timeout, statement_timeout, synchronous_commit."
            in finding.message
        )
        assert "RESET ALL" in (finding.hint or "")
    finally:
        async with connect(database.admin_url) as admin:
            await admin.execute(f"ALTER ROLE {signing} RESET ALL")
    assert [each.level for each in await examine_logins(owner)] == [Level.OK]


@pytest.mark.parametrize("reset", [True, False])
async def test_no_operator_of_a_schema_in_the_search_path_of_a_login_gets_into_our_queries(
    database: GuardedDatabase, owner: asyncpg.Connection, reset: bool
) -> None:
    """A records worker would seal a log without what it hides, and an auditor see none of it."""
    records = database.logins["records"]
    await owner.execute(
        "CREATE SCHEMA before_ours; GRANT USAGE ON SCHEMA before_ours TO PUBLIC;"
        "CREATE FUNCTION before_ours.never(bigint, bigint) RETURNS boolean IMMUTABLE LANGUAGE sql RETURN false;"
        "CREATE OPERATOR before_ours.> (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = before_ours.never)"
    )
    try:
        async with connect(database.urls["records"]) as thief:
            await thief.execute(f"ALTER ROLE {records} SET search_path = before_ours, pg_catalog, public")
            await thief.execute("SET search_path = before_ours, pg_catalog")
            assert not await thief.fetchval("SELECT 2::bigint > 1::bigint")
        async with open_pool(database.urls["records"], role="records", size=1, reset=reset) as pool:
            for _ in range(2):  # also after it was returned
                async with pool.acquire() as connection:
                    assert await connection.fetchval("SELECT 2::bigint > 1::bigint")
        [finding] = await examine_logins(owner)
        assert f"{records} has search_path" in finding.message
    finally:
        async with connect(database.admin_url) as admin:
            await admin.execute(f"ALTER ROLE {records} RESET ALL; DROP SCHEMA before_ours CASCADE")


async def test_a_name_without_a_schema_is_searched_for_in_the_search_path_of_the_user(
    database: GuardedDatabase, owner: asyncpg.Connection
) -> None:
    await owner.execute(
        "CREATE SCHEMA ledger; GRANT USAGE ON SCHEMA ledger TO PUBLIC;"
        "CREATE TABLE ledger.entries (id bigint PRIMARY KEY, payload text)"
    )
    operator = database.logins["operator"]
    records = RecordsSpec(table="entries")
    try:
        async with connect_ours(database.urls["operator"]) as connection:
            with pytest.raises(SourceError, match="no table or view 'entries'"):
                await inspect_source(connection, records)
        async with connect(database.admin_url) as admin:
            await admin.execute(f"ALTER ROLE {operator} SET search_path = ledger")
        async with connect_ours(database.urls["operator"]) as connection:
            assert (await inspect_source(connection, records)).relation == "ledger.entries"
            assert await connection.fetchval("SHOW search_path") == "pg_catalog, pg_temp"
    finally:
        async with connect(database.admin_url) as admin:
            await admin.execute(f"ALTER ROLE {operator} RESET ALL; DROP SCHEMA ledger CASCADE")


async def test_a_source_login_with_settings_of_its_own_is_at_the_same_server(
    database: GuardedDatabase, owner: asyncpg.Connection
) -> None:
    """Or each audit and each worker would be refused, with a reason that is not true."""
    source = database.logins["source"]
    before = await find_place(owner)
    try:
        await store(
            database.urls["source"],
            source,
            datestyle="German",
            timezone="Asia/Tokyo",
            extra_float_digits="-15",
        )
        async with connect(database.urls["source"], settings=SESSION) as reader:
            assert await find_place(reader) == before
    finally:
        async with connect(database.admin_url) as admin:
            await admin.execute(f"ALTER ROLE {source} RESET ALL")
