"""Fixtures for every test: one embedded Postgres and NATS for the whole run, and a fresh database for each test."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import asyncpg
import psutil  # type: ignore[import-untyped]
import pytest
from hypothesis import HealthCheck, settings

from support.as_user import connect
from support.command import Command
from vaultstream.local.services import LocalServices, Services, stop_services
from vaultstream.quick_imports import quick_imports
from vaultstream.store import schema

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator, Iterator


# The time that an example takes depends on the machine more than on the code.
settings.register_profile("any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-machine")


MEMORY_DISK = Path("/dev/shm")
MEMORY_TO_SPARE = 8 * 1024**3
"""Bytes of memory, free as a disk too, from which the tests keep their files in it. A whole run leaves 3 GB."""


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Gives each run a temporary directory of its own, in memory if there is enough: Postgres waits for the disk at each commit.

    Root's Postgres runs as another user, which must be able to enter the directories above its data. But each run of
    pytest closes the directory that all runs share, even while the Postgres of another run is starting.
    """
    in_memory = _memory_disk()
    if config.option.basetemp is None and (in_memory or os.geteuid() == 0):
        config.option.basetemp = tempfile.mkdtemp(prefix="vaultstream-tests-", dir=in_memory)
        config.add_cleanup(partial(shutil.rmtree, config.option.basetemp, ignore_errors=True))


def _memory_disk() -> Path | None:
    """Returns the disk in memory if it is there, has room and programs on it may run; None if TMPDIR names another place."""
    if "TMPDIR" in os.environ or not os.access(MEMORY_DISK, os.W_OK):
        return None
    disk = os.statvfs(MEMORY_DISK)
    room = min(disk.f_bavail * disk.f_frsize, psutil.virtual_memory().available)
    return MEMORY_DISK if room >= MEMORY_TO_SPARE and not disk.f_flag & os.ST_NOEXEC else None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collects the tests as commands import: each process has thousands of them, and all stay."""
    with quick_imports():
        return (yield)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the longest tests first: one that starts last would leave all other processes idle."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Runs a test marked `no_cover` without a tracer: pytest-cov stops one, but each process of xdist has started two."""
    if item.get_closest_marker("no_cover") is None:
        return (yield)
    tracer = sys.gettrace()
    sys.settrace(None)
    try:
        return (yield)
    finally:
        sys.settrace(tracer)


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """The embedded services, shared by all tests: use unique names in them (only `database_url` is private)."""
    local = LocalServices(tmp_path_factory.mktemp("services"))
    asyncio.run(local.__aenter__())
    try:
        yield asyncio.run(local.services())
    finally:
        asyncio.run(local.__aexit__())


@pytest.fixture
async def database_url(services: Services) -> AsyncIterator[str]:
    """A new, empty database on the shared Postgres; dropped after the test, even if sessions are still connected."""
    async with _copied(services, "template1") as url:
        yield url


@pytest.fixture(scope="session")
def _migrated(services: Services) -> str:
    """The name of a database with the schema and nothing else, to be copied."""

    async def prepare() -> str:
        name = f"migrated_{uuid4().hex}"
        admin = await asyncpg.connect(services.database_url)
        try:
            await admin.execute(f"CREATE DATABASE {name} TEMPLATE template1")
        finally:
            await admin.close()
        async with connect(_url_of(services, name)) as connection:
            await schema.migrate(connection)
        return name

    return asyncio.run(prepare())


@pytest.fixture
async def migrated_url(services: Services, _migrated: str) -> AsyncIterator[str]:
    """A new database with the schema, and dropped like that of `database_url`: in a fifth of the time of a migration."""
    async with _copied(services, _migrated) as url:
        yield url


def _url_of(services: Services, name: str) -> str:
    return services.database_url.replace("/vaultstream?", f"/{name}?", 1)


@asynccontextmanager
async def _copied(services: Services, template: str) -> AsyncIterator[str]:
    name = f"test_{uuid4().hex}"
    admin = await asyncpg.connect(services.database_url)
    try:
        # by copying its files, which costs a third of writing each page to the log
        await admin.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
        try:
            yield _url_of(services, name)
        finally:
            await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await admin.close()


@pytest.fixture
def nats_url(services: Services) -> str:
    """The URL of the shared NATS; user and password are in `services`."""
    return services.nats_url


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Command]:
    """The command in its own folder, with its own embedded services."""
    command = Command(tmp_path)
    yield command
    with suppress(Exception):
        asyncio.run(stop_services(command.data_dir, force=True))
