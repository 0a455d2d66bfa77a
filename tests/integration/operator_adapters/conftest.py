"""The operator's adapters on a real Postgres and JetStream."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from support.as_user import connect
from vaultstream.bus.connection import Bus, connect_bus
from vaultstream.local.services import Services
from vaultstream_operator.adapters.jetstream import JetStreamLags
from vaultstream_operator.adapters.postgres import PostgresStore


@pytest.fixture
async def connection(migrated_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to a database with our schema and a table of ten records."""
    async with connect(migrated_url) as connection:
        await connection.execute("CREATE TABLE receipts (id bigint PRIMARY KEY, payload text)")
        await connection.execute("INSERT INTO receipts SELECT n, 'r' || n FROM generate_series(1, 10) AS n")
        yield connection


@pytest.fixture
async def bus(services: Services) -> AsyncIterator[Bus]:
    async with connect_bus(services.bus_address, role="test") as bus:
        yield bus


@pytest.fixture
async def lags(services: Services) -> AsyncIterator[JetStreamLags]:
    async with JetStreamLags(services.bus_address) as lags:
        yield lags


@pytest.fixture
async def store(migrated_url: str, lags: JetStreamLags) -> AsyncIterator[PostgresStore]:
    async with PostgresStore(migrated_url, lags) as store:
        yield store
