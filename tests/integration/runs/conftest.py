"""The command in a folder of its own, with embedded services of its own."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from support.command import Command
from vaultstream.local.services import stop_services

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Command]:
    command = Command(tmp_path)
    yield command
    with suppress(Exception):
        asyncio.run(stop_services(command.data_dir, force=True))
