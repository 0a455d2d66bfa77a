"""JSON: one object per line, or one array of objects."""

from __future__ import annotations

import re
from itertools import chain
from typing import TYPE_CHECKING, Any, cast

from vaultstream.canonical import CanonicalError, canonical_json
from vaultstream.errors import ImportFileError
from vaultstream.importing.ids import fault_of
from vaultstream.importing.json_elements import (
    PARSE_ERRORS,
    ArrayElements,
    JsonRecord,
    begins_array,
    fault_of_json,
    is_cut_off,
    parse_object,
)
from vaultstream.importing.lines import Lines
from vaultstream.importing.rows import Chunk, PayloadType, RejectedError, Row, fault_of_text

if TYPE_CHECKING:
    import io
    from collections.abc import Iterator

    from vaultstream.importing.ids import IdType
    from vaultstream.importing.options import Shape
    from vaultstream.importing.source import ImportSource

_USUAL_NAMES = {
    "data",
    "entries",
    "features",
    "hits",
    "items",
    "records",
    "results",
    "rows",
    "value",
    "values",
}
_SEVERAL = 2
_RECORD_SEPARATOR = b"\x1e"
_RETURN_BETWEEN_OBJECTS = re.compile(r"\}\s*\r\s*\{")
_HEAD_RECORDS = 1000
_HEAD_CHARACTERS = 1 << 20


