from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import asyncpg
import pytest

from integration.audit.sealed_job import SealedJob, SealedTemplate, make_sealed_job
from integration.audit.signed_job import SignedJob, make_job
from support.as_user import connect
from support.engine import new_database, new_name
from vaultstream.local.services import Services
from vaultstream.store.jobs import get_job

MakeJob = Callable[..., Awaitable[SignedJob]]


@pytest.fixture
async def make(migrated_url: str) -> AsyncIterator[MakeJob]:
    """Creates a job in its own database; see `make_job`."""
    async with connect(migrated_url) as connection:

        async def build(**wanted: Any) -> SignedJob:
            return await make_job(connection, migrated_url, **wanted)

        yield build


@pytest.fixture(scope="module")
def sealed_template(services: Services) -> Iterator[SealedTemplate]:
    """A database with a sealed job, to be copied; see `make_sealed_job`."""
    with asyncio.Runner() as runner:
        database = new_database(services)
        url = runner.run(database.__aenter__())
        yield runner.run(make_sealed_job(url))
        runner.run(database.__aexit__(None, None, None))


@pytest.fixture
async def sealed(services: Services, sealed_template: SealedTemplate) -> AsyncIterator[SealedJob]:
    """The sealed job in a database of its own, to be tampered with."""
    name, template = new_name("sealed"), sealed_template
    admin = await asyncpg.connect(services.database_url)
    try:
        await admin.execute(f"CREATE DATABASE {name} TEMPLATE {template.database} STRATEGY FILE_COPY")
        try:
            url = template.url.replace(f"/{template.database}?", f"/{name}?", 1)
            async with connect(url) as connection:
                job = await get_job(connection, template.token)
                yield SealedJob(SignedJob(url, connection, job, template.ids), template)
        finally:
            await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await admin.close()
