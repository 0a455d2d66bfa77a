"""A migrated database shared by all tests of the engine, which keep apart by their jobs; a NATS for those that break it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import pytest

from support.as_user import connect
from support.engine import new_database, open_sources
from support.guarded_fixtures import server_with_roles
from vaultstream.local.services import LocalServices, Services
from vaultstream.store.source_pool import SourcePool

__all__ = ["server_with_roles"]


@pytest.fixture(scope="session")
def engine_url(services: Services) -> Iterator[str]:
    with asyncio.Runner() as runner:
        database = new_database(services)
        yield runner.run(database.__aenter__())
        runner.run(database.__aexit__(None, None, None))


@pytest.fixture
async def db(engine_url: str) -> AsyncIterator[asyncpg.Connection]:
    async with connect(engine_url) as connection:
        yield connection


@pytest.fixture
async def sources(engine_url: str) -> AsyncIterator[SourcePool]:
    """Connections for reading sources."""
    async with open_sources(engine_url) as pool:
        yield pool


@pytest.fixture
async def own_nats(tmp_path: Path) -> AsyncIterator[LocalServices]:
    """A NATS for one test, to be stopped, frozen or killed."""
    async with AsyncExitStack() as stack:
        yield await stack.enter_async_context(LocalServices(tmp_path / "own", postgres=False))
