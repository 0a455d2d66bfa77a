"""CSV with a header line, read by the standard library's parser: only that one reports the line of each row."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

from vaultstream.canonical import text_composer
from vaultstream.errors import ImportFileError
from vaultstream.importing.csv_header import (
    CsvHeader,
    fault_of_no_record,
    header_of,
    lines_at_returns,
    other_line_end_in,
    other_separator_after_quotes,
    other_separator_in,
    separator_of,
    unmarked,
)
from vaultstream.importing.encoding import TO_UTF_8
from vaultstream.importing.ids import fault_of, is_number_or_uuid
from vaultstream.importing.lines import MAX_LINE_BYTES, Lines
from vaultstream.importing.quotes import swallows_records
from vaultstream.importing.rejects import Reject
from vaultstream.importing.rows import Chunk, PayloadType, RejectedError, Row, fault_of_text
from vaultstream.plurals import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vaultstream.importing.ids import IdType
    from vaultstream.importing.options import Shape
    from vaultstream.importing.source import ImportSource


class MisshapenRowError(RejectedError):
    """A row has not as many values as the header."""


class CsvReader:
    """Reads comma-separated values in UTF-8; skips blank lines."""

    open_ended = False
    form = "CSV"

    def __init__(self, source: ImportSource, *, allow_multiline: bool = False) -> None:
        csv.field_size_limit(MAX_LINE_BYTES)
        self._source = source
        self._allow_multiline = allow_multiline
        self._lines = Lines(source)
        self._values = csv.reader(iter(self._lines), strict=True)
        self._header = self._read_header()
        self.columns = self._header.names
        self._first_id: str | None = None
        """The first id that is not the name of its column."""
        self._named_line: int | None = None
        """The first line whose id is that name, before there was another one to compare it with."""

    def _read_header(self) -> CsvHeader:
        source, lines = self._source, self._lines
        try:
            row = self._first_row()
            if row and (separator := separator_of(lines.record[-1])):
                self._refuse_separator(None if separator == "," else separator)
                row = self._first_row()
        except csv.Error as error:
            self._refuse_separator(other_separator_after_quotes(lines.record[-1]))
            fault = _fault_of_line(error)
            raise ImportFileError(
                f"The header of {source.name} can't be read: it {fault}.",
                hint=_END_LINES if fault == _CARRIAGE_RETURN else "Is it CSV? See --format.",
            ) from None
        if row is None or not any(map(str.strip, row)):
            raise ImportFileError(f"{source.subject} has no header line.")
        if lines.undecodable:
            raise ImportFileError(f"The header of {source.name} {lines.undecodable}.", hint=TO_UTF_8)
        if lines.nul:
            raise ImportFileError(
                f"The header of {source.name} contains a NUL byte, which is no part of text.",
                hint="Remove it: tr -d '\\0' < FILE > NEW",
            )
        self._refuse_separator(other_separator_in(row))
        if other := other_line_end_in("".join(lines.record)):
            raise ImportFileError(
                f"The lines of {source.name} seem to end with U+{ord(other):04X}, not with a line feed.",
                hint="Create the file again with line feeds, or convert them.",
            )
        self._refuse_stray_quote(lines.number - len(lines.record) + 1, lines.record[0].count(",") + 1, None)
        return header_of(row)

    def _first_row(self) -> list[str] | None:
        """Returns the next row that is not blank."""
        while True:
            self._lines.start_record()
            row = next(self._values, None)
            if row != []:
                return row

    def _refuse_separator(self, other: str | None) -> None:
        if other is not None:
            raise ImportFileError(
                f"The values of {self._source.name} seem to be separated by {other!r}.",
                hint="Convert it to commas first, or to JSON lines.",
            )

    @property
    def position(self) -> int:
        return self._source.position

    def payload_type(self, shape: Shape) -> PayloadType:  # noqa: ARG002 - CSV is always text
        return "text"

    def chunks(self, shape: Shape, wanted: IdType | None) -> Iterator[Chunk]:
        lines, values = self._lines, self._values
        row_of = self._row_maker(shape, wanted)
        chunk, number = Chunk(), 0
        while True:
            lines.start_record()
            line = lines.number + 1
            try:
                row = next(values, None)
                if row is None:
                    break
                if row:
                    number += 1
                    if len(lines.record) > 1:
                        self._refuse_stray_quote(line, self._header.width, self._id_place(shape))
                    chunk.add(row_of(line, number, row))
            except csv.Error as error:
                number += 1
                self._refuse_endless_quote(line, error)
                self._refuse_other_line_end(line, error)
                self._refuse_stray_quote(line, self._header.width, self._id_place(shape))
                chunk.add_reject(self._rejected_whole(line, _fault_of_line(error)))
            except MisshapenRowError as misshapen:
                chunk.add_reject(self._rejected_whole(line, str(misshapen)))
            except RejectedError as rejected:
                chunk.reject(line, str(rejected), "".join(lines.record))
            if chunk.full:
                yield chunk
                chunk = Chunk()
        yield chunk

    def _row_maker(self, shape: Shape, wanted: IdType | None) -> Callable[[int, int, list[str]], Row]:
        lines, header = self._lines, self._header
        width, named = header.width, len(header.names)
        names = frozenset(name.strip().casefold() for name in header.names)
        id_place, id_name = self._id_place(shape), shape.id_column.strip().casefold()
        payload_of = self._payload_maker(shape)

        def make(line: int, number: int, row: list[str]) -> Row:
            if lines.undecodable:
                raise RejectedError(lines.undecodable)
            if len(row) != width:
                raise MisshapenRowError(f"has {counted(len(row), 'value')}, but the header has {width}")
            if unmarked(row[0]).strip().casefold() in names or (
                id_place and row[id_place].strip().casefold() == id_name
            ):
                self._check_no_header(line, row, id_place)
            if fault := fault_of_no_record(row, first=number == 1):
                raise RejectedError(fault)
            if named != width and any(map(str.strip, row[named:])):
                raise RejectedError("has a value in a column that has no name")
            if id_place is None:
                return Row(line, number, "", payload_of(row))
            if fault := fault_of(row[id_place], wanted):
                raise RejectedError(fault)
            if self._first_id is None:
                self._note_first(line, row[id_place], id_name)
            return Row(line, number, row[id_place], payload_of(row))

        return make

    def _id_place(self, shape: Shape) -> int | None:
        return None if shape.numbered else self.columns.index(shape.id_column)

    def _check_no_header(self, line: int, row: list[str], id_place: int | None) -> None:
        """Rejects the header if it comes again; refuses the file if it comes again with other columns or in another order."""
        if self._header.is_repeated_by(row):
            raise RejectedError("is the header again")
        if self._header.is_replaced_by(row, id_place, self._first_id):
            raise self._other_header(line)

    def _note_first(self, line: int, found: str, id_name: str) -> None:
        """Notes the first id; refuses the file if a line before it had the id column's own name, and ids are no text."""
        if unmarked(found).strip().casefold() == id_name:
            self._named_line = self._named_line or line
            return
        self._first_id = found
        if self._named_line is not None and is_number_or_uuid(found):
            raise self._other_header(self._named_line)

    def _other_header(self, line: int) -> ImportFileError:
        return ImportFileError(
            f"Line {line} of {self._source.name} is the header again, with other columns or in another order.",
            hint="If these are two files in one, import them one by one, the second with --append. If it explains the columns, remove it.",
        )

    def _rejected_whole(self, line: int, reason: str) -> Reject:
        """Returns a record whose shape is wrong as rejected, with all its lines: each of them may be a record."""
        record = self._lines.record
        return Reject(line, reason, "".join(record), len(record))

    def _refuse_stray_quote(self, line: int, width: int, id_place: int | None) -> None:
        record = self._lines.record
        if self._allow_multiline or not swallows_records(record, width, id_place):
            return
        raise ImportFileError(
            f"A quoted value in lines {line} to {line + len(record) - 1} of {self._source.name} holds lines that look like "
            "records: a quote is probably missing or one too many.",
            hint=f"Close or double the quote in line {line}, or remove it. If the value really has these lines, "
            "give --allow-multiline.",
        )

    def _payload_maker(self, shape: Shape) -> Callable[[list[str]], bytes]:
        if shape.payload_column is None:
            lines = self._lines
            compose = text_composer(shape.composed, [self.columns.index(name) for name in shape.composed])

            def composed(row: list[str]) -> bytes:
                if lines.nul:
                    raise RejectedError("contains a NUL byte, which is no part of text")
                return compose(row)

            return composed
        place = self.columns.index(shape.payload_column)

        def verbatim(row: list[str]) -> bytes:
            text = row[place]
            if fault := fault_of_text(text) if text else "has no payload":
                raise RejectedError(fault)
            return text.encode()

        return verbatim

    def _refuse_endless_quote(self, line: int, error: csv.Error) -> None:
        """Refuses the file: a quote that is never closed swallows all the lines after it, an unknown number of records."""
        too_long = "field limit" in str(error)
        if too_long or "unexpected end of data" in str(error):
            raise ImportFileError(
                f"A quoted value begins on line {line} of {self._source.name} and "
                + ("is longer than 64 MiB." if too_long else "does not end."),
                hint="Close or double the quote there.",
            ) from None

    def _refuse_other_line_end(self, line: int, error: csv.Error) -> None:
        """Refuses the file: each carriage return in this line may be the end of a record."""
        if _fault_of_line(error) == _CARRIAGE_RETURN and lines_at_returns(
            self._lines.record[-1], self._header.width
        ):
            raise ImportFileError(
                f"Line {line} of {self._source.name} seems to be several records, which end with a carriage return alone.",
                hint=_END_LINES,
            ) from None


_CARRIAGE_RETURN = "is malformed: it has a carriage return outside quotes"
_END_LINES = "If lines end with a carriage return alone: tr '\\r' '\\n' < FILE > NEW"


def _fault_of_line(error: csv.Error) -> str:
    if "new-line character" in str(error):
        return _CARRIAGE_RETURN
    return f"is malformed: {error}"
