"""Reads a file as an import does, without a database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vaultstream.importing.loader import reader_of
from vaultstream.importing.options import ImportOptions, shape_of
from vaultstream.importing.source import open_import_source

if TYPE_CHECKING:
    from pathlib import Path

    from vaultstream.importing.rejects import Reject
    from vaultstream.importing.rows import Row


def read(path: Path, **options: Any) -> tuple[list[Row], list[Reject]]:
    asked = ImportOptions(**{"table": "records", "id_column": "id", **options})
    asked.check()
    with open_import_source(path, asked.format) as source:
        reader = reader_of(source, asked)
        shape = shape_of(asked, reader.columns, open_ended=reader.open_ended)
        reader.payload_type(shape)  # refuses what can't be one
        chunks = list(reader.chunks(shape, None))
    return [row for chunk in chunks for row in chunk.rows], [r for chunk in chunks for r in chunk.rejects]


def reasons(rejects: list[Reject]) -> list[tuple[int, str]]:
    """Returns the lines of rejects with their reasons."""
    return [(r.line, r.reason) for r in rejects]
