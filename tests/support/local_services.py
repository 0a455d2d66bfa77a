"""The embedded services of a data directory, whatever the environment names."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from vaultstream.local.services import LocalServices, Services


@asynccontextmanager
async def local_services(data_dir: Path) -> AsyncIterator[Services]:
    """Starts what does not run yet of Postgres and NATS; the last to leave stops them."""
    async with LocalServices(data_dir) as local:
        yield await local.services()
