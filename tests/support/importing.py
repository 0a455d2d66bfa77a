"""Imports files for tests, and reads what they made."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from vaultstream.importing import ImportOptions, ImportReport, import_records

if TYPE_CHECKING:
    from pathlib import Path

    import asyncpg


async def load(
    db: asyncpg.Connection, path: Path, content: str | None = None, **options: Any
) -> ImportReport:
    if content is not None:
        path.write_text(content, "utf-8")  # noqa: ASYNC240 - a few bytes
    return await import_records(db, path, ImportOptions(**{"table": "t", "id_column": "id", **options}))


def rejected(path: Path) -> list[tuple[int, str, str]]:
    lines = path.with_name(path.name + ".rejected.jsonl").read_text("utf-8").splitlines()
    return [(e["line"], e["reason"], e["text"]) for e in map(json.loads, lines)]


async def rows(db: asyncpg.Connection, table: str = "t") -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await db.fetch(f"SELECT * FROM {table} ORDER BY 1")]


async def relations(db: asyncpg.Connection) -> set[str]:
    found = await db.fetch("SELECT relname FROM pg_class WHERE relname !~ '^(pg_|sql_)' AND relkind = 'r'")
    return {row["relname"] for row in found}
