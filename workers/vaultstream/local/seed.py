"""Records to try VaultStream on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaultstream.records.source import quote_identifier
from vaultstream.store.sql import query

if TYPE_CHECKING:
    from collections.abc import Callable

    from vaultstream.store.database import Connection

CHUNK = 100_000


def seed_table(records: int) -> str:
    """Returns the name of the table that holds so many seeded records; each count has its own, so data stay the same."""
    return f"quickstart_{records}"


async def seed_records(connection: Connection, records: int, *, progress: Callable[[int, int], None]) -> str:
    """Makes the table of seeded records, if it is not there; returns its name.

    The rows come in one transaction: a table that is there is whole.
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
