"""A connection that takes no writes is not kept: the next one may lead to the server that does."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import asyncpg
import pytest

from support.engine import open_sources
from vaultstream.store.database import open_pool
from vaultstream.store.serving import NoWritesError, no_writes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.integration

WRITE = "CREATE TEMPORARY TABLE written (x int); DROP TABLE written"


@pytest.fixture
async def read_only(engine_url: str, db: asyncpg.Connection) -> AsyncIterator[str]:
    """The database as its provider makes it read-only: new sessions may not write, until it is reset."""
    database = urlsplit(engine_url).path.strip("/")
    await db.execute(f'ALTER DATABASE "{database}" SET default_transaction_read_only = on')
    try:
        yield f'ALTER DATABASE "{database}" RESET default_transaction_read_only'
    finally:
        await db.execute(f'ALTER DATABASE "{database}" RESET default_transaction_read_only')


async def test_connections_that_take_no_writes_are_replaced_all_at_once(
    engine_url: str, db: asyncpg.Connection, read_only: str
) -> None:
    async with open_pool(engine_url, role="tests", size=2) as pool:
        async with pool.acquire() as first, pool.acquire() as second:
            assert no_writes(first)
            assert no_writes(second)
        await db.execute(read_only)
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            async with pool.acquire() as connection:
                await connection.execute("CREATE TABLE public.never_written (x int)")
        async with pool.acquire() as first, pool.acquire() as second:
            for connection in (first, second):
                assert no_writes(connection) is None
                await connection.execute(WRITE)


async def test_a_pool_that_must_write_takes_no_connection_that_does_not(
    engine_url: str, db: asyncpg.Connection, read_only: str
) -> None:
    with pytest.raises(NoWritesError):
        async with open_pool(engine_url, role="tests", size=1, writes=True):
            pass
    await db.execute(read_only)
    async with (
        open_pool(engine_url, role="tests", size=1, writes=True) as pool,
        pool.acquire() as connection,
    ):
        await connection.execute(WRITE)


@pytest.mark.parametrize("kept", [False, True])
async def test_a_connection_that_breaks_says_so_and_is_replaced(engine_url: str, kept: bool) -> None:
    async with open_pool(engine_url, role="tests", size=1, kept=kept) as pool:

        async def use() -> None:
            async with pool.acquire() as connection:
                asyncio.get_running_loop().call_soon(connection._transport.abort)
                await connection.execute("SELECT pg_sleep(60)")

        with pytest.raises(asyncpg.ConnectionDoesNotExistError):
            await use()
        async with pool.acquire(timeout=5) as connection:
            assert await connection.fetchval("SELECT 1") == 1


async def test_sources_are_read_where_the_connection_string_asks_for_a_host_that_takes_writes(
    engine_url: str,
) -> None:
    """Sessions that read sources are read-only by themselves, which says nothing about the host."""
    url = f"{engine_url}&target_session_attrs=read-write"
    async with open_sources(url) as sources, sources.transaction() as connection:
        assert await connection.fetchval("SHOW default_transaction_read_only") == "on"
