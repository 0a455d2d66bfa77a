"""What most commands need: running services, and a database whose schema is up to date."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vaultstream.credentials import require_credentials_dir
from vaultstream.errors import NoDatabaseError, redact
from vaultstream.local.services import open_services
from vaultstream.store import schema
from vaultstream.store.database import Pool, open_pool
from vaultstream.store.source_login import SourceDatabase

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from vaultstream.local.services import Services
    from vaultstream.settings import Settings


@dataclass(frozen=True)
class Session:
    """The services that a command uses, and a pool of connections to Postgres."""

    settings: Settings
    services: Services
    pool: Pool

    @property
    def source_database(self) -> SourceDatabase:
        """Where the commands read records."""
        return SourceDatabase.of(self.services.database_url, self.services.source_url)


@asynccontextmanager
async def open_session(
    settings: Settings,
    *,
    pool_size: int = 4,
    reads: bool = False,
    existing: bool = False,
    nats: bool = True,
    runs: bool = False,
) -> AsyncIterator[Session]:
    """Finds or starts the services and opens the database. The schema of an embedded database is brought up to date.

    Args:
        settings: the URLs of the services; embedded services are started where a URL is missing.
        pool_size: maximum number of connections to Postgres.
        reads: whether nothing is created; see `open_services`.
        existing: whether the database must be there already; see `open_services`.
        nats: whether NATS is needed.
        runs: whether jobs run in it: what is set for their seals must be usable then.

    Raises:
        UsageError: only one of two services is configured, there is nothing to read, or a setting can't be used.
        ServiceError: a service is unreachable, or the schema's version is not supported.
    """
    require_credentials_dir(settings)
    if runs:
        _require_seals(settings, there=settings.database_url is not None or existing)
    async with (
        open_services(settings, reads=reads, existing=existing, nats=nats) as services,
        open_pool(services.database_url, role="command", size=pool_size) as pool,
    ):
        if runs:
            _require_seals(settings, there=True)
        async with pool.acquire() as connection:
            if settings.database_url is None:
                await schema.migrate(connection)
            elif (reads or existing) and not (await schema.find_schema(connection)).version:
                raise NoDatabaseError(
                    f"There is no VaultStream schema in the database at {redact(services.database_url)}.",
                    hint="Correct DATABASE_URL, or create the schema there: `vaultstream migrate`.",
                )
            else:
                await schema.require_current(connection)
        yield Session(settings=settings, services=services, pool=pool)


def _require_seals(settings: Settings, *, there: bool) -> None:
    """Checks what is set for the seals of jobs that run.

    Args:
        settings: they name files and addresses.
        there: whether the file of the seal key must be there; else it is created with the embedded database.
    """
    from vaultstream.sealing.configured import require_seal_key, require_usable_seals  # noqa: PLC0415 - commands that only read do without

    require_usable_seals(settings)
    if there:
        require_seal_key(settings)
