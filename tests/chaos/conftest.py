"""Services that tests here may kill, and an arena for each test."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from support.chaos.arena import Arena, open_arena, worker_environment
from support.chaos.storm import DISK
from support.disks import small_disk_if_root
from vaultstream.local.services import LocalServices

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServices]:
    """A Postgres and a NATS for the tests of this folder only."""
    local = LocalServices(tmp_path_factory.mktemp("mortal"))
    asyncio.run(local.__aenter__())
    try:
        yield local
    finally:
        asyncio.run(local.__aexit__())


@pytest.fixture
async def arena(mortal: LocalServices, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Arena]:
    await mortal.ensure_running()
    async with open_arena(mortal) as arena:
        for name, value in worker_environment(arena).items():
            monkeypatch.setenv(name, value)
        await arena.make_records()
        yield arena


@pytest.fixture
def storm_disk() -> Iterator[Path | None]:
    """A small disk that a storm fills with signatures; None if not run by root."""
    with small_disk_if_root(DISK) as disk:
        yield disk
