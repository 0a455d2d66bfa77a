"""JSON lines: one object per line."""

from __future__ import annotations

import json
from itertools import chain
from typing import TYPE_CHECKING, Any

from vaultstream.errors import ImportFileError
from vaultstream.importing.canonical import CanonicalError, canonical_json
from vaultstream.importing.ids import fault_of
from vaultstream.importing.lines import Lines
from vaultstream.importing.rows import Chunk, PayloadType, RejectedError, Row, fault_of_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from vaultstream.importing.ids import IdType
    from vaultstream.importing.options import Shape
    from vaultstream.importing.source import ImportSource

_HEAD_LINES = 1000
_HEAD_CHARACTERS = 1 << 20


class JsonLinesReader:
    """Reads one object per line, in UTF-8; skips blank lines.

    Its columns are the members found in the first lines (1,000 lines or 1 MiB of characters).
    """

    open_ended = True

    def __init__(self, source: ImportSource) -> None:
        self._source = source
        self._lines = Lines(source)
        self._texts = iter(self._lines)
        self._head = self._read_head()
        names: dict[str, None] = {}
        for _, text, undecodable in self._head:
            try:
                names.update(dict.fromkeys(_parse(text, undecodable)))
            except RejectedError:
                continue
        self.columns = tuple(names)

    @property
    def position(self) -> int:
        return self._source.position

    def payload_type(self, shape: Shape) -> PayloadType:  # noqa: ARG002 - JSON is always text
        return "text"

    def chunks(self, shape: Shape, wanted: IdType | None) -> Iterator[Chunk]:
        chunk, number = Chunk(), 0
        for line, text, undecodable in chain(self._head, self._records(self._texts)):
            if text.isspace():
                continue
            number += 1
            try:
                record = _parse(text, undecodable)
                own_id = ""
                if shape.numbered:
                    self._refuse_late_id(record, shape.id_column, line)
                else:
                    own_id = _id_of(record, shape.id_column, wanted)
                chunk.add(Row(line, number, own_id, _payload_of(record, shape)))
            except (RejectedError, CanonicalError) as rejected:
                chunk.reject(line, str(rejected), text)
            if chunk.full:
                yield chunk
                chunk = Chunk()
        yield chunk

    def _refuse_late_id(self, record: dict[str, Any], name: str, line: int) -> None:
        if name in record:
            raise ImportFileError(
                f"Line {line} of {self._source.path} has an id {name!r}, which the first lines don't have.",
                hint="Number the rows under another name with --id-column, or give every line an id.",
            )

    def _records(self, texts: Iterable[str]) -> Iterator[tuple[int, str, str | None]]:
        lines = self._lines
        for text in texts:
            record = (lines.number, text, lines.undecodable)
            lines.start_record()
            yield record

    def _read_head(self) -> list[tuple[int, str, str | None]]:
        head: list[tuple[int, str, str | None]] = []
        characters = 0
        for record in self._records(self._texts):
            head.append(record)
            characters += len(record[1])
            if len(head) >= _HEAD_LINES or characters >= _HEAD_CHARACTERS:
                break
        if all(text.isspace() for _, text, _ in head):
            raise ImportFileError(
                f"The first lines of {self._source.path} are all blank.",
                hint="Check that it is JSON lines (--format).",
            )
        return head


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in members if names.count(name) > 1)
        raise RejectedError(f"has the member {twice!r} more than once")
    return members


def _no_number(name: str) -> float:
    raise RejectedError(f"is malformed: {name} is not JSON")


_decode = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_number).decode


def _parse(text: str, undecodable: str | None) -> dict[str, Any]:
    if undecodable:
        raise RejectedError(undecodable)
    try:
        record = _decode(text.rstrip())
    except json.JSONDecodeError as error:
        raise RejectedError(f"is malformed: {error.msg} at column {error.colno}") from None
    except RecursionError:
        raise RejectedError("is nested too deeply") from None
    except ValueError:  # Python's own limit on the digits of an integer
        raise RejectedError("contains a number with thousands of digits") from None
    if not isinstance(record, dict):
        raise RejectedError("is not a JSON object")
    return record


def _id_of(record: dict[str, Any], column: str, wanted: IdType | None) -> str:
    value = record.get(column)
    if isinstance(value, bool | float | dict | list):
        raise RejectedError("has an id that is neither a string nor an integer")
    text = None if value is None else str(value)
    if fault := fault_of(text, wanted):
        raise RejectedError(fault)
    try:
        return str(text).encode().decode()
    except UnicodeEncodeError:
        raise RejectedError("has an id with half of a surrogate pair, which is not text") from None


def _payload_of(record: dict[str, Any], shape: Shape) -> bytes:
    if shape.payload_column is not None:
        value = record.get(shape.payload_column)
        if value is None:
            raise RejectedError("has no payload")
        if not isinstance(value, str):
            return canonical_json(value)
        if fault := fault_of_text(value):
            raise RejectedError(fault)
        try:
            return value.encode()
        except UnicodeEncodeError:
            raise CanonicalError("contains half of a surrogate pair, which is not text") from None
    if shape.open_ended:
        if not shape.numbered:
            del record[shape.id_column]
        return canonical_json(record)
    try:
        return canonical_json({name: record[name] for name in shape.composed})
    except KeyError as missing:
        raise RejectedError(f"has no member {missing.args[0]!r}") from None
