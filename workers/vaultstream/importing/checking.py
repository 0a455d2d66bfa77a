"""Checks a file of records as an import reads it, without a database."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING

from vaultstream.importing.loader import reader_of, refuse_record_as_header
from vaultstream.importing.options import shape_of
from vaultstream.importing.source import Format, open_import_source

if TYPE_CHECKING:
    from pathlib import Path

    from vaultstream.importing.options import ImportOptions

SHOWN_REJECTS = 50

_ENDINGS = {".csv", ".jsonl", ".ndjson", ".parquet", ".pq", ".gz", ".zip", ".bz2", ".xz", ".zst"}
"""Those of records, also compressed in a way that an import then refuses by its extension."""
_HEAD_BYTES = 65_536


@dataclass(frozen=True)
class RejectedLine:
    """A line that an import would reject.

    Attributes:
        line: its number, from 1.
        reason: why, worded to follow "line 7".
    """

    line: int
    reason: str


@dataclass(frozen=True)
class RecordsCheck:
    """What an import would find in a file.

    Attributes:
        form: CSV, JSON lines, JSON array or Parquet.
        columns: the names of its columns.
        numbered: whether rows would be numbered, because there is no column of ids.
        rows: records that can be loaded, if no two have the same id.
        rejected: lines that can't.
        rejects: the first of these.
    """

    form: str
    columns: tuple[str, ...]
    numbered: bool
    rows: int
    rejected: int
    rejects: tuple[RejectedLine, ...]


def holds_records(path: Path) -> bool:
    """Whether a file has records by its name, or by its beginning if that can also be a job as JSON."""
    endings = [ending.lower() for ending in PurePath(path).suffixes]
    if not endings or endings[-1] != ".json":
        return bool(endings) and endings[-1] in _ENDINGS
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return False
    return head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[") or b"SigningJob" not in head


def check_records(path: Path, options: ImportOptions) -> RecordsCheck:
    """Reads a whole file as an import does. Duplicate ids are not looked for.

    Raises:
        UsageError: the file can't be imported at all.
    """
    options.check()
    rows = rejected = 0
    rejects: list[RejectedLine] = []
    with open_import_source(path, options.format, piped=options.piped) as source:
        reader = reader_of(source, options)
        if source.format is Format.CSV:
            refuse_record_as_header(source, reader.columns, options)
        shape = shape_of(options, reader.columns, open_ended=reader.open_ended)
        for chunk in reader.chunks(shape, None):
            rows += len(chunk.rows)
            rejected += sum(reject.lines for reject in chunk.rejects)
            room = SHOWN_REJECTS - len(rejects)
            rejects += [RejectedLine(reject.line, reject.reason) for reject in chunk.rejects[:room]]
    return RecordsCheck(reader.form, tuple(reader.columns), shape.numbered, rows, rejected, tuple(rejects))
