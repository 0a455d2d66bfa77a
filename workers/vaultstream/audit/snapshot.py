"""Shares one snapshot of the database between several connections."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from vaultstream.store.database import Connection, connect
from vaultstream.store.source_pool import connect_source
from vaultstream.store.sql import query

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncpg

    from vaultstream.store.source_login import Place, SourceDatabase


@asynccontextmanager
async def open_snapshot(
    database_url: str, *, role: str, snapshot: str | None = None
) -> AsyncIterator[asyncpg.Connection]:
    """Opens a connection in a read-only transaction that sees one snapshot from its first query to its end.

    Args:
        database_url: the database.
        role: see `connect`.
        snapshot: a snapshot that another such transaction exported; None: the current moment.
    """
    async with connect(database_url, role=role) as connection, _reading(connection, snapshot):
        yield connection


@asynccontextmanager
async def open_source_snapshot(
    database: SourceDatabase, *, place: Place, role: str, snapshot: str
) -> AsyncIterator[Connection]:
    """Opens a source connection in such a transaction; see `connect_source`.

    Args:
        database: where the sources are.
        place: where our own connections lead.
        role: see `connect`.
        snapshot: a snapshot that a transaction on a connection of ours exported.
    """
    async with connect_source(database, place=place, role=role) as connection, _reading(connection, snapshot):
        yield connection


@asynccontextmanager
async def _reading(connection: Connection, snapshot: str | None) -> AsyncIterator[None]:
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        if snapshot is not None:
            quoted = snapshot.replace("'", "''")
            await connection.execute(query("use_snapshot", snapshot=f"'{quoted}'"))
        await connection.execute(query("lift_timeouts"))
        yield


async def export_snapshot(connection: asyncpg.Connection) -> str:
    """Returns the name under which other transactions can share this one's snapshot while it lasts.

    Call this first: Postgres refuses after a rollback to a savepoint.
    """
    return str(await connection.fetchval(query("export_snapshot")))
