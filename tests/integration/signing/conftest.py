"""What the steps of a signer take: a small pool of connections."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.engine import new_name
from vaultstream.store.database import Pool, open_pool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def pool(engine_url: str) -> AsyncIterator[Pool]:
    async with open_pool(engine_url, role=new_name("pool"), size=2) as pool:
        yield pool
