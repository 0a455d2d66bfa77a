"""Sources are read again once Postgres is back, by connections that are checked as the first ones were."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.engine import open_sources
from vaultstream.local.postgres import EmbeddedPostgres

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.integration


async def test_sources_are_read_again_after_a_restart_of_postgres(tmp_path: Path) -> None:
    """It is the same server, though it started at another time."""
    postgres = EmbeddedPostgres(tmp_path)
    url = (await postgres.ensure()).url
    try:
        async with open_sources(url) as sources:
            async with sources.transaction() as reading:
                before = await reading.fetchval("SELECT pg_postmaster_start_time()")
            await postgres.stop()
            await postgres.ensure()
            async with sources.transaction() as reading:
                assert await reading.fetchval("SELECT pg_postmaster_start_time()") > before
    finally:
        await postgres.stop()
