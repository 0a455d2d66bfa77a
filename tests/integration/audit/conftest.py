from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from integration.audit.signed_job import SignedJob, make_job
from vaultstream.store.database import connect

MakeJob = Callable[..., Awaitable[SignedJob]]


@pytest.fixture
async def make(migrated_url: str) -> AsyncIterator[MakeJob]:
    """Creates a job in its own database; see `make_job`."""
    async with connect(migrated_url) as connection:

        async def build(**wanted: Any) -> SignedJob:
            return await make_job(connection, migrated_url, **wanted)

        yield build
