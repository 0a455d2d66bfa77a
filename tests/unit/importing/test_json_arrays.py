"""A JSON array in any layout has the same records as JSON lines, and one that is not whole is refused."""

from __future__ import annotations

import json
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.reading import read, reasons
from vaultstream.errors import ImportFileError
from vaultstream.importing import json_elements
from vaultstream.importing.source import Format

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.unit

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "in.json"


@given(
    st.lists(st.fixed_dictionaries({"p": VALUES}), min_size=2, max_size=6),
    st.sampled_from([None, 0, 1, 4, "\t"]),
    st.booleans(),
    st.integers(1, 40),
)
def test_an_array_in_any_layout_has_the_records_of_json_lines(
    tmp_path_factory: pytest.TempPathFactory, values: list[Any], indent: Any, ascii_only: bool, piece: int
) -> None:
    records = [{"id": number, **value} for number, value in enumerate(values)]
    path = tmp_path_factory.mktemp("arrays") / "in.json"
    path.write_text(json.dumps(records, indent=indent, ensure_ascii=ascii_only), "utf-8")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(json_elements, "_PIECE_BYTES", piece)  # so that each element is cut somewhere
        array, rejects = read(path)
    assert rejects == []
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    lines, _ = read(path, format=Format.JSONL)
    assert [(row.number, row.id, row.payload) for row in array] == [
        (row.number, row.id, row.payload) for row in lines
    ]


@pytest.mark.parametrize("piece", [1, 7, 1 << 18])
def test_each_kind_of_bad_element_is_rejected_with_its_line(
    path: Path, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    monkeypatch.setattr(json_elements, "_PIECE_BYTES", piece)
    path.write_bytes(
        b'\xef\xbb\xbf\n[ {"id": 1, "p": "]}"},\n  {"id": 2, "p": NaN},\n [3], 12, "x",\n  {"id": 4,\n   "id": 5},\n'
        b'{"id": 6, "p" 1}, {"p": "a"}, {"id": 8, "p": "\xff"},\r\n{"id": 9, "p": '
        + b"1" * 5000
        + b'},\n{"id": 10}]\n\n'
    )
    rows, rejects = read(path)
    assert [(row.line, row.number, row.id) for row in rows] == [(2, 1, "1"), (9, 11, "10")]
    assert reasons(rejects) == [
        (3, "is malformed: NaN is not JSON"),
        (4, "is not a JSON object"),
        (4, "is not a JSON object"),
        (4, "is not a JSON object"),
        (5, "has the member 'id' more than once"),
        (7, "is malformed: Expecting ':' delimiter at column 15"),
        (7, "has no id"),
        (7, "is not UTF-8: byte 0xff, which is 'ÿ' in Windows-1252"),
        (8, "contains a number with thousands of digits"),
    ]


@pytest.mark.parametrize("piece", [1, 1 << 18])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "is an empty array"),
        ("[", "ends inside it on line 1"),
        ('[{"id": 1}', "ends inside it on line 1"),
        ('[\n{"id": 1},\n', "ends inside it on line 3"),
        ('[\n{"id": 1},\n{"id": 2, "p"', "ends inside it on line 3"),
        ('[{"id": 1},\n]', "a record is missing on line 2"),
        ('[{"id": 1}\n{"id": 2}]', "',' is missing on line 2"),
        ('[{"id": 1}]\n[{"id": 2}]', "something follows its end on line 2"),
        (
            '[{"id": 1},\n{"id": "x\n},\n{"id": 3}]',
            "a string does not end in the record that begins on line 2",
        ),
    ],
)
def test_an_array_that_is_not_whole_is_refused_with_the_line(
    path: Path, monkeypatch: pytest.MonkeyPatch, content: str, message: str, piece: int
) -> None:
    monkeypatch.setattr(json_elements, "_PIECE_BYTES", piece)
    path.write_text(content)
    with pytest.raises(ImportFileError, match=message):
        read(path)