class JsonReader:
    """Reads one object per line, in UTF-8, and skips blank lines; or the elements of one array.

    Its columns are the members found in the first records (1,000 records or 1 MiB of characters).
    """

    open_ended = True

    def __init__(self, source: ImportSource) -> None:
        self._source = source
        head = cast("io.BufferedReader", source.stream).peek(1)
        self._refuse_sequence(head)
        array = begins_array(head)
        self.form = "JSON array" if array else "JSON lines"
        self._records = iter(ArrayElements(source)) if array else _records_of_lines(source, Lines(source))
        self._head = self._read_head()
        if not array:
            self._refuse_object_of_lines()
        self.columns = tuple(dict.fromkeys(name for record in self._head for name in record.members))

    @property
    def position(self) -> int:
        return self._source.position

    def payload_type(self, shape: Shape) -> PayloadType:  # noqa: ARG002 - JSON is always text
        return "text"

    def chunks(self, shape: Shape, wanted: IdType | None) -> Iterator[Chunk]:
        self._refuse_wrapped_array(shape)
        chunk = Chunk()
        for number, record in enumerate(chain(self._head, self._records), 1):
            try:
                chunk.add(self._row(record, number, shape, wanted))
            except (RejectedError, CanonicalError) as rejected:
                chunk.reject(record.line, str(rejected), record.text)
            if chunk.full:
                yield chunk
                chunk = Chunk()
        yield chunk

    def _row(self, record: JsonRecord, number: int, shape: Shape, wanted: IdType | None) -> Row:
        if record.fault:
            raise RejectedError(record.fault)
        own_id = ""
        if shape.numbered:
            self._refuse_late_id(record, shape.id_column)
        else:
            own_id = _id_of(record.members, shape.id_column, wanted)
        return Row(record.line, number, own_id, _payload_of(record.members, shape))

    def _refuse_late_id(self, record: JsonRecord, name: str) -> None:
        if name in record.members:
            raise ImportFileError(
                f"Line {record.line} of {self._source.name} has an id {name!r}, which the first lines don't have.",
                hint="Number the rows under another name with --id-column, or give every line an id.",
            )

    def _refuse_wrapped_array(self, shape: Shape) -> None:
        """Refuses objects around the records, such as pages of an answer: each would be signed as one record.

        A file of one object is refused if there is an array of objects or arrays in it, one of several if each has one under a
        usual name and none has an id. Whoever names the members of the payload insists.
        """
        if not shape.open_ended:
            return
        self._refuse_records_by_id(shape)
        found = {array_in(record.members) for record in self._head}
        name = found.pop()
        one = len(self._head) == 1
        if found or name is None or not (one or (shape.numbered and name.split(".")[-1] in _USUAL_NAMES)):
            return
        raise ImportFileError(
            f"{self._source.subject} has {'one JSON object' if one else 'JSON objects'} around the records, which are in the array "
            f"{name!r}.",
            hint=f"Take them out, for example with jq -c '.{name}[]', which writes JSON lines. If the object itself is a record, "
            "name the members to sign with --payload-columns.",
        )

    def _refuse_records_by_id(self, shape: Shape) -> None:
        """Refuses one object whose members are objects of the same form, such as records under their ids."""
        [first, *others] = self._head
        values = list(first.members.values())
        if others or not shape.numbered or len(values) < _SEVERAL:
            return
        forms = {tuple(sorted(value)) if isinstance(value, dict) else None for value in values}
        if len(forms) == 1 and None not in forms:
            raise ImportFileError(
                f"{self._source.subject} has one JSON object around the records, which are its members.",
                hint="Make a line of each, for example with jq -c 'to_entries[] | {id: .key} + .value'. If the object itself is a "
                "record, name the members to sign with --payload-columns.",
            )

    def _refuse_sequence(self, head: bytes) -> None:
        if head.lstrip().startswith(_RECORD_SEPARATOR):
            raise ImportFileError(
                f"{self._source.subject} is a sequence of JSON texts (RFC 7464): a record separator is before each of them.",
                hint="Remove these characters: tr -d '\\036' < FILE > NEW",
            )

    def _refuse_object_of_lines(self) -> None:
        """Refuses objects of which each spans several lines: none of their lines is a record."""
        first, *others = self._head[:2]
        if first.fault and _RETURN_BETWEEN_OBJECTS.search(first.text):
            raise ImportFileError(
                f"The lines of {self._source.name} seem to end with a carriage return alone.",
                hint="Convert them: tr '\\r' '\\n' < FILE > NEW",
            )
        if others and first.fault and others[0].fault and first.text.lstrip().startswith("{"):
            if others[0].text.lstrip().startswith("{"):
                return
            raise ImportFileError(
                f"{self._source.subject} has JSON objects that span several lines.",
                hint="Write each record on a line of its own (jq -c .), or all of them as one array (jq -s .).",
            )

    def _read_head(self) -> list[JsonRecord]:
        head: list[JsonRecord] = []
        characters = 0
        for record in self._records:
            head.append(record)
            characters += len(record.text)
            if len(head) >= _HEAD_RECORDS or characters >= _HEAD_CHARACTERS:
                break
        if not head:
            raise ImportFileError(
                f"The lines of {self._source.name} are all blank.",
                hint="Check that it is JSON lines (--format).",
            )
        return head


def array_in(members: dict[str, Any], *, depth: int = 2) -> str | None:
    """Returns the path of an array of objects or arrays in an object, or in an object in it; None: it has none."""
    for name, value in members.items():
        if isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
            return name
        if depth > 1 and isinstance(value, dict) and (inner := array_in(value, depth=depth - 1)):
            return f"{name}.{inner}"
    return None


def _records_of_lines(source: ImportSource, lines: Lines) -> Iterator[JsonRecord]:
    for text in lines:
        line, undecodable = lines.number, lines.undecodable
        lines.start_record()
        if text.isspace():
            continue
        fault, members = undecodable, {}
        if undecodable is None:
            try:
                members = parse_object(text)
            except PARSE_ERRORS as error:
                if is_cut_off(text, error):
                    raise ImportFileError(
                        f"{source.subject} ends inside the record on line {line}: it seems to be cut off.",
                        hint="Download or create the file again. If nothing else is missing, complete or remove that line.",
                    ) from None
                fault = fault_of_json(error)
        yield JsonRecord(line, text, members, fault)


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
