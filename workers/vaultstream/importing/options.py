"""The options of an import, and what they mean for the columns of a file."""

from __future__ import annotations

import difflib
import string
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
"""Name of the payload column when the payload is composed of several columns."""

_MAX_IDENTIFIER_BYTES = 63
_SHOWN_CHARACTERS = 60
_AROUND_NAMES = (
    string.whitespace
    + "\xa0\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"
    + "'`\"[]\xab\xbb\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f"
)
"""What may stand around a name by mistake: spaces, characters that nobody sees, and quotes that CSV does not know."""


class Mode(StrEnum):
    """What happens to a table that already exists."""

    CREATE = "create"
    """The import is refused."""
    APPEND = "append"
    """Rows are added to it; numbering continues after its highest number."""
    REPLACE = "replace"
    """A new table takes its place; grants and indexes of the old one are dropped with it. Refused if a job has signed its records."""
    REPLACE_SIGNED = "replace-signed"
    """The same, also if a job that has ended has signed its records."""


@dataclass(frozen=True)
class ImportOptions:
    """What to load a file into, and how."""

    table: str
    """Its exact name; the part before a dot is the schema."""
    id_column: str
    """The column of the ids; if the file has no such column, its rows are numbered from 1."""
    payload_column: str | None = None
    """The column whose bytes are the payload; can't be combined with payload_columns."""
    payload_columns: tuple[str, ...] | None = None
    """The columns that make up the payload; if neither is given, all except the id's."""
    mode: Mode = Mode.CREATE
    format: Format | None = None
    """The file's format; None: derived from its name."""
    max_rejects: int | None = None
    """With more rejected lines than this, nothing is loaded; see rejects.too_many for the default."""
    allow_multiline: bool = False
    """Whether a quoted CSV value may span lines that look like records; else the file is refused."""
    piped: bool = False
    """Whether the file is a copy of standard input, which messages name instead."""
    rejects: Path | None = None
    """Where rejected lines are listed; None: beside the input, as FILE.rejected.jsonl."""

    def check(self) -> None:
        """Checks what can be checked before the file is opened.

        Raises:
            UsageError: options contradict each other, or a name is not valid in Postgres.
        """
        if self.payload_column is not None and self.payload_columns is not None:
            raise UsageError(
                "--payload-column and --payload-columns are both given.",
                hint="Use --payload-column to sign one column's bytes as they are, --payload-columns to compose a payload.",
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
                    f"{name!r} is not a valid name in Postgres: names have 1 to {_MAX_IDENTIFIER_BYTES} bytes."
                )

    @property
    def payload_name(self) -> str:
        """The name of the payload's column in the table."""
        return self.payload_column if self.payload_column is not None else COMPOSED_NAME


def shown_columns(columns: Sequence[str], most: int) -> str:
    """Returns the first names of columns for a message, with their beginnings if they are long: a file may be no table at all.

    Args:
        columns: names, in the file's order.
        most: how many are shown; how many more there are is said.
    """
    shown = [
        repr(name if len(name) <= _SHOWN_CHARACTERS else f"{name[:_SHOWN_CHARACTERS]}…")
        for name in columns[:most]
    ]
    return ", ".join(shown) + (f" and {len(columns) - most:,} more" if len(columns) > most else "")


@dataclass(frozen=True)
class Shape:
    """Which columns of a file become the id and the payload."""

    id_column: str
    numbered: bool
    """Whether the file has no such column and rows get their number as id."""
    payload_column: str | None
    """The column that is the payload; None: the payload is composed."""
    composed: tuple[str, ...]
    """The columns that make up a composed payload."""
    open_ended: bool = False
    """Whether a row's other members belong to the payload too, as with JSON lines unless columns are named."""


def shape_of(options: ImportOptions, columns: Sequence[str], *, open_ended: bool = False) -> Shape:
    """Returns what the options mean for a file with these columns.

    Args:
        options: what was asked for.
        columns: names, in the file's order.
        open_ended: rows may have columns beyond these.

    Raises:
        ImportFileError: a column is missing, or there are two of a name that is used.
    """
    shape = _shape(options, columns, open_ended=open_ended)
    counts = Counter(columns)
    used = {*shape.composed, shape.payload_column, None if shape.numbered else shape.id_column}
    repeated = [name for name in columns if name in used and counts[name] > 1]
    if repeated:
        raise ImportFileError(
            f"The file has more than one column named {repeated[0]!r}.",
            hint="Rename one of them in the file, or leave it out with --payload-columns.",
        )
    return shape


def _shape(options: ImportOptions, columns: Sequence[str], *, open_ended: bool) -> Shape:
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
            f"The file has only the column {options.id_column!r}: nothing is left for the payload.",
            hint="Name the payload's column with --payload-column.",
        )
    return Shape(options.id_column, numbered, None, composed, open_ended)


def _require(columns: Sequence[str], name: str) -> None:
    if name in columns:
        return
    near = difflib.get_close_matches(name, columns, n=1)
    guess = f"Did you mean {near[0]!r}? " if near else ""
    raise ImportFileError(
        f"The file has no column {name!r}.",
        hint=f"{guess}Its columns are: {shown_columns(columns, 30) or 'none'}.",
    )


def _refuse_misspelt_id(name: str, columns: Sequence[str]) -> None:
    for column in columns:
        if column.strip(_AROUND_NAMES).casefold() == name.strip(_AROUND_NAMES).casefold():
            raise ImportFileError(
                f"The file has no column {name!r}, but it has {column!r}.",
                hint=(
                    f"Use its ids with --id-column {column!r}"
                    if column.isprintable()
                    else "Rename it in the file"
                )
                + ", or number the rows under another name.",
            )
