"""Integers of 8 and 16 bits in Parquet. They are stored in 32, and Arrow cuts off what the smaller type can't hold.

So they are read as what they are stored in: by a copy of the footer in which the schema says so. Whoever uses the values compares them
with the type that the file has for them.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vaultstream.importing.source import ImportSource

_SMALL_BITS = 16
_MAGIC = b"PAR1"
_FOOTER_END_BYTES = 8
# Thrift's compact protocol: kinds of values.
_TRUE, _FALSE, _BYTE = 1, 2, 3
_DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(7, 13)  # those between are numbers of any length
_FIXED = {_TRUE: 0, _FALSE: 0, _BYTE: 1, _DOUBLE: 8}
"""Bytes of a value, where all values of a kind have as many."""
_LONG = 15
"""In place of a length in the head of a list: the length follows."""
_MORE = 128
"""This bit of a byte says that more of its number follows."""
_SCHEMA, _CONVERTED, _LOGICAL, _INTEGER = 2, 6, 10, 10
"""Fields: the schema of the footer, the converted and the logical type of an element, and that one's integer."""
_BITS, _SIGNED = 1, 2
_CONVERTED_SMALL = {11, 12, 15, 16}  # UINT_8, UINT_16, INT_8, INT_16
_INT_32 = 17


def has_small_integers(kind: pa.DataType) -> bool:
    """Whether a type is an integer of 8 or 16 bits, or has some in it."""
    if pa.types.is_integer(kind):
        return bool(kind.bit_width <= _SMALL_BITS)
    return any(has_small_integers(kind.field(place).type) for place in range(kind.num_fields))


def open_wide(source: ImportSource) -> pq.ParquetFile:
    """Opens a file once more, with its integers of 8 and 16 bits as signed ones of 32."""
    source.stream.seek(source.size - _FOOTER_END_BYTES)
    size = int.from_bytes(source.stream.read(4), "little")
    source.stream.seek(source.size - _FOOTER_END_BYTES - size)
    footer = bytearray(source.stream.read(size))
    _Widening(footer).run()
    whole = _MAGIC + footer + size.to_bytes(4, "little") + _MAGIC
    return pq.ParquetFile(
        source.stream, metadata=pq.read_metadata(io.BytesIO(whole)), page_checksum_verification=True
    )


def find_unfit(column: pa.Array, declared: pa.DataType, faults: dict[int, str]) -> None:
    """Adds the rows of a column to `faults` that have an integer which its type can't hold.

    Args:
        column: as `open_wide` reads it.
        declared: its type in the file.
        faults: why rows are rejected, by their places.
    """
    if pa.types.is_integer(declared):
        low, high = _bounds(declared)
        found = pc.min_max(column).as_py()
        if found["min"] is None or low <= found["min"] <= found["max"] <= high:
            return
    for place, value in enumerate(column.to_pylist()):
        if (unfit := _unfit(value, declared)) is not None:
            number, kind = unfit
            faults.setdefault(place, f"has the number {number}, which its type ({kind}) can't hold")


def _bounds(kind: pa.DataType) -> tuple[int, int]:
    if pa.types.is_signed_integer(kind):
        return -(2 ** (kind.bit_width - 1)), 2 ** (kind.bit_width - 1) - 1
    return 0, int(2**kind.bit_width - 1)


def _unfit(value: Any, kind: pa.DataType) -> tuple[int, pa.DataType] | None:
    """Returns the first integer in a value that its type can't hold, with that type."""
    if value is None or not has_small_integers(kind):
        return None
    if pa.types.is_integer(kind):
        low, high = _bounds(kind)
        return None if low <= value <= high else (value, kind)
    if pa.types.is_struct(kind):
        parts = [(value[field.name], field.type) for field in kind]
    else:
        parts = [(item, kind.value_type) for item in value]
    return next((unfit for part, own in parts if (unfit := _unfit(part, own)) is not None), None)


class _Widening:
    """Changes the types in a footer in place; no byte is added or removed."""

    def __init__(self, data: bytearray) -> None:
        self._data = data
        self._at = 0

    def run(self) -> None:
        for field, kind in self._fields():
            if field == _SCHEMA:
                for _ in range(self._head_of_list()[0]):
                    self._element()
                return
            self._skip(kind)

    def _element(self) -> None:
        for field, kind in self._fields():
            start = self._at
            if field == _CONVERTED and self._number() >> 1 in _CONVERTED_SMALL:
                self._data[start] = _INT_32 << 1  # zigzag
            elif field == _CONVERTED:
                continue
            elif field == _LOGICAL:
                self._logical()
            else:
                self._skip(kind)

    def _logical(self) -> None:
        for field, kind in self._fields():
            if field == _INTEGER:
                self._integer()
            else:
                self._skip(kind)

    def _integer(self) -> None:
        small, sign = False, None
        for field, kind in self._fields():
            if field == _BITS and self._data[self._at] <= _SMALL_BITS:
                small, self._data[self._at] = True, 32
            elif field == _SIGNED:
                sign = self._at - 1
            self._skip(kind)
        if small and sign is not None:
            self._data[sign] = self._data[sign] & 0xF0 | _TRUE  # a truth value is in the head of its field

    def _fields(self) -> Iterator[tuple[int, int]]:
        field = 0
        while head := self._byte():
            kind, delta = head & 15, head >> 4
            field = field + delta if delta else self._number() >> 1
            yield field, kind

    def _skip(self, kind: int) -> None:
        if kind in _FIXED:
            self._at += _FIXED[kind]
        elif kind == _BINARY:
            length = self._number()
            self._at += length
        elif kind in (_LIST, _SET):
            count, of = self._head_of_list()
            for _ in range(count):
                self._skip_item(of)
        elif kind == _MAP:
            self._skip_map()
        elif kind == _STRUCT:
            for _, inner in self._fields():
                self._skip(inner)
        else:
            self._number()

    def _skip_map(self) -> None:
        if count := self._number():
            kinds = self._byte()
            for _ in range(count):
                self._skip_item(kinds >> 4)
                self._skip_item(kinds & 15)

    def _skip_item(self, kind: int) -> None:
        self._skip(_BYTE if kind in (_TRUE, _FALSE) else kind)

    def _head_of_list(self) -> tuple[int, int]:
        head = self._byte()
        count = head >> 4
        return (self._number() if count == _LONG else count), head & 15

    def _byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1]

    def _number(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte % _MORE) << shift
            shift += 7
            if byte < _MORE:
                return value
