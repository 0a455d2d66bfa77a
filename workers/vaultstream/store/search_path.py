"""The search path of a session: ours, and the user's for names that he gives without a schema.

Whoever has a login can give it another path, by `ALTER ROLE`. With that, a function or an operator of somebody else's schema could stand
in for one of Postgres's in any of our queries: a records worker would seal a log without what such an operator hides. So each session
begins with a path of Postgres's own schema alone.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from vaultstream.store.sql import query

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncpg
    from asyncpg.pool import PoolConnectionProxy

PATH = "pg_catalog, pg_temp"


async def pin_search_path(connection: Any) -> None:
    """Gives a new session our path, also after each reset; the one that it began with is kept as the user's.

    It also turns synchronous_commit on where it is off, whoever turned it off: a batch is acknowledged once it is committed.

    Args:
        connection: a `WatchedConnection`.
    """
    row = await connection.fetchrow(query("pin_search_path"), PATH)
    connection.keep_search_path(row["users"], PATH)
    if row["turned_on"] is not None:
        connection.keep_setting("synchronous_commit", "on")


async def add_users_search_path(connection: asyncpg.Connection | PoolConnectionProxy) -> None:
    """Puts the user's path behind ours for the rest of a transaction: code of the user's own tables looks there for names."""
    path = getattr(connection, "users_search_path", None)
    if path:
        await connection.execute(query("add_local_search_path"), path)


@asynccontextmanager
async def users_search_path(connection: asyncpg.Connection | PoolConnectionProxy) -> AsyncIterator[None]:
    """Runs queries with the user's path, in a transaction. Only queries that name no operator or function without a schema, unless one
    of Postgres's fits exactly.

    Args:
        connection: as `connect` and `open_pool` give them; any other one keeps its path.
    """
    path = getattr(connection, "users_search_path", None)
    if path is None:
        yield
        return
    async with connection.transaction():
        await connection.execute(query("set_local_search_path"), path)
        yield
        await connection.execute(query("set_local_search_path"), PATH)
