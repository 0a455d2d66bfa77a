"""CSV with a header line, read by the standard library's parser: only that one reports the line of each row."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

from vaultstream.errors import ImportFileError
from vaultstream.importing.canonical import text_composer
from vaultstream.importing.ids import fault_of
from vaultstream.importing.lines import MAX_LINE_BYTES, Lines
from vaultstream.importing.rows import Chunk, PayloadType, RejectedError, Row, fault_of_text
from vaultstream.plurals import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vaultstream.importing.ids import IdType
    from vaultstream.importing.options import Shape
    from vaultstream.importing.source import ImportSource


_OTHER_SEPARATORS = ";\t|"


class CsvReader:
    """Reads comma-separated values in UTF-8; skips blank lines."""

    open_ended = False

    def __init__(self, source: ImportSource) -> None:
        csv.field_size_limit(MAX_LINE_BYTES)
        self._source = source
        self._lines = Lines(source)
        self._values = csv.reader(iter(self._lines), strict=True)
        try:
            header = next(filter(None, self._values), None)
        except csv.Error as error:
            raise ImportFileError(
                f"The header of {source.path} can't be read: it {_fault_of_line(error)}.",
                hint="Is it CSV? See --format.",
            ) from None
        if header is None:
            raise ImportFileError(f"{source.path} has no header line.")
        if self._lines.undecodable:
            raise ImportFileError(
                f"The header of {source.path} {self._lines.undecodable}.", hint="Convert the file to UTF-8."
            )
        if len(header) == 1 and (other := next((c for c in _OTHER_SEPARATORS if c in header[0]), None)):
            raise ImportFileError(
                f"The values of {source.path} seem to be separated by {other!r}.",
                hint="Convert it to commas first, or to JSON lines.",
            )
        self.columns = tuple(header)

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
                    chunk.add(row_of(line, number, row))
            except csv.Error as error:
                number += 1
                self._refuse_endless_quote(line, error)
                chunk.reject(line, _fault_of_line(error), "".join(lines.record))
            except RejectedError as rejected:
                chunk.reject(line, str(rejected), "".join(lines.record))
            if chunk.full:
                yield chunk
                chunk = Chunk()
        yield chunk

    def _row_maker(self, shape: Shape, wanted: IdType | None) -> Callable[[int, int, list[str]], Row]:
        lines = self._lines
        width = len(self.columns)
        id_place = None if shape.numbered else self.columns.index(shape.id_column)
        payload_of = self._payload_maker(shape)

        def make(line: int, number: int, row: list[str]) -> Row:
            if lines.undecodable:
                raise RejectedError(lines.undecodable)
            if len(row) != width:
                raise RejectedError(f"has {counted(len(row), 'value')}, but the header has {width}")
            if id_place is None:
                return Row(line, number, "", payload_of(row))
            if fault := fault_of(row[id_place], wanted):
                raise RejectedError(fault)
            return Row(line, number, row[id_place], payload_of(row))

        return make

    def _payload_maker(self, shape: Shape) -> Callable[[list[str]], bytes]:
        if shape.payload_column is None:
            return text_composer(shape.composed, [self.columns.index(name) for name in shape.composed])
        place = self.columns.index(shape.payload_column)

        def verbatim(row: list[str]) -> bytes:
            text = row[place]
            if fault := fault_of_text(text) if text else "has no payload":
                raise RejectedError(fault)
            return text.encode()

        return verbatim

    def _refuse_endless_quote(self, line: int, error: csv.Error) -> None:
        """Refuses the file: a quote that is never closed swallows all the lines after it, an unknown number of records."""
        if "unexpected end of data" in str(error) or "field limit" in str(error):
            raise ImportFileError(
                f"A quoted value begins on line {line} of {self._source.path} and does not end.",
                hint="Close or double the quote there.",
            ) from None


def _fault_of_line(error: csv.Error) -> str:
    if "new-line character" in str(error):
        return "is malformed: it has a carriage return outside quotes"
    return f"is malformed: {error}"
