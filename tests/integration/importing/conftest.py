"""A database of its own for each test: imports make and replace tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.as_user import connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncpg


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    async with connect(database_url) as connection:
        yield connection
