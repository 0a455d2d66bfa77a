"""A value of Parquet comes out as it is, or its row is rejected: never as another value."""

from __future__ import annotations

import datetime as dt
import json
import struct
from decimal import Decimal, localcontext
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.reading import read, reasons
from vaultstream.errors import ImportFileError

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.unit

TICKS = {"ms": 10**3, "us": 10**6, "ns": 10**9}
EPOCH = dt.datetime(1970, 1, 1)  # noqa: DTZ001 - Parquet's own
FIRST, LAST = -62_135_596_800, 253_402_300_799
"""Seconds from 1970 to the first and the last second of the years 1 to 9999."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "in.parquet"


def values_of(path: Path, column: pa.Array) -> list[Any]:
    """Returns the canonical value of each row; of a rejected one, its reason in a tuple."""
    pq.write_table(pa.table({"v": column}), path)
    rows, rejects = read(path)
    found: dict[int, Any] = {row.line: json.loads(row.payload)["v"] for row in rows}
    found |= {line: (reason,) for line, reason in reasons(rejects)}
    return [found[line] for line in sorted(found)]


@given(
    st.sampled_from(["ms", "us", "ns"]),
    st.booleans(),
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=5),
)
def test_a_timestamp_of_any_unit_is_exact_or_rejected(
    tmp_path_factory: pytest.TempPathFactory, unit: str, zoned: bool, ticks: list[int]
) -> None:
    column = pa.array(ticks, pa.int64()).view(pa.timestamp(unit, "Europe/Berlin" if zoned else None))
    for tick, value in zip(
        ticks, values_of(tmp_path_factory.mktemp("ts") / "in.parquet", column), strict=True
    ):
        seconds, fraction = divmod(tick, TICKS[unit])
        if FIRST <= seconds <= LAST:
            digits = len(str(TICKS[unit])) - 1
            moment = (EPOCH + dt.timedelta(seconds=seconds)).isoformat()
            assert value == f"{moment}.{fraction:0{digits}}" + ("Z" if zoned else "")
        else:
            assert value == ("has a time outside of the years 1 to 9999",)


@given(st.lists(st.integers(-(2**31), 2**31 - 1) | st.integers(-719_200, -719_100), min_size=1, max_size=5))
def test_a_date_is_exact_or_rejected(tmp_path_factory: pytest.TempPathFactory, days: list[int]) -> None:
    column = pa.array(days, pa.int32()).view(pa.date32())
    for day, value in zip(
        days, values_of(tmp_path_factory.mktemp("date") / "in.parquet", column), strict=True
    ):
        if FIRST <= day * 86_400 <= LAST:
            assert value == (EPOCH + dt.timedelta(day)).date().isoformat()
        else:
            assert value == ("has a date outside of the years 1 to 9999",)


@pytest.mark.parametrize("kind", [pa.time32("ms"), pa.time64("us"), pa.time64("ns")])
def test_a_time_of_day_beyond_the_day_is_rejected(path: Path, kind: pa.DataType) -> None:
    day = 86_400 * TICKS[kind.unit]
    integers = pa.int32() if kind.bit_width == 32 else pa.int64()
    values = values_of(path, pa.array([0, day - 1, day, -1], integers).view(kind))
    digits = len(str(TICKS[kind.unit])) - 1
    assert values[:2] == ["00:00:00." + "0" * digits, "23:59:59." + "9" * digits]
    assert values[2:] == [("has a time of day outside of 24 hours",)] * 2


def int96_file(path: Path, *, julian_day: int, nanoseconds: int, name: str = "v") -> None:
    moment = dt.datetime(2020, 1, 1, 1, 2, 3, 4)  # noqa: DTZ001 - of a column without a zone
    pq.write_table(
        pa.table({name: pa.array([moment], pa.timestamp("us"))}),
        path,
        use_deprecated_int96_timestamps=True,
        compression="none",
        use_dictionary=False,
    )
    written = struct.pack("<qi", ((60 + 2) * 60 + 3) * 10**9 + 4_000, 2_440_588 + (moment - EPOCH).days)
    raw = path.read_bytes()
    assert written in raw
    path.write_bytes(raw.replace(written, struct.pack("<qi", nanoseconds, julian_day)))


@pytest.mark.parametrize(
    ("julian_day", "nanoseconds", "value"),
    [
        (2_440_588, 1, "1970-01-01T00:00:00.000000001"),
        (2_440_587, 86_399_999_999_999, "1969-12-31T23:59:59.999999999"),
        (5_373_484, 86_399_123_456_789, "9999-12-31T23:59:59.123456789"),
        (1_721_426, 0, "0001-01-01T00:00:00.000000000"),
        (2_299_161, 7, "1582-10-15T00:00:00.000000007"),
        (5_373_485, 0, None),
        (1_721_425, 0, None),
        (2**31 - 1, 0, None),
    ],
)
def test_a_timestamp_beyond_64_bits_of_nanoseconds_does_not_wrap_around(
    path: Path, julian_day: int, nanoseconds: int, value: str | None
) -> None:
    int96_file(path, julian_day=julian_day, nanoseconds=nanoseconds)
    rows, rejects = read(path)
    assert [json.loads(row.payload)["v"] for row in rows] == ([] if value is None else [value])
    assert reasons(rejects) == ([(1, "has a time outside of the years 1 to 9999")] if value is None else [])


def test_a_timestamp_does_not_wrap_around_in_a_column_with_a_dot_in_its_name(path: Path) -> None:
    int96_file(path, julian_day=5_373_484, nanoseconds=0, name="a.b")
    rows, _ = read(path)
    assert rows[0].payload == b'{"a.b":"9999-12-31T00:00:00.000000000"}'


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=5))
def test_an_unsigned_integer_is_exact_or_rejected(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[int]
) -> None:
    path = tmp_path_factory.mktemp("uint") / "in.parquet"
    values = values_of(path, pa.array(numbers, pa.uint64()))
    for number, value in zip(numbers, values, strict=True):
        assert value == number if number < 2**53 else isinstance(value, tuple)
    rows, _ = read(path, id_column="v", payload_columns=("v",), max_rejects=5)
    assert [int(row.id) for row in rows] == [number for number in numbers if number < 2**53]


@pytest.mark.parametrize(
    ("kind", "stored"), [(pa.uint8(), 300), (pa.uint8(), -1), (pa.int8(), 128), (pa.uint16(), 70_000)]
)
def test_an_integer_that_its_type_can_not_hold_is_never_another_one(
    path: Path, kind: pa.DataType, stored: int
) -> None:
    column = pa.array([100, 101], kind)
    pq.write_table(pa.table({"v": column, "other": [1, 2]}), path, compression="none", use_dictionary=False)
    raw = path.read_bytes()
    path.write_bytes(raw.replace(struct.pack("<i", 100), struct.pack("<i", stored)))
    rows, rejects = read(path)
    assert [row.payload for row in rows] == [b'{"other":2,"v":101}']
    assert reasons(rejects) == [(1, f"has the number {stored}, which its type ({kind}) can't hold")]
    rows, _ = read(path, payload_columns=("other",))
    assert len(rows) == 2


@pytest.mark.parametrize("kind", [pa.decimal128(38, 0), pa.decimal128(38, 38), pa.decimal256(76, 10)])
def test_a_decimal_of_any_size_has_all_its_digits(path: Path, kind: pa.DataType) -> None:
    with localcontext(prec=100):
        number = Decimal("9" * kind.precision).scaleb(-kind.scale)
        (value, negative, null) = values_of(path, pa.array([number, -number, None], kind))
        assert Decimal(value) == number
        assert Decimal(negative) == -number
    assert "E" not in value
    assert null is None


def test_a_page_that_differs_from_its_checksum_refuses_the_file(path: Path) -> None:
    pq.write_table(
        pa.table({"v": ["precious"]}),
        path,
        compression="none",
        use_dictionary=False,
        write_statistics=False,
        write_page_checksum=True,
    )
    raw = path.read_bytes()
    assert raw.count(b"precious") == 1
    path.write_bytes(raw.replace(b"precious", b"previous"))
    with pytest.raises(ImportFileError, match=r"is damaged after row 0: .*CRC"):
        read(path)


def test_a_struct_with_two_members_of_one_name_is_refused(path: Path) -> None:
    column = pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], ["a", "a"])
    pq.write_table(pa.table({"v": column}), path)
    with pytest.raises(ImportFileError, match="has no canonical form"):
        read(path)


@pytest.mark.parametrize(
    ("column", "values"),
    [
        (pa.array(["a", "日"], pa.string_view()), ["a", "日"]),
        (pa.array([b"\xff"], pa.binary_view()), ["/w=="]),
    ],
)
def test_views_of_texts_and_bytes_are_read_as_these(path: Path, column: pa.Array, values: list[str]) -> None:
    assert values_of(path, column) == values
