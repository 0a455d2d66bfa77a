"""Connections of a user, who names tables as people do: without a schema."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from vaultstream.store import database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from vaultstream.credentials import UrlSource
    from vaultstream.store.keepalive import WatchedConnection


async def as_user(connection: Any) -> None:
    """Gives a connection of the product the search path of its login."""
    await connection.execute(f"SET search_path = {connection.users_search_path}")


@asynccontextmanager
async def connect(url: UrlSource, **options: Any) -> AsyncIterator[WatchedConnection]:
    """Opens a connection as the product does, with the search path of its login."""
    async with database.connect(url, **options) as connection:
        if "search_path" not in (options.get("settings") or {}):
            await as_user(connection)
        yield connection
