from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from integration.audit.signed_job import SignedJob, make_job
from vaultstream.store import schema
from vaultstream.store.database import connect

MakeJob = Callable[..., Awaitable[SignedJob]]


@pytest.fixture
async def make(database_url: str) -> AsyncIterator[MakeJob]:
    """Creates a job in its own database; see `make_job`."""
    async with connect(database_url) as connection:
        await schema.migrate(connection)

        async def build(**wanted: Any) -> SignedJob:
            return await make_job(connection, database_url, **wanted)

        yield build
