"""Parquet, read one batch of rows at a time."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq

from vaultstream.canonical import (
    MAX_SAFE_INTEGER,
    CanonicalError,
    canonical_json,
    encode_string,
    object_composer,
)
from vaultstream.errors import ImportFileError
from vaultstream.importing.ids import fault_of
from vaultstream.importing.parquet_file import (
    FAULTS,
    first_line,
    open_parquet,
    refuse_encrypted,
)
from vaultstream.importing.parquet_integers import find_unfit, has_small_integers, open_wide
from vaultstream.importing.parquet_times import is_time, texts_of_times
from vaultstream.importing.rows import Chunk, PayloadType, Row, fault_of_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vaultstream.importing.ids import IdType
    from vaultstream.importing.options import Shape
    from vaultstream.importing.source import ImportSource

_BATCH_ROWS = 8192
_BATCH_BYTES = 16 * 1024 * 1024
_UUID_BYTES = 16


class ParquetReader:
    """Reads a Parquet file; its line numbers are row numbers, from 1."""

    open_ended = False
    form = "Parquet"

    def __init__(self, source: ImportSource) -> None:
        self._source = source
        self._done = 0
        self._file = open_parquet(source)
        self._types: dict[str, pa.DataType] = {
            field.name: _logical(field.type) for field in self._file.schema_arrow
        }
        self.columns = tuple(self._file.schema_arrow.names)
        self._stored = _stored_types(self._file)

    @property
    def position(self) -> int:
        return int(self._source.size * self._done // max(1, self._file.metadata.num_rows))

    def payload_type(self, shape: Shape) -> PayloadType:
        if shape.payload_column is None:
            return "text"
        kind = self._types[shape.payload_column]
        if _is_binary(kind):
            return "bytea"
        if _is_text(kind):
            return "text"
        raise ImportFileError(
            f"The column {shape.payload_column!r} has the type {kind}; a payload that is signed as it is must be binary or string.",
            hint=f"Compose a payload from it with --payload-columns {shape.payload_column}."
            if _has_json_form(kind)
            else "Write it as text, or name another column.",
        )

    def chunks(self, shape: Shape, wanted: IdType | None) -> Iterator[Chunk]:
        own_id = None if shape.numbered else shape.id_column
        columns = [*shape.composed, *filter(None, [own_id, shape.payload_column])]
        self._check_types(shape)
        compose = object_composer(shape.composed) if shape.composed else None
        names = list(dict.fromkeys(columns))
        try:
            for batch, seconds in self._batches(names):
                yield self._chunk(batch, seconds, shape, wanted, compose)
                self._done += batch.num_rows
        except FAULTS as error:
            refuse_encrypted(self._source, error)
            raise ImportFileError(
                f"{self._source.subject} is damaged after row {self._done}: {first_line(error)}.",
                hint="Download or create the file again.",
            ) from None
        if self._done != self._file.metadata.num_rows:
            raise ImportFileError(
                f"{self._source.subject} is damaged: it has {self._done} rows, but its footer says "
                f"{self._file.metadata.num_rows}.",
                hint="Download or create the file again.",
            )

    def _batches(self, names: list[str]) -> Iterator[tuple[pa.RecordBatch, dict[str, list[int | None]]]]:
        """Yields each batch with the seconds of its columns that are stored as INT96, by name; see `texts_of_times`."""
        wide = [name for name in names if self._stored.get(name) == "INT96"]
        small = any(has_small_integers(self._types[name]) for name in names)
        file = open_wide(self._source) if small else self._file
        batches = file.iter_batches(self._batch_rows(), columns=names)
        if not wide:
            for batch in batches:
                yield batch, {}
            return
        with pq.ParquetFile(
            self._source.path, coerce_int96_timestamp_unit="s", page_checksum_verification=True
        ) as again:
            coarse = again.iter_batches(self._batch_rows(), columns=wide)
            for batch, whole in zip(batches, coarse, strict=True):
                yield batch, {name: whole.column(name).cast(pa.int64()).to_pylist() for name in wide}

    def _chunk(
        self,
        batch: pa.RecordBatch,
        seconds: dict[str, list[int | None]],
        shape: Shape,
        wanted: IdType | None,
        compose: Callable[[tuple[str, ...]], bytes] | None,
    ) -> Chunk:
        chunk = Chunk()
        faults: dict[int, str] = {}
        size = batch.num_rows
        for name in batch.schema.names:
            if has_small_integers(self._types[name]):
                find_unfit(batch.column(name), self._types[name], faults)
        ids = [""] * size
        if not shape.numbered:
            ids = _ids(batch.column(shape.id_column), faults, wanted)
        if compose is None:
            payloads = _payloads(batch.column(shape.payload_column), faults)
        else:
            members = [_fragments(batch.column(name), seconds.get(name), faults) for name in shape.composed]
            payloads = [compose(values) for values in zip(*members, strict=True)]
        for index in range(size):
            line = self._done + index + 1
            if index in faults:
                chunk.reject(line, faults[index], _excerpt(batch, index))
            else:
                chunk.add(Row(line, line, ids[index], payloads[index]))
        return chunk

    def _batch_rows(self) -> int:
        """Returns how many rows make a batch that is small in memory, based on the sizes in the file's metadata."""
        metadata = self._file.metadata
        total = sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))
        return int(max(1, min(_BATCH_ROWS, _BATCH_BYTES * metadata.num_rows // max(1, total))))

    def _check_types(self, shape: Shape) -> None:
        for name in shape.composed:
            if not _has_json_form(self._types[name]):
                raise ImportFileError(
                    f"The column {name!r} has the type {self._types[name]}, which has no canonical form.",
                    hint="Leave it out with --payload-columns, or write it as text.",
                )
        if not shape.numbered:
            kind = self._types[shape.id_column]
            if not (pa.types.is_integer(kind) or _is_text(kind) or _is_uuid(kind)):
                raise ImportFileError(
                    f"The id column {shape.id_column!r} has the type {kind}; an id is an integer, a UUID or text.",
                    hint="Name another column with --id-column.",
                )


def _stored_types(file: pq.ParquetFile) -> dict[str, str]:
    """Returns how the columns at the top are stored, by name. A name may have a dot in it; a nested value has no level of its own."""
    return {
        column.path: column.physical_type
        for column in file.schema
        if column.max_repetition_level == 0 and column.path in file.schema_arrow.names
    }


def _logical(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        return kind.value_type
    return kind.storage_type if _is_json(kind) else kind


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_binary(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(
        types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_fixed_size_binary(kind)
        or types.is_binary_view(kind)
    )


def _is_uuid(kind: pa.DataType) -> bool:
    if isinstance(kind, pa.BaseExtensionType):
        return bool(kind.extension_name == "arrow.uuid")
    return bool(pa.types.is_fixed_size_binary(kind) and kind.byte_width == _UUID_BYTES)


def _is_json(kind: pa.DataType) -> bool:
    """Whether it is text that Arrow marked as JSON. Other writers' JSON is read as a string, so this is one too."""
    return isinstance(kind, pa.BaseExtensionType) and kind.extension_name == "arrow.json"


def _is_plain(kind: pa.DataType) -> bool:
    types = pa.types
    if types.is_struct(kind):
        names = [field.name for field in kind]
        return len(set(names)) == len(names) and all(_is_plain(field.type) for field in kind)
    if types.is_list(kind) or types.is_large_list(kind):
        return _is_plain(kind.value_type)
    scalar = (
        types.is_null(kind) or types.is_boolean(kind) or types.is_integer(kind) or types.is_floating(kind)
    )
    return bool(scalar or _is_text(kind))


def _has_json_form(kind: pa.DataType) -> bool:
    return bool(
        _is_plain(kind) or is_time(kind) or pa.types.is_decimal(kind) or _is_binary(kind) or _is_uuid(kind)
    )


def _plain_array(column: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        return column.dictionary_decode()
    return column.storage if _is_json(column.type) else column


def _values(column: pa.Array, faults: dict[int, str]) -> list[Any]:
    """Returns a column as Python values; a row with text that is not UTF-8 is added to `faults`."""
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError:
        values: list[Any] = []
        for index, value in enumerate(column):
            try:
                values.append(value.as_py())
            except UnicodeDecodeError:
                faults.setdefault(index, "contains text that is not UTF-8")
                values.append(None)
        return values


def _ids(column: pa.Array, faults: dict[int, str], wanted: IdType | None) -> list[str]:
    column = _plain_array(column)
    values = _values(column, faults)
    if pa.types.is_fixed_size_binary(column.type):
        values = [None if value is None else UUID(bytes=value) for value in values]
    ids = ["" if value is None else str(value) for value in values]
    for index, text in enumerate(ids):
        if fault := fault_of(text, wanted):
            faults.setdefault(index, fault)
    return ids


def _payloads(column: pa.Array, faults: dict[int, str]) -> list[bytes]:
    payloads = []
    for index, value in enumerate(_values(_plain_array(column), faults)):
        fault = (
            "has no payload" if value is None else fault_of_text(value) if isinstance(value, str) else None
        )
        if fault:
            faults.setdefault(index, fault)
        payloads.append(value.encode() if isinstance(value, str) else value or b"")
    return payloads


def _fragments(column: pa.Array, seconds: list[int | None] | None, faults: dict[int, str]) -> list[str]:
    """Returns the canonical JSON of each value of a column; a row whose value has none is added to `faults`."""
    column = _plain_array(column)
    if _is_plain(column.type) and not _is_text(column.type):
        values = _values(column, faults)
        if pa.types.is_integer(column.type) and all(
            v is not None and abs(v) <= MAX_SAFE_INTEGER for v in values
        ):
            return list(map(str, values))
        return [_canonical(value, index, faults) for index, value in enumerate(values)]
    if is_time(column.type):
        texts = texts_of_times(column, seconds, faults)
        return ["null" if text is None else encode_string(text) for text in texts]
    text_of = _text_maker(column.type)
    values = _values(column, faults)
    return ["null" if value is None else encode_string(text_of(value)) for value in values]


def _text_maker(kind: pa.DataType) -> Callable[[Any], str]:
    """Returns the function that makes the text of a value whose type JSON writes as a string."""
    if pa.types.is_decimal(kind):
        return lambda number: format(number, "f")
    if _is_binary(kind):
        return lambda raw: base64.b64encode(raw).decode()
    return str


def _canonical(value: Any, index: int, faults: dict[int, str]) -> str:
    try:
        return canonical_json(value).decode()
    except CanonicalError as error:
        faults.setdefault(index, str(error))
        return "null"


def _excerpt(batch: pa.RecordBatch, index: int) -> str:
    values: dict[str, Any] = {}
    for name in batch.schema.names:
        try:
            values[name] = batch.column(name)[index].as_py()
        except (
            ValueError,
            OverflowError,
            KeyError,
            pa.ArrowException,
        ):  # beyond Python's types, or an unknown zone
            values[name] = "?"
    return str(values)