def test_an_array_longer_than_many_pieces_is_read_to_its_end_and_in_order(path: Path) -> None:
    path.write_text(json.dumps([{"id": n, "p": "x" * (n % 300)} for n in range(20_000)]))
    rows, rejects = read(path)
    assert [row.id for row in rows] == [str(n) for n in range(20_000)]
    assert rejects == []


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ('{"total": 2, "data": [{"id": 1}, {"id": 2}]}\n', "data"),
        ('{"id": "export-1", "records": [{"id": 1}]}\n', "records"),
        ('{"data": {"items": [{"id": 1}]}}\n', "data.items"),
        ('{"columns": ["id"], "rows": [[1], [2]]}\n', "rows"),
        ('{"records": [{"id": 1}, null]}\n', "records"),
        ('[{"records": [{"id": 1}]}]\n', "records"),
        ('{"data": [{"id": 1}], "next": 2}\n{"data": [{"id": 2}], "next": null}\n', "data"),
    ],
)
def test_an_object_around_the_records_is_not_signed_as_one_record(
    path: Path, content: str, name: str
) -> None:
    path.write_text(content)
    with pytest.raises(ImportFileError, match=f"in the array '{name}'") as refused:
        read(path)
    assert "--payload-columns" in str(refused.value.hint)
    top = name.split(".", maxsplit=1)[0]
    rows, _ = read(path, payload_columns=(top,))
    assert len(rows) == content.count("\n")


def test_records_with_arrays_in_them_are_records(path: Path) -> None:
    path.write_text('{"id": 1, "items": [{"n": 1}]}\n{"id": 2, "items": [{"n": 2}]}\n')
    rows, rejects = read(path)
    assert [row.id for row in rows] == ["1", "2"]
    assert rejects == []


def test_objects_of_several_lines_are_refused_with_a_way_out(path: Path) -> None:
    path.write_text('{\n  "id": 1\n}\n{\n  "id": 2\n}\n')
    with pytest.raises(ImportFileError, match="span several lines") as refused:
        read(path)
    assert "jq -c" in str(refused.value.hint)


def test_a_long_string_needs_no_more_memory_than_a_few_copies_of_it(path: Path) -> None:
    path.write_text('[{"id": 1, "p": NaN, "q": "' + "x" * 4_000_000 + '"}]')
    tracemalloc.start()
    try:
        _, rejects = read(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [reject.line for reject in rejects] == [1]
    assert peak < 60_000_000


def test_records_under_their_ids_are_not_signed_as_one(tmp_path: Path) -> None:
    path = tmp_path / "in.json"
    path.write_text('{"17": {"name": "a"}, "18": {"name": "b"}}')
    with pytest.raises(
        ImportFileError, match="one JSON object around the records, which are its members"
    ) as raised:
        read(path)
    assert "to_entries" in (raised.value.hint or "")
    assert len(read(path, payload_columns=("17", "18"))[0]) == 1, "whoever names the members insists"
    path.write_text('{"id": 1, "address": {"city": "x"}, "name": {"first": "y"}}')
    assert len(read(path)[0]) == 1


def test_a_sequence_with_record_separators_is_refused_with_the_way_out(path: Path) -> None:
    path.write_text('\x1e{"id": 1}\n\x1e{"id": 2}\n')
    with pytest.raises(ImportFileError, match="RFC 7464") as refused:
        read(path)
    assert "tr -d" in (refused.value.hint or "")


@pytest.mark.parametrize("last", ['{"id": 2, "p": "a', '{"id": 2,', '{"id": 2'])
def test_lines_that_are_cut_off_are_not_the_whole_file(path: Path, last: str) -> None:
    path.write_text(f'{{"id": 1}}\n{last}')
    with pytest.raises(ImportFileError, match="ends inside the record on line 2"):
        read(path)
    path.write_text(f'{{"id": 1}}\n{last}\n{{"id": 3}}')
    rows, rejects = read(path)
    assert ([row.id for row in rows], [reject.line for reject in rejects]) == (["1", "3"], [2])


def test_objects_between_carriage_returns_are_not_one_line(path: Path) -> None:
    path.write_bytes(b'{"id": 1}\r{"id": 2}\r')
    with pytest.raises(ImportFileError, match="carriage return"):
        read(path)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('{"id": "a\tb"}', "Invalid control character at column 10, which is U+0009"),
        ('{"id": 1} {"id": 2}', "something follows the value at column 11"),
        ('\ufeff{"id": 1}', "Expecting value at column 1, which is U+FEFF"),
        ('{"id": 1,}', "Expecting property name enclosed in double quotes at column 10"),
    ],
)
def test_what_is_malformed_is_said_with_its_place(path: Path, text: str, fault: str) -> None:
    path.write_text(f'{{"id": 0}}\n{text}\n', "utf-8")
    _, rejects = read(path)
    assert reasons(rejects) == [(2, f"is malformed: {fault}")]
