"""One moment of the database, looked at from several connections."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from vaultstream.store.database import connect
from vaultstream.store.sql import query

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncpg


@asynccontextmanager
async def open_snapshot(
    database_url: str, *, role: str, snapshot: str | None = None
) -> AsyncIterator[asyncpg.Connection]:
    """Opens a connection in a transaction that only reads, and sees one moment from its first query to its end.

    Args:
        database_url: the database.
        role: see `connect`.
        snapshot: the moment that another such transaction exported; None: now.
    """
    async with (
        connect(database_url, role=role) as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        if snapshot is not None:
            quoted = snapshot.replace("'", "''")
            await connection.execute(query("use_snapshot", snapshot=f"'{quoted}'"))
        await connection.execute(query("lift_timeouts"))
        yield connection


async def export_snapshot(connection: asyncpg.Connection) -> str:
    """Returns a name by which other transactions can share this one's moment while it lasts.

    To be asked first: after a savepoint that was rolled back to, Postgres refuses it.
    """
    return str(await connection.fetchval(query("export_snapshot")))
