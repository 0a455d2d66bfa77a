"""What an import is asked to do, and what that means for the columns that a file has."""

from __future__ import annotations

import difflib
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from vaultstream.errors import ImportFileError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from vaultstream.importing.source import Format

COMPOSED_NAME = "payload"
"""The column of a payload that is composed of several."""

_MAX_IDENTIFIER_BYTES = 63


class Mode(StrEnum):
    """What becomes of a table that is there already."""

    CREATE = "create"
    """It is refused."""
    APPEND = "append"
    """It gets more rows; numbers go on after its highest."""
    REPLACE = "replace"
    """A new one takes its place; what was granted on the old one, and its indexes, go with it."""


@dataclass(frozen=True)
class ImportOptions:
    """What to load a file into, and how."""

    table: str
    """Its name, exactly; what stands before a dot is the schema."""
    id_column: str
    """The column of the ids; where the file has none of this name, its rows are numbered from 1."""
    payload_column: str | None = None
    """The column whose bytes are the payload; not together with payload_columns."""
    payload_columns: tuple[str, ...] | None = None
    """The columns that make up the payload; all but the id's if neither is given."""
    mode: Mode = Mode.CREATE
    format: Format | None = None
    """How the file is written; by its name if not given."""
    max_rejects: int | None = None
    """More rejected lines than this and nothing is loaded; see rejects.too_many for what holds without it."""
    rejects: Path | None = None
    """Where rejected lines are listed; beside the input, as FILE.rejected.jsonl, if not given."""

    def check(self) -> None:
        """Checks what can be checked before the file is seen.

        Raises:
            UsageError: options contradict each other, or a name can't be one in Postgres.
        """
        if self.payload_column is not None and self.payload_columns is not None:
            raise UsageError(
                "--payload-column and --payload-columns are both given.",
                hint="Give --payload-column for one column's bytes as they are, --payload-columns for a composed payload.",
            )
        if self.payload_name == self.id_column:
            raise UsageError(
                f"The id and the payload would both be in the column {self.id_column!r}.",
                hint="Give the id another column.",
            )
        repeated = [name for name, count in Counter(self.payload_columns or ()).items() if count > 1]
        if repeated:
            raise UsageError(f"--payload-columns names {repeated[0]!r} more than once.")
        for name in (*self.table.split(".", 1), self.id_column, self.payload_name):
            if not name or "\0" in name or len(name.encode()) > _MAX_IDENTIFIER_BYTES:
                raise UsageError(
                    f"{name!r} can't be a name in Postgres: those have 1 to {_MAX_IDENTIFIER_BYTES} bytes."
                )

    @property
    def payload_name(self) -> str:
        """The name of the payload's column in the table."""
        return self.payload_column if self.payload_column is not None else COMPOSED_NAME


@dataclass(frozen=True)
class Shape:
    """Which columns of a file become the id and the payload."""

    id_column: str
    numbered: bool
    """Whether the file has no such column, so that rows get their number as id."""
    payload_column: str | None
    """The payload itself; None: it is composed."""
    composed: tuple[str, ...]
    """The columns that a composed payload is made of."""
    open_ended: bool = False
    """Whether a row's other members belong to the payload too: so it is with JSON lines unless columns are named."""


def shape_of(options: ImportOptions, columns: Sequence[str], *, open_ended: bool = False) -> Shape:
    """Returns what the options mean for a file of these columns.

    Args:
        options: what was asked for.
        columns: names, in the file's order.
        open_ended: rows may have columns beyond these.

    Raises:
        ImportFileError: a column is not there, or stands there twice.
    """
    repeated = [name for name, count in Counter(columns).items() if count > 1]
    if repeated:
        raise ImportFileError(
            f"The file has more than one column named {repeated[0]!r}.",
            hint="Rename one of them in the file.",
        )
    numbered = options.id_column not in columns
    if numbered:
        _refuse_misspelt_id(options.id_column, columns)
    if options.payload_column is not None:
        _require(columns, options.payload_column)
        return Shape(options.id_column, numbered, options.payload_column, ())
    if options.payload_columns is not None:
        for name in options.payload_columns:
            _require(columns, name)
        return Shape(options.id_column, numbered, None, options.payload_columns)
    composed = tuple(name for name in columns if name != options.id_column)
    if not composed and not open_ended:
        raise ImportFileError(
            f"The file has no column but {options.id_column!r}: nothing is left for the payload.",
            hint="Name the column of the payload with --payload-column.",
        )
    return Shape(options.id_column, numbered, None, composed, open_ended)


def _require(columns: Sequence[str], name: str) -> None:
    if name in columns:
        return
    near = difflib.get_close_matches(name, columns, n=1)
    shown = ", ".join(columns[:30]) + (", …" if len(columns) > 30 else "")  # noqa: PLR2004 - enough for a message
    guess = f"Did you mean {near[0]!r}? " if near else ""
    raise ImportFileError(
        f"The file has no column {name!r}.", hint=f"{guess}Its columns are: {shown or 'none'}."
    )


def _refuse_misspelt_id(name: str, columns: Sequence[str]) -> None:
    for column in columns:
        if column.strip().casefold() == name.strip().casefold():
            raise ImportFileError(
                f"The file has no column {name!r}, but it has {column!r}.",
                hint=f"Take its ids with --id-column {column!r}, or number the rows under another name.",
            )
