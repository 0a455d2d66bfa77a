"""The statements of docs/security.md, as they stand there, give each login what its work needs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest

from support.as_user import connect
from support.engine import add_job
from vaultstream.store.jobs import list_jobs
from vaultstream.store.roles import require_every_part

if TYPE_CHECKING:
    from support.guarded import GuardedDatabase

pytestmark = pytest.mark.integration

PAGE = Path(__file__).parents[3] / "docs" / "security.md"
SECRET = "a-password"


def documented() -> list[str]:
    """The statements of the section on Postgres, in their order."""
    section = PAGE.read_text().partition("### In Postgres")[2].partition("\n### ")[0]
    return re.findall(r"^    ((?:CREATE|GRANT) [^;]+;)", section, re.MULTILINE)


async def test_the_documented_statements_let_each_login_do_its_work_and_no_other(
    database: GuardedDatabase, owner: asyncpg.Connection
) -> None:
    name = await owner.fetchval("SELECT current_database()")
    admin = await asyncpg.connect(database.superuser_url.replace("/vaultstream?", f"/{name}?"))
    try:
        await admin.execute(
            "CREATE SCHEMA shop; CREATE TABLE shop.receipts AS SELECT 1::bigint AS id, 'one' AS payload"
        )
        for statement in documented():
            await admin.execute(statement.replace("…", SECRET))
        job = await add_job(owner)
        place = database.urls["signing"].split("@", 1)[1]
        async with connect(f"postgresql://shop_signing:{SECRET}@{place}") as signer:
            assert [each.token for each in await list_jobs(signer)] == [job.token]
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await require_every_part(signer)
        await require_every_part(owner)
        async with connect(database.urls["operator"]) as operator:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await require_every_part(operator)  # before `run` creates a job
        async with connect(f"postgresql://shop_source:{SECRET}@{place}") as source:
            assert await source.fetchval("SELECT payload FROM shop.receipts WHERE id = 1") == "one"
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await source.fetchval("SELECT count(*) FROM vaultstream.keys")
    finally:
        await admin.execute("DROP SCHEMA IF EXISTS shop CASCADE")
        await admin.execute("DROP ROLE IF EXISTS shop_signing, shop_source")
        await admin.close()
