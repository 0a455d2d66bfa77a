"""A source of which the login sees only a part is refused: it is never signed, or compared, as the whole."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asyncpg
import pytest

from support.engine import add_table, new_name
from vaultstream.api import RecordsSpec
from vaultstream.errors import SourceError
from vaultstream.records.source import inspect_source, refuse_partial_source
from vaultstream.store.source_pool import POOLED_SESSION

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.integration

READER, OWNER = "partial_reader", "partial_owner"


@pytest.fixture
async def table(db: asyncpg.Connection) -> str:
    for role in (READER, OWNER):
        if not await db.fetchval("SELECT to_regrole($1)", role):
            await db.execute(f"CREATE ROLE {role}")
    name = await add_table(db, [1, 2, 3])
    await db.execute(
        f"ALTER TABLE {name} OWNER TO {OWNER}; GRANT USAGE, CREATE ON SCHEMA public TO {OWNER}; "
        f"GRANT SELECT ON {name} TO {READER}; CREATE POLICY odd ON {name} USING (id % 2 = 1)"
    )
    return name


async def view(db: asyncpg.Connection, sql: str, *, options: str = "", owner: str = OWNER) -> str:
    name = new_name()
    await db.execute(
        f"CREATE VIEW {name} {options} AS {sql}; ALTER VIEW {name} OWNER TO {owner}; GRANT SELECT ON {name} TO PUBLIC"
    )
    return name


@asynccontextmanager
async def reading_as(db: asyncpg.Connection, role: str) -> AsyncIterator[None]:
    await db.execute(f"SET ROLE {role}")
    try:
        yield
    finally:
        await db.execute("RESET ROLE")


async def check(db: asyncpg.Connection, name: str, *, role: str = READER) -> None:
    source = await inspect_source(db, RecordsSpec(table=name))
    async with reading_as(db, role):
        await refuse_partial_source(db, source)


async def test_a_table_whose_policies_hide_rows_is_refused(db: asyncpg.Connection, table: str) -> None:
    await check(db, table)  # it has policies, but they are not enabled
    await db.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    with pytest.raises(SourceError, match=f"row-level security of public.{table} .* {READER!r}") as refused:
        await check(db, table)
    assert "create a view" in str(refused.value.hint)


async def test_whom_policies_do_not_concern_sees_all(db: asyncpg.Connection, table: str) -> None:
    await db.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    await check(db, table, role=OWNER)
    await check(db, table, role="postgres")
    await db.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    with pytest.raises(SourceError, match="row-level security"):
        await check(db, table, role=OWNER)
    await check(db, table, role="postgres")


async def test_a_view_reads_with_the_rights_of_its_owner_unless_it_says_otherwise(
    db: asyncpg.Connection, table: str
) -> None:
    await db.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    sql = f"SELECT * FROM {table}"
    await check(db, await view(db, sql))
    for name in (
        await view(db, sql, options="WITH (security_invoker)"),
        await view(db, sql, owner=READER),
        await view(db, f"SELECT * FROM {await view(db, sql, owner=READER)}"),
    ):
        with pytest.raises(SourceError, match=f"row-level security of public.{table}"):
            await check(db, name)


@pytest.mark.parametrize(
    "condition",
    [
        "current_user = 'a'",
        "session_user = 'a'",
        "user = 'a'",
        "current_setting('app.tenant', true) = 'a'",
        "pg_has_role('postgres', 'MEMBER')",
        "has_table_privilege('pg_class', 'INSERT')",
        "EXISTS (SELECT FROM pg_roles WHERE rolname = current_role)",
    ],
)
async def test_a_view_that_asks_who_reads_it_is_refused(
    db: asyncpg.Connection, table: str, condition: str
) -> None:
    inner = await view(db, f"SELECT * FROM {table} WHERE {condition}")
    for name in (inner, await view(db, f"SELECT * FROM {inner}")):
        with pytest.raises(SourceError, match=f"the view public.{inner} answers each user"):
            await check(db, name)


async def test_other_views_are_signed(db: asyncpg.Connection, table: str) -> None:
    await check(
        db,
        await view(db, f"SELECT id, payload || 'current_user'::bytea AS payload FROM {table} WHERE id > 1"),
    )
    materialized = new_name()
    await db.execute(
        f"CREATE MATERIALIZED VIEW {materialized} AS SELECT * FROM {table} WHERE current_user <> ''; "
        f"GRANT SELECT ON {materialized} TO PUBLIC"
    )
    await check(db, materialized)


async def test_policies_that_are_enabled_later_hide_no_row_from_a_read(
    db: asyncpg.Connection, table: str
) -> None:
    source = await inspect_source(db, RecordsSpec(table=table))
    await db.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    async with reading_as(db, READER):
        assert len(await db.fetch(source.read_sql(ranged=False), 100, "{1,2,3}")) == 2
        await db.execute(f"BEGIN; SET LOCAL row_security = {POOLED_SESSION['row_security']}")
        try:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await db.fetch(source.read_sql(ranged=False), 100, "{1,2,3}")
        finally:
            await db.execute("ROLLBACK")
