"""Fixtures: a database with a login per role, and a NATS with a user per role."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from support.as_user import connect
from support.engine import new_name
from support.guarded import GuardedDatabase, GuardedNats, guarded_database, guarded_nats
from vaultstream.local.services import LocalServices

TENANTS = ("shop", "bank")


@pytest.fixture(scope="session")
def server_with_roles(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The superuser's URL of a private server: roles belong to the server, and other tests must not see them."""
    with asyncio.Runner() as runner:
        local = LocalServices(tmp_path_factory.mktemp("roles"), nats=False)
        runner.run(local.__aenter__())
        try:
            yield runner.run(local.services()).database_url
        finally:
            runner.run(local.__aexit__(None, None, None))


@pytest.fixture(scope="module")
def database(server_with_roles: str) -> Iterator[GuardedDatabase]:
    """A database of the module's own, with logins of its own."""
    with asyncio.Runner() as runner:
        guarded = guarded_database(server_with_roles, new_name("shop"))
        yield runner.run(guarded.__aenter__())
        runner.run(guarded.__aexit__(None, None, None))


@pytest.fixture(scope="module")
def tenants_database(server_with_roles: str) -> Iterator[GuardedDatabase]:
    """A database with logins for each of `TENANTS`, beside those that belong to no tenant."""
    with asyncio.Runner() as runner:
        guarded = guarded_database(server_with_roles, new_name("shop"), tenants=TENANTS)
        yield runner.run(guarded.__aenter__())
        runner.run(guarded.__aexit__(None, None, None))


@pytest.fixture(scope="module")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedNats]:
    with asyncio.Runner() as runner:
        guarded = guarded_nats(tmp_path_factory.mktemp("nats") / "home")
        yield runner.run(guarded.__aenter__())
        runner.run(guarded.__aexit__(None, None, None))


@pytest.fixture(scope="module")
def tenants_nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedNats]:
    """A NATS with an account for each of `TENANTS`."""
    with asyncio.Runner() as runner:
        guarded = guarded_nats(tmp_path_factory.mktemp("nats") / "home", tenants=TENANTS)
        yield runner.run(guarded.__aenter__())
        runner.run(guarded.__aexit__(None, None, None))


@pytest.fixture
async def owner(database: GuardedDatabase) -> AsyncIterator[asyncpg.Connection]:
    async with connect(database.urls["owner"]) as connection:
        yield connection
