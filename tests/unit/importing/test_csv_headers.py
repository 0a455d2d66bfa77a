"""The header of a CSV file: which lines are one, and which columns hold nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.reading import read, reasons
from vaultstream.errors import ImportFileError
from vaultstream.importing.csv_header import header_of, looks_like_record, not_separated, separator_of
from vaultstream.importing.loader import refuse_record_as_header
from vaultstream.importing.options import ImportOptions

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.unit


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "in.csv"


@pytest.mark.parametrize("line", ["sep=,", '"sep=,"', "SEP=,", "\ufeffsep=,"])
def test_a_line_that_announces_commas_is_no_header(path: Path, line: str) -> None:
    path.write_text(f"{line}\r\nid,name\r\n1,a\r\n", newline="")
    rows, rejects = read(path)
    assert [(row.line, row.id, row.payload) for row in rows] == [(3, "1", b'{"name":"a"}')]
    assert rejects == []


@pytest.mark.parametrize("separator", ["\x01", "\x1f", "^", "~"])
def test_a_separator_that_no_name_has_refuses_the_file(path: Path, separator: str) -> None:
    path.write_text(f"id{separator}name\n1{separator}a\n")
    with pytest.raises(ImportFileError, match="separated by"):
        read(path)


@pytest.mark.parametrize("end", ["\x85", "\u2028", "\u2029", "\x0c", "\x1e"])
def test_lines_that_end_otherwise_are_not_taken_for_one_header(path: Path, end: str) -> None:
    path.write_text(f"id,name{end}1,a{end}2,b{end}")
    with pytest.raises(ImportFileError, match=f"U\\+{ord(end):04X}"):
        read(path)


def test_a_pointer_of_git_lfs_is_not_read_as_records(path: Path) -> None:
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 12345\n")
    with pytest.raises(ImportFileError, match="git lfs pull"):
        read(path)


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_a_line_that_announces_another_separator_refuses_the_file(path: Path, separator: str) -> None:
    path.write_text(f"sep={separator}\nid{separator}name,x\n")
    with pytest.raises(ImportFileError, match="separated by"):
        read(path)


def test_only_a_whole_line_announces_a_separator() -> None:
    assert separator_of("sep=;\r\n") == ";"
    assert separator_of("sep=;,,,\n") == ";"  # as a spreadsheet pads it
    assert separator_of("id,sep=;\n") is None
    assert separator_of("september\n") is None


@pytest.mark.parametrize("again", ["id,name", '"id","name"', "\ufeffid,name", '\ufeff"id",name'])
def test_a_header_that_comes_again_is_listed_and_no_record(path: Path, again: str) -> None:
    path.write_text(f"id,name\n1,a\n{again}\n2,b\n", "utf-8")
    rows, rejects = read(path)
    assert [row.id for row in rows] == ["1", "2"]
    assert reasons(rejects) == [(3, "is the header again")]


def test_a_header_that_comes_again_in_another_order_refuses_the_file(path: Path) -> None:
    path.write_text("id,name,city\n1,a,b\nname,id,city\nc,2,d\n")
    with pytest.raises(ImportFileError, match=r"Line 3 .* in another order"):
        read(path)


def test_a_record_that_has_the_name_of_a_column_in_it_is_a_record(path: Path) -> None:
    path.write_text("name,size\nname of it,size\nsize,2\n")
    rows, rejects = read(path, id_column="name")
    assert [row.id for row in rows] == ["name of it", "size"]
    assert rejects == []


@pytest.mark.parametrize("again", ["ID, Name ", "id,NAME"])
def test_a_header_that_comes_again_in_another_case_is_no_record(path: Path, again: str) -> None:
    path.write_text(f"id,name\n1,a\n{again}\n2,b\n")
    rows, rejects = read(path)
    assert [row.id for row in rows] == ["1", "2"]
    assert reasons(rejects) == [(3, "is the header again")]


def test_a_header_of_other_columns_refuses_the_file(path: Path) -> None:
    path.write_text("name,id\na,1\ncity,id\nb,2\n")
    with pytest.raises(ImportFileError, match=r"Line 3 .* other columns"):
        read(path)


def test_an_id_that_is_the_name_of_its_column_is_a_record_among_ids_of_text(path: Path) -> None:
    path.write_text("id,country\nHU,Hungary\nID,Indonesia\nIS,Iceland\nid,country\n")
    rows, rejects = read(path)
    assert [row.id for row in rows] == ["HU", "ID", "IS"]
    assert reasons(rejects) == [(5, "is the header again")]


@pytest.mark.parametrize("before", ["c-1,a,5\n", ""])
def test_the_name_of_the_id_beside_that_of_another_column_is_a_header_also_among_ids_of_text(
    path: Path, before: str
) -> None:
    path.write_text(f"id,name,amount\n{before}id,Amount,currency\nc-2,7,EUR\n")
    with pytest.raises(ImportFileError, match="is the header again, with other columns"):
        read(path)


def test_a_line_under_the_header_with_the_name_of_the_id_does_not_make_numbers_text(path: Path) -> None:
    """As where a second line says what the columns are."""
    path.write_text("id,name\nID,Full name\n1,Ada\n")
    with pytest.raises(
        ImportFileError, match=r"Line 2 .* is the header again, with other columns"
    ) as refused:
        read(path)
    assert "explains the columns, remove it" in str(refused.value.hint)


def test_an_id_that_is_the_name_of_its_column_may_be_the_first_one_among_ids_of_text(path: Path) -> None:
    path.write_text("id,country\nid,Indonesia\nIS,Iceland\n")
    rows, rejects = read(path)
    assert ([row.id for row in rows], rejects) == (["id", "IS"], [])


def test_a_separator_that_is_announced_again_is_no_record(path: Path) -> None:
    path.write_text("sep=,\nid,name\n1,a\nsep=,\nid,name\n2,b\n")
    rows, rejects = read(path)
    assert [row.id for row in rows] == ["1", "2"]
    assert [reject.line for reject in rejects] == [4, 5]


def test_columns_at_the_end_without_a_name_hold_nothing(path: Path) -> None:
    path.write_text("id,name,,\n1,a,,\n2,b,x,\n3,c\n,,,\n")
    rows, rejects = read(path)
    assert [(row.id, row.payload) for row in rows] == [("1", b'{"name":"a"}')]
    assert reasons(rejects) == [
        (3, "has a value in a column that has no name"),
        (4, "has 2 values, but the header has 4"),
        (5, "has only empty values"),
    ]


def test_names_of_spaces_at_the_end_are_none(path: Path) -> None:
    path.write_text("id,name, , \n1,a, ,\n2,b,x,\n")
    rows, rejects = read(path)
    assert [row.payload for row in rows] == [b'{"name":"a"}']
    assert reasons(rejects) == [(3, "has a value in a column that has no name")]


def test_a_first_column_without_a_name_is_kept() -> None:
    header = header_of(["", "id", ""])
    assert (header.names, header.width) == (("", "id"), 3)


def test_only_columns_that_are_used_need_a_name_of_their_own(path: Path) -> None:
    path.write_text("id,name,x,x\n1,a,,\n")
    rows, _ = read(path, payload_columns=("name",))
    assert rows[0].payload == b'{"name":"a"}'
    for options in ({}, {"payload_columns": ("name", "x")}, {"payload_column": "x"}, {"id_column": "x"}):
        with pytest.raises(ImportFileError, match="more than one column named 'x'"):
            read(path, **options)


@pytest.mark.parametrize(
    "first",
    [
        "1,Ada",
        "2013-01-31,x",
        "Ada,9f0c3a5e-0d5c-4f6e-8d4b-3a1c2e5f7a90",
        "Ada,12.50",
        "-7,x",
        "31.01.2013,x",
    ],
)
def test_a_first_record_is_not_taken_for_the_header(path: Path, first: str) -> None:
    names = first.split(",")
    assert looks_like_record(names)
    for options in (
        ImportOptions("t", "id"),
        ImportOptions("t", "id", payload_columns=("name",)),
    ):
        with pytest.raises(ImportFileError, match="looks like a record"):
            refuse_record_as_header(path, names, options)
    refuse_record_as_header(path, names, ImportOptions("t", "id", payload_columns=(names[1],)))
    refuse_record_as_header(path, names, ImportOptions("t", names[0]))


@pytest.mark.parametrize(
    "names", [["country", "2019", "2020"], ["", "a"], ["1st", "2nd"], ["naïve name", "x"]]
)
def test_names_are_a_header(names: list[str]) -> None:
    assert not looks_like_record(names)


@pytest.mark.parametrize("names", ["id;Name;Price, net", "id\tName\tPrice, net", "id|Name|Price, net"])
def test_another_separator_is_found_though_a_name_has_a_comma(path: Path, names: str) -> None:
    with pytest.raises(ImportFileError, match="separated by"):
        refuse_record_as_header(path, names.split(","), ImportOptions("t", "id"))
    refuse_record_as_header(path, ["id", *names.split(",")], ImportOptions("t", "id"))


@pytest.mark.parametrize("marks", [1, 2, 3])
def test_several_byte_order_marks_belong_to_no_name(tmp_path: Path, marks: int) -> None:
    (tmp_path / "in.csv").write_text("\ufeff" * marks + '"id",a\n1,x\n', "utf-8")
    ((row,), rejects) = read(tmp_path / "in.csv")
    assert (row.id, row.payload, rejects) == ("1", b'{"a":"x"}', [])


@pytest.mark.parametrize(
    ("header", "what", "hint"),
    [
        ('"id";"a"', "separated by ';'", "commas"),
        ('"id" ;"a";b', "separated by ';'", "commas"),
        ('"i""d"\t"a"', r"separated by '\\t'", "commas"),
        ('"id"|a', r"separated by '\|'", "commas"),
        ('"id"x,"a"', "malformed", "CSV"),
        ("id,a\r1,x\r", "carriage return", "tr '\\r' '\\n'"),
        ("id,a\0", "NUL byte", "tr -d"),
    ],
)
def test_a_header_that_can_not_be_read_is_refused_with_the_way_out(
    tmp_path: Path, header: str, what: str, hint: str
) -> None:
    (tmp_path / "in.csv").write_bytes(f"{header}\n1;x\n".encode())
    with pytest.raises(ImportFileError, match=what) as refused:
        read(tmp_path / "in.csv")
    assert hint in str(refused.value.hint)


@pytest.mark.parametrize("character", ["\x0b", "\x0c", "\x85", "\u2028"])
def test_a_quoted_name_may_have_what_ends_lines_elsewhere(path: Path, character: str) -> None:
    path.write_text(f'id,"a{character}b"\n1,x\n', "utf-8")
    rows, _ = read(path)
    assert [row.id for row in rows] == ["1"]


@pytest.mark.parametrize(
    ("header", "how"),
    [
        ("id   name     amount", "fixed widths"),
        ("        ID NAME", "fixed widths"),
        ("+----+------+", "drawn with lines"),
        ("First name", None),
        ("identity", None),
        ("-", None),
    ],
)
def test_columns_that_no_comma_separates_are_not_one(header: str, how: str | None) -> None:
    assert (how or "") in (found := not_separated([header], "id") or "")
    assert bool(how) == bool(found)
    assert not_separated([header, "b"], "id") is None


@pytest.mark.parametrize("header", ["\u201cid\u201d,p", "'id',p", "\u200bid,p", "[id],p", "`id`,p"])
def test_an_id_in_quotes_that_csv_does_not_know_is_no_missing_one(path: Path, header: str) -> None:
    path.write_text(f"{header}\n1,a\n", "utf-8")
    with pytest.raises(ImportFileError, match="no column 'id', but it has"):
        read(path)


def test_a_line_under_the_header_and_a_mark_before_a_record_are_no_ids(path: Path) -> None:
    path.write_text("id,name\n--,----\n1,a\n\ufeff2,b\n--,-\n", "utf-8")
    rows, rejects = read(path)
    assert [row.id for row in rows] == ["1", "--"]
    assert reasons(rejects) == [
        (2, "is a line drawn under the header"),
        (4, "begins with a byte order mark, as at the beginning of another file"),
    ]


@pytest.mark.parametrize("lines", ["1,x\r2,y\r", "1,x\n2,y\r3,z\n", "\r1,x\n\r2,y\n"])
def test_records_that_a_carriage_return_ends_are_not_rejected_as_one_line(path: Path, lines: str) -> None:
    path.write_bytes(f"id,name\n{lines}".encode())
    with pytest.raises(ImportFileError, match="several records, which end with a carriage return"):
        read(path)


def test_a_carriage_return_in_one_value_rejects_its_line(path: Path) -> None:
    path.write_bytes(b"id,name\n1,x\ry\n2,z\r\n")
    rows, rejects = read(path)
    assert [row.id for row in rows] == ["2"]
    assert [reject.line for reject in rejects] == [2]
