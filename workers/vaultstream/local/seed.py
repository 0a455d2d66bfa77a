"""Sample records to try VaultStream with."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import asyncpg

from vaultstream.records.source import quote_identifier
from vaultstream.store.sql import query

if TYPE_CHECKING:
    from collections.abc import Callable

    from vaultstream.store.database import Connection

CHUNK = 100_000
_COMMENT = "Made by vaultstream quick-start: "
"""How the comment on each of its views begins. A relation without it belongs to somebody else."""


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


async def show_samples(connection: Connection, table: str) -> None:
    """Makes the views `records`, of a table of sample records, and `signatures`, of all jobs, in the schema `public`.

    A relation of that name that quick-start did not make stays as it is.
    """
    views = (
        ("records", "show_records", table),
        ("signatures", "show_signatures", "vaultstream.signatures"),
    )
    for view, create, shown in views:
        comment = f"{_COMMENT}{shown}"
        found = await connection.fetchrow(query("find_sample_view"), view)
        if found is None or found["comment"] == comment:
            continue
        if found["free"] or (found["owned"] and (found["comment"] or "").startswith(_COMMENT)):
            statement = query(create, table=f"public.{quote_identifier(table)}", comment=f"'{comment}'")
            # Another quick-start makes it at the same time.
            with suppress(asyncpg.UniqueViolationError, asyncpg.DuplicateTableError):
                async with connection.transaction():
                    await connection.execute(statement)
