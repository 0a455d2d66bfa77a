"""What the first lines of a CSV file are: a separator's line, the header, or already a record."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vaultstream.importing.ids import is_number_or_uuid, is_uuid

if TYPE_CHECKING:
    from collections.abc import Sequence

_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?,*\s*', re.IGNORECASE)
_OTHER_SEPARATORS = ";\t|^~\x01\x02\x1f"  # also those of Hive, and of ASCII
_OTHER_LINE_ENDS = "\x85\u2028\u2029\x0b\x0c\x1e"
_QUOTED = re.compile(r'"(?:[^"]|"")*"')
_NUMBER = re.compile(r"[+-]?[0-9]+([.,][0-9]+)?([eE][+-]?[0-9]+)?")
_FRACTION = re.compile(r"[+-]?[0-9]+\.[0-9]+")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ].*)?|[0-9]{1,2}[./][0-9]{1,2}[./][0-9]{2,4}")


@dataclass(frozen=True)
class CsvHeader:
    """The columns of a CSV file."""

    names: tuple[str, ...]
    """Without the columns at the end that have no name."""
    width: int
    """Number of values in each row, including those of columns without a name."""

    def is_repeated_by(self, row: Sequence[str]) -> bool:
        """Whether a row is the header again, as where files were concatenated: in any case, and with a byte order mark."""
        return _plain(row)[: len(self.names)] == _plain(self.names) and len(row) == self.width

    def is_replaced_by(self, row: Sequence[str], id_place: int | None, first_id: str | None) -> bool:
        """Whether a row is another header: it has the same names in another order, or the id column's own name as its id.

        Args:
            row: as many values as the header has.
            id_place: which of them is the id; None: rows are numbered.
            first_id: the id of a record before; None: there is none. If it is text, the name of its column may be an id, too, but not
                beside that of another column.
        """
        own, names = _plain(row), _plain(self.names)
        if own[: len(names)] == names:
            return False
        if sorted(own) == sorted(names):
            return True
        if id_place is None or own[id_place] != names[id_place]:
            return False
        if not set(own).isdisjoint({*names} - {names[id_place], ""}):
            return True
        return first_id is not None and is_number_or_uuid(first_id)


def _plain(row: Sequence[str]) -> list[str]:
    return [unmarked(row[0]).strip().casefold(), *(value.strip().casefold() for value in row[1:])]


def unmarked(value: str) -> str:
    """Returns the first value of a file's first line without its byte order mark, and the quotes that are data behind it."""
    return value[1:].strip('"') if value.startswith("\ufeff") else value


def header_of(row: Sequence[str]) -> CsvHeader:
    """Returns the header that the first row makes; columns at its end without a name, or of spaces, hold nothing."""
    names = list(row)
    while names and not names[-1].strip():
        names.pop()
    return CsvHeader(tuple(names), len(row))


def separator_of(line: str) -> str | None:
    """Returns the separator that a line like `sep=;` announces, which Excel reads and writes; None: no such line."""
    found = _SEPARATOR_LINE.fullmatch(line)
    return found[1] if found else None


def other_separator_in(header: Sequence[str]) -> str | None:
    """Returns the separator that a header without commas seems to use instead."""
    return next((c for c in _OTHER_SEPARATORS if c in header[0]), None) if len(header) == 1 else None


def other_line_end_in(line: str) -> str | None:
    """Returns the character that seems to end lines in place of a line feed: it is in the header, outside quotes; or None."""
    return next((c for c in _QUOTED.sub("", line) if c in _OTHER_LINE_ENDS), None)


def lines_at_returns(line: str, width: int) -> bool:
    """Whether a line with carriage returns outside its quotes seems to be several records, which these end."""
    records = _QUOTED.sub("", line).rstrip("\r\n").split("\r")
    return width > 1 and len(records) > 1 and any(record.count(",") == width - 1 for record in records[1:])


def fault_of_no_record(row: Sequence[str], *, first: bool) -> str | None:
    """Returns why a row is no record, worded to follow "The line …"; None: nothing says so.

    Args:
        row: as many values as the header has.
        first: whether it is the first one after the header, where programs draw a line, as in `--,----`.
    """
    if row[0].startswith("\ufeff"):
        return "begins with a byte order mark, as at the beginning of another file"
    if separator_of(row[0]) or (row[0].casefold() == "sep=" and not any(row[1:])):
        return "announces the separator, as at the beginning of another file"
    if not any(row):
        return "has only empty values"
    if first and all(value and not value.strip("-") for value in row) and len("".join(row)) > len(row):
        return "is a line drawn under the header"
    return None


def not_separated(header: Sequence[str], id_column: str) -> str | None:
    """Returns how the columns of a file seem to be told apart, if its header has one name that is likelier several; or None."""
    [name, *others] = header
    if others:
        return None
    if len(name) > 1 and not name.strip("+-=| "):
        return "drawn with lines"
    words = [word.casefold() for word in name.split()]
    if re.search(r"\S {2,}\S", name) or (len(words) > 1 and id_column.casefold() in words):
        return "separated by spaces or of fixed widths"
    return None


def other_separator_after_quotes(line: str) -> str | None:
    """Returns the separator between quoted names in the line of a header, as in `"id";"name"`, if it is not the comma; or None."""
    found = re.match(rf'\s*"(?:[^"]|"")*"\s*([{_OTHER_SEPARATORS}])\s*("|[^,]*$)', line)
    return found[1] if found else None


def likelier_separator_in(names: Sequence[str]) -> str | None:
    """Returns the separator that is more frequent in a header than the comma, as in `id;Name;Price, net`; or None."""
    counts = {c: sum(name.count(c) for name in names) for c in _OTHER_SEPARATORS}
    likeliest = max(counts, key=lambda c: counts[c])
    return likeliest if counts[likeliest] > len(names) - 1 else None


def looks_like_record(names: Sequence[str]) -> bool:
    """Whether the names of a header are likelier values: the first one is a number, or one is a date, a UUID or a fraction.

    Numbers after the first one are no sign: tables with a column for each year are common.
    """
    return bool(_NUMBER.fullmatch(names[0].strip())) or any(
        is_uuid(name) or _DATE.fullmatch(name) or _FRACTION.fullmatch(name) for name in names
    )
