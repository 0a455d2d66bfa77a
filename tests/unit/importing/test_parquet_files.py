"""A Parquet file that is not whole, not one, or not as it says is refused with the reason; no row of it is lost in silence."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from support.reading import read, reasons
from vaultstream.canonical import canonical_json
from vaultstream.errors import ImportFileError

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.unit


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "in.parquet"


def write(path: Path, **columns: Any) -> bytes:
    """Writes columns so that their bytes can be found in the file, and returns it."""
    pq.write_table(
        pa.table(columns), path, compression="none", use_dictionary=False, store_schema="id" in columns
    )
    return path.read_bytes()


@pytest.mark.parametrize("rows", [(3, 3), (3000, 3)])
def test_two_files_in_one_are_not_read_as_the_last_one(path: Path, rows: tuple[int, int]) -> None:
    parts = [write(path, v=list(range(count))) for count in rows]
    path.write_bytes(b"".join(parts))
    with pytest.raises(ImportFileError, match="more than one Parquet file"):
        read(path)


@pytest.mark.parametrize("place", [0, -1])
def test_a_number_of_rows_that_differs_from_the_file_s_refuses_it(path: Path, place: int) -> None:
    raw = write(path, v=[1, 2, 3])
    footer = len(raw) - 8 - int.from_bytes(raw[-8:-4], "little")
    three, two = b"\x16\x06", b"\x16\x04"  # in the footer: of the file first, of its group of rows last
    found = [at for at in range(footer, len(raw) - 8) if raw.startswith(three, at)][place]
    path.write_bytes(raw[:found] + two + raw[found + 2 :])
    with pytest.raises(ImportFileError, match=r"damaged: it has . rows"):
        read(path)


def test_a_column_name_that_is_not_utf8_refuses_the_file(path: Path) -> None:
    raw = write(path, name=[1])
    path.write_bytes(raw.replace(b"name", b"n\xffme"))
    with pytest.raises(ImportFileError, match="is not a Parquet file"):
        read(path)


def test_an_encrypted_file_is_called_that(path: Path) -> None:
    path.write_bytes(b"PARE" + write(path, v=[1])[4:-4] + b"PARE")
    with pytest.raises(ImportFileError, match="is encrypted"):
        read(path)


@pytest.mark.parametrize("statistics", [True, False])
@pytest.mark.parametrize(
    "column",
    [
        pa.array([[100], [101]], pa.list_(pa.int8())),
        pa.array([{"a": 100}, {"a": 101}], pa.struct([("a", pa.uint16())])),
        pa.array([100, 101], pa.int8()),
    ],
)
def test_a_row_with_an_integer_that_its_type_can_not_hold_is_rejected(
    path: Path, column: pa.Array, statistics: bool
) -> None:
    pq.write_table(
        pa.table({"v": column}),
        path,
        compression="none",
        use_dictionary=False,
        write_statistics=statistics,
    )
    path.write_bytes(path.read_bytes().replace(struct.pack("<i", 100), struct.pack("<i", 70_000)))
    rows, rejects = read(path)
    assert [row.payload for row in rows] == [canonical_json({"v": column[1].as_py()})]
    [(line, reason)] = reasons(rejects)
    assert line == 1
    assert reason.startswith("has the number 70000, which its type (")


def test_small_integers_are_read_if_bytes_follow_the_footer(path: Path) -> None:
    """As a signature does, in a file whose footer is not encrypted and some columns are."""
    pq.write_table(pa.table({"id": ["a"], "v": pa.array([7], pa.int8())}), path)
    data = path.read_bytes()
    longer = int.from_bytes(data[-8:-4], "little") + 28
    path.write_bytes(data[:-8] + bytes(28) + longer.to_bytes(4, "little") + b"PAR1")
    rows, rejects = read(path)
    assert ([row.payload for row in rows], rejects) == ([b'{"v":7}'], [])


def test_small_integers_without_statistics_are_read(path: Path) -> None:
    kinds = [pa.int8(), pa.int16(), pa.uint8(), pa.uint16()]
    values = [[-128, 127], [-(2**15), 2**15 - 1], [0, 255], [0, 2**16 - 1]]
    columns = {str(kind): pa.array([*pair, None], kind) for kind, pair in zip(kinds, values, strict=True)}
    for version in ("1.0", "2.6"):
        pq.write_table(
            pa.table({"id": ["a", "b", "c"], **columns}), path, write_statistics=False, version=version
        )
        rows, rejects = read(path)
        assert rejects == []
        assert [row.payload for row in rows] == [
            canonical_json({str(kind): pair[0] for kind, pair in zip(kinds, values, strict=True)}),
            canonical_json({str(kind): pair[1] for kind, pair in zip(kinds, values, strict=True)}),
            canonical_json({str(kind): None for kind in kinds}),
        ]


def test_small_integers_that_fit_and_empty_columns_of_them_are_read(path: Path) -> None:
    write(path, v=pa.array([-128, 127], pa.int8()), n=pa.array([None, None], pa.int16()))
    rows, _ = read(path)
    assert [row.payload for row in rows] == [b'{"n":null,"v":-128}', b'{"n":null,"v":127}']


def test_text_that_is_marked_as_json_is_text(path: Path) -> None:
    write(path, id=["a", "b"], v=pa.array(['{"b" :1}', None], pa.json_()))
    rows, _ = read(path)
    assert [row.payload for row in rows] == [b'{"v":"{\\"b\\" :1}"}', b'{"v":null}']
    rows, rejects = read(path, payload_column="v")
    assert [row.payload for row in rows] == [b'{"b" :1}']
    assert reasons(rejects) == [(2, "has no payload")]


def test_a_payload_without_any_form_is_not_advised_to_be_composed(path: Path) -> None:
    write(path, id=[1], v=pa.array([1], pa.duration("s")))
    with pytest.raises(ImportFileError) as refused:
        read(path, payload_column="v")
    assert "--payload-columns" not in (refused.value.hint or "")
