"""Sample records to try VaultStream with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaultstream.records.source import quote_identifier
from vaultstream.store.sql import query

if TYPE_CHECKING:
    from collections.abc import Callable

    from vaultstream.store.database import Connection

CHUNK = 100_000


def seed_table(records: int) -> str:
    """Returns the name of the table with this many sample records. Each count has its own table, whose data never change."""
    return f"quickstart_{records}"


async def seed_records(connection: Connection, records: int, *, progress: Callable[[int, int], None]) -> str:
    """Creates the table of sample records, unless it exists; returns its name.

    All rows are inserted in one transaction: a table that exists is complete.
    """
    name = seed_table(records)
    table = f"public.{quote_identifier(name)}"
    if await connection.fetchval(query("find_table"), table) is not None:
        return name
    async with connection.transaction():
        await connection.execute(query("create_receipts", table=table))
        for first in range(1, records + 1, CHUNK):
            last = min(first + CHUNK - 1, records)
            await connection.execute(query("seed_receipts", table=table), first, last)
            progress(last, records)
    await connection.execute(query("analyze", table=table))
    return name
