"""What someone with any of the logins leaves in the login itself: settings, which outlive the session that made them."""

from __future__ import annotations

import asyncpg
import pytest

from support.guarded import GuardedDatabase
from vaultstream.doctor.findings import Level
from vaultstream.doctor.logins import HARMLESS, examine_logins
from vaultstream.store.database import connect
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
