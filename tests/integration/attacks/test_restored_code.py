"""A restore took the owners of functions and views away, so the code of a table's owner has the rights of the schema's owner."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import asyncpg
import pytest

from support.forking import run_command
from support.merchant import Merchant, job_on
from vaultstream.doctor.findings import Level
from vaultstream.doctor.source import examine_owned_code

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from support.guarded import GuardedDatabase

pytestmark = pytest.mark.integration

DEFINER = """
CREATE FUNCTION {schema}.run(q text) RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE said text; BEGIN EXECUTE q INTO said; RETURN said; END $$
"""


@pytest.fixture
async def admin(database: GuardedDatabase, merchant: Merchant) -> AsyncIterator[asyncpg.Connection]:
    """A superuser, after `merchant` has made what the owner of a table may make; views of the schema's owner are gone afterwards."""
    await merchant.execute(DEFINER)
    await merchant.execute("CREATE VIEW {schema}.signed AS SELECT 1::bigint AS id, 'one' AS payload")
    connection = await asyncpg.connect(database.admin_url)
    try:
        yield connection
    finally:
        await connection.execute(f"DROP SCHEMA {merchant.schema} CASCADE")
        await connection.close()


async def accepted(database: GuardedDatabase, token: str, folder: Path) -> tuple[int, str]:
    done = run_command(
        ["accept-source", token],
        cwd=folder,
        env={**os.environ, "DATABASE_URL": database.urls["owner"], "VAULTSTREAM_DATA_DIR": str(folder)},
    )
    return done.returncode, done.stdout + done.stderr


async def test_code_that_a_restore_gave_to_the_schemas_owner_is_found_and_no_source_is_accepted(
    database: GuardedDatabase,
    owner: asyncpg.Connection,
    merchant: Merchant,
    admin: asyncpg.Connection,
    tmp_path: Path,
) -> None:
    job, _ = await job_on(owner, f"{merchant.schema}.signed")
    await owner.execute("UPDATE vaultstream.jobs SET source_oid = 1 WHERE job_no = $1", job.job_no)
    [before] = await examine_owned_code(owner)
    assert before.level is Level.OK, "the owner of a table may have functions of his own"

    await admin.execute(f"ALTER FUNCTION {merchant.schema}.run(text) OWNER TO {database.logins['owner']}")
    ran = await merchant.connection.fetchval(f"SELECT {merchant.schema}.run('SELECT current_user')")
    assert ran == database.logins["owner"], "what the finding is about"
    [found] = await examine_owned_code(owner)
    assert found.level is Level.FAILED
    assert f"The function {merchant.schema}.run(q text)" in found.message
    code, said = await accepted(database, job.token, tmp_path)
    assert (code, f"{merchant.schema}.run(q text)" in said, "OWNER TO" in said) == (2, True, True), said

    await admin.execute(f"REVOKE ALL ON FUNCTION {merchant.schema}.run(text) FROM PUBLIC")
    assert [each.level for each in await examine_owned_code(owner)] == [Level.OK]
    code, said = await accepted(database, job.token, tmp_path)
    assert (code, "accepted" in said) == (0, True), said


async def test_a_view_of_the_schemas_owner_over_our_tables_is_found_if_others_may_read_it(
    database: GuardedDatabase, owner: asyncpg.Connection, merchant: Merchant, admin: asyncpg.Connection
) -> None:
    """Also through a further view; one that nobody else may read, and one over other tables, are the owner's own affair."""
    space = merchant.schema
    await admin.execute(f"CREATE VIEW {space}.below AS SELECT key_no, wrapped FROM vaultstream.key_material")
    await admin.execute(
        f"CREATE VIEW {space}.above AS SELECT key_no AS id, wrapped AS payload FROM {space}.below"
    )
    await admin.execute(f"CREATE VIEW {space}.plain AS SELECT 1 AS id")
    for view in ("below", "above", "plain"):
        await admin.execute(f"ALTER VIEW {space}.{view} OWNER TO {database.logins['owner']}")
    assert [each.level for each in await examine_owned_code(owner)] == [Level.OK]

    await admin.execute(f"GRANT SELECT ON {space}.plain TO PUBLIC")
    assert [each.level for each in await examine_owned_code(owner)] == [Level.OK]
    await admin.execute(f"GRANT SELECT (payload) ON {space}.above TO {database.logins['source']}")
    [found] = await examine_owned_code(owner)
    assert found.level is Level.FAILED
    assert f"The view {space}.above" in found.message
