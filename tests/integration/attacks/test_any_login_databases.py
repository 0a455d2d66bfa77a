"""A login of one VaultStream database at another one of the same server: roles belong to the server."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.as_user import connect
from support.engine import new_name
from support.guarded import GuardedDatabase, guarded_database
from vaultstream.doctor.findings import Level
from vaultstream.doctor.logins import examine_connect
from vaultstream.errors import VaultStreamError

if TYPE_CHECKING:
    import asyncpg

pytestmark = pytest.mark.integration

PAGE = Path(__file__).parents[3] / "docs" / "production.md"


def documented(database: GuardedDatabase) -> str:
    """The statements of the page, for this database and its logins."""
    section = PAGE.read_text().split("### A database for each\n", 1)[1]
    [sql] = re.findall(r"^```sql\n(.*?)^```$", section.split("\n## ", 1)[0], flags=re.DOTALL | re.MULTILINE)
    named = re.sub(r"\bshop_(\w+)", lambda part: database.logins[part[1]], sql)
    return named.replace("DATABASE signing", f"DATABASE {database.name}")


async def may_enter(database: GuardedDatabase, url: str) -> bool:
    there = re.sub(r"/\w+\?", f"/{database.name}?", url, count=1)
    refused = ""
    try:
        async with connect(there) as connection:
            assert await connection.fetchval("SELECT current_database()") == database.name
    except VaultStreamError as error:
        refused = error.message
    assert not refused or "permission denied for database" in refused
    return not refused


async def test_a_login_of_another_database_gets_in_until_only_named_logins_may_connect(
    database: GuardedDatabase, owner: asyncpg.Connection, server_with_roles: str
) -> None:
    async with guarded_database(server_with_roles, new_name("test")) as other:
        assert await may_enter(database, other.urls["signing"]), "what the finding is about"
        [found] = await examine_connect(owner)
        assert (found.level, other.name in found.message) == (Level.WARNING, True)
        assert "PUBLIC may connect" in found.message

        await owner.execute(documented(database))
        assert {part: await may_enter(database, url) for part, url in other.urls.items()} == dict.fromkeys(
            other.urls, False
        )
        assert {part: await may_enter(database, url) for part, url in database.urls.items()} == dict.fromkeys(
            database.urls, True
        )
        assert [each.level for each in await examine_connect(owner)] == [Level.OK]

        await owner.execute(f"GRANT CONNECT ON DATABASE {database.name} TO vaultstream_signing")
        [found] = await examine_connect(owner)
        assert (found.level, "vaultstream_signing may connect" in found.message) == (Level.WARNING, True)
