"""What most commands need: the services, found or started, and a database whose schema is up to date."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vaultstream.local.services import open_services
from vaultstream.store import schema
from vaultstream.store.database import Pool, open_pool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from vaultstream.local.services import Services
    from vaultstream.settings import Settings


@dataclass(frozen=True)
class Session:
    """The services that a command works with, and a pool of connections to Postgres."""

    settings: Settings
    services: Services
    pool: Pool


@asynccontextmanager
async def open_session(
    settings: Settings, *, migrate: bool = False, pool_size: int = 4
) -> AsyncIterator[Session]:
    """Finds or starts the services and opens the database.

    Args:
        settings: which services; embedded ones are started where no URL is given.
        migrate: bring an older schema up to date; else it is refused, but for the embedded database,
            which is always brought up to date.
        pool_size: connections to Postgres, at the most.

    Raises:
        ServiceError: one of them can't be reached, or the schema's version is not this program's.
    """
    async with (
        open_services(settings) as services,
        open_pool(services.database_url, role="command", size=pool_size) as pool,
    ):
        async with pool.acquire() as connection:
            if migrate or settings.database_url is None:
                await schema.migrate(connection)
            else:
                await schema.require_current(connection)
        yield Session(settings=settings, services=services, pool=pool)
