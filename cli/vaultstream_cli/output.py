"""Output of the command: data on standard output, everything else on standard error."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from vaultstream.errors import VaultStreamError

STANDARD_OUTPUT = Path("-")
"""The value of --output that means standard output."""

_WIDE = 200
"""Width in columns without a terminal: readers of a pipe want whole lines."""

out = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDE)
"""Standard output: results."""

err = Console(stderr=True, highlight=False, soft_wrap=True)
"""Standard error: progress, notes and errors."""


def print_json(value: Any) -> None:
    """Prints a value as JSON; times become ISO 8601."""
    sys.stdout.write(json.dumps(value, default=_encode, ensure_ascii=False, indent=2) + "\n")
    sys.stdout.flush()


def print_error(error: VaultStreamError) -> None:
    """Prints an error's message, and its hint on a second line."""
    err.print(f"error: {error.message}", markup=False, style="red")
    if error.hint:
        err.print(f"  try: {error.hint}", markup=False)


def note(text: str) -> None:
    """Prints a line on standard error."""
    err.print(text, markup=False)


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None
) -> None:
    """Prints rows as a table; numbers are right-aligned."""
    rows = [tuple(row) for row in rows]
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for index, column in enumerate(columns):
        numeric = bool(rows) and all(
            isinstance(row[index], int | float) or row[index] is None for row in rows
        )
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    out.print(table)


def _cell(value: object) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:,.1f}"
        case datetime():
            return value.astimezone().strftime("%Y-%m-%d %H:%M:%S")
        case _:
            return str(value).replace("[", "\\[")


def _encode(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no JSON form")
