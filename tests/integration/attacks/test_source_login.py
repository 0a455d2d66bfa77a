"""The login that reads records: it can do nothing else, and shows a table's owner nothing that he may not see."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from support.as_user import connect
from support.engine import new_name
from support.guarded import GuardedDatabase
from support.merchant import Merchant, open_sources
from vaultstream.api import RecordsSpec
from vaultstream.errors import SourceError, UsageError
from vaultstream.records.source import inspect_source
from vaultstream.store.database import is_misconfigured, open_pool
from vaultstream.store.source_login import SourceDatabase, find_place
from vaultstream.store.source_pool import open_source_pool

pytestmark = pytest.mark.integration


@pytest.fixture
async def strangers(database: GuardedDatabase) -> AsyncIterator[dict[str, str]]:
    """URLs of logins that are no source logins, by what they are."""
    admin = await asyncpg.connect(database.superuser_url)
    base, urls = new_name("stranger"), {}
    kinds = {
        "member": "NOINHERIT IN ROLE vaultstream_signing",
        "writer": "IN ROLE pg_write_all_data",
        "program": "IN ROLE pg_execute_server_program",
        "superuser": "SUPERUSER",
        "replication": "REPLICATION",
        "creator": "CREATEROLE",
        "row_reader": "BYPASSRLS",
        "signaler": "IN ROLE pg_signal_backend",
        "monitor": "IN ROLE pg_monitor",
        "file_reader": "",
        "file_writer": "",
    }
    for kind, clause in kinds.items():
        await admin.execute(f"CREATE ROLE {base}_{kind} LOGIN PASSWORD 'secret' {clause}")
        urls[kind] = database.url_of(f"{base}_{kind}", "secret")
    granted = {"file_reader": "pg_read_file(text)", "file_writer": "lo_export(oid, text)"}
    async with connect(database.admin_url) as here:  # such a grant is of one database
        for kind, function in granted.items():
            await here.execute(f"GRANT EXECUTE ON FUNCTION {function} TO {base}_{kind}")
        yield urls
        for kind, function in granted.items():
            await here.execute(f"REVOKE EXECUTE ON FUNCTION {function} FROM {base}_{kind}")
    for kind in kinds:
        await admin.execute(f"DROP ROLE {base}_{kind}")
    await admin.close()


@pytest.mark.parametrize(
    "kind",
    [
        "member",
        "writer",
        "program",
        "superuser",
        "replication",
        "creator",
        "row_reader",
        "signaler",
        "monitor",
        "file_reader",
        "file_writer",
        "owner",
        "records",
    ],
)
async def test_a_login_with_more_than_reading_does_not_read_sources(
    database: GuardedDatabase, owner: asyncpg.Connection, strangers: dict[str, str], kind: str
) -> None:
    url = {**strangers, **database.urls}[kind]
    with pytest.raises(UsageError, match="VAULTSTREAM_SOURCE_DATABASE_URL: the user") as caught:
        async with open_sources(database, owner, url):
            pass
    assert "member of no role" in (caught.value.hint or "")


async def test_a_login_and_its_group_may_be_named_after_the_product(
    database: GuardedDatabase, owner: asyncpg.Connection
) -> None:
    """As in the bundled Postgres: a name gives no privilege."""
    async with connect(database.superuser_url) as admin:
        group = f"vaultstream_{new_name('source')}"
        await admin.execute(f"CREATE ROLE {group}")
        await admin.execute(f"CREATE ROLE {group}_ns LOGIN PASSWORD 'secret' IN ROLE {group}")
        try:
            async with (
                open_sources(database, owner, database.url_of(f"{group}_ns", "secret")) as sources,
                sources.transaction() as reading,
            ):
                assert await reading.fetchval("SELECT session_user::text") == f"{group}_ns"
        finally:
            await admin.execute(f"DROP ROLE {group}_ns")
            await admin.execute(f"DROP ROLE {group}")


@pytest.mark.parametrize(("part", "works"), [("owner", True), ("records", False), ("signing", False)])
async def test_without_a_source_login_only_the_one_who_does_everything_reads_sources(
    database: GuardedDatabase, owner: asyncpg.Connection, part: str, works: bool
) -> None:
    if works:
        async with (
            open_sources(database, owner, None, part=part) as sources,
            sources.transaction() as reading,
        ):
            assert await reading.fetchval("SHOW transaction_read_only") == "on"
        return
    with pytest.raises(UsageError, match="VAULTSTREAM_SOURCE_DATABASE_URL is not set"):
        async with open_sources(database, owner, None, part=part):
            pass


async def test_a_source_login_of_another_database_is_refused(
    database: GuardedDatabase, owner: asyncpg.Connection
) -> None:
    elsewhere = database.urls["source"].replace(f"/{database.name}?", "/postgres?")
    with pytest.raises(UsageError, match="another database"):
        async with open_sources(database, owner, elsewhere):
            pass


async def test_a_hint_names_only_what_its_reader_may_see(
    database: GuardedDatabase, merchant: Merchant, owner: asyncpg.Connection, receipts: str
) -> None:
    await owner.execute("CREATE TABLE public.salaries (id bigint, payload text, bonus text)")
    await owner.execute(f"GRANT SELECT (id, payload) ON public.salaries TO {merchant.login}")
    await owner.execute("CREATE TABLE public.secret_plans (id bigint, payload text)")
    try:
        hints = []
        for table, column in (("secret_plan", "payload"), ("zzz", "payload"), ("salaries", "bonsu")):
            for connection in (merchant.connection, owner):
                with pytest.raises(SourceError) as caught:
                    await inspect_source(
                        connection,
                        RecordsSpec(table=table, payload_column=column),
                        hints=connection is merchant.connection,
                    )
                hints.append(caught.value.hint or "")
        assert not [hint for hint in hints if "secret_plans" in hint or "bonus" in hint]
        assert "receipts" in hints[2]
        assert not [hint for hint in hints[1::2] if "salaries" in hint or "receipts" in hint]
    finally:
        await owner.execute("DROP TABLE public.salaries, public.secret_plans")


async def test_a_login_that_gets_more_while_a_worker_runs_opens_no_further_connection(
    database: GuardedDatabase, owner: asyncpg.Connection
) -> None:
    where = SourceDatabase.of(database.urls["signing"], database.urls["source"])
    place = await find_place(owner)
    login = database.logins["source"]
    async with (
        connect(database.admin_url) as admin,
        open_pool(database.urls["signing"], role="test", size=1) as ours,
        open_source_pool(where, place=place, ours=ours, role="test", size=2) as pool,
        pool.transaction(),
    ):
        await admin.execute(f"GRANT vaultstream_signing TO {login}")
        try:
            with pytest.raises(SourceError, match=r"has the privileges of .*vaultstream_signing") as caught:
                async with pool.transaction():
                    pass
            assert is_misconfigured(caught.value), "no batch is at fault"
        finally:
            await admin.execute(f"REVOKE vaultstream_signing FROM {login}")
        async with pool.transaction() as connection:
            assert await connection.fetchval("SELECT 1") == 1
