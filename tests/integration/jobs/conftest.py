"""One lab per test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.lab import Lab, open_lab

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from vaultstream.local.services import Services


@pytest.fixture
async def lab(services: Services, migrated_url: str, tmp_path: Path) -> AsyncIterator[Lab]:
    async with open_lab(services, migrated_url, tmp_path) as lab:
        yield lab
