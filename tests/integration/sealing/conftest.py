"""A job over a table of its own, and a sealer for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from support.engine import add_job, add_table
from support.sealing import Sealing, new_seal_key
from vaultstream.crypto.seal_keys import SealKeys
from vaultstream.store.source_pool import SourcePool


@pytest.fixture
def seal_keys() -> SealKeys:
    return new_seal_key()


@pytest.fixture
async def sealing(
    db: asyncpg.Connection, sources: SourcePool, seal_keys: SealKeys, tmp_path: Path
) -> AsyncIterator[Sealing]:
    """Of a job of 25 records in batches of 10."""
    table = await add_table(db, range(1, 26))
    job = await add_job(db, table)
    yield Sealing(db, sources, seal_keys, tmp_path / "seals", job)
    await db.execute(f"DROP TABLE {table}")
