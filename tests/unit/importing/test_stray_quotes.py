"""No record vanishes in a quoted value: it is loaded, listed, or the file is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.reading import read
from vaultstream.errors import ImportFileError
from vaultstream.importing.quotes import swallows_records

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Write = Callable[..., Path]

pytestmark = pytest.mark.unit


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_file(*lines: str) -> Path:
        path = tmp_path / "in.csv"
        path.write_text("".join(f"{line}\n" for line in lines))
        return path

    return write_file


@pytest.mark.parametrize(
    ("lines", "width", "id_place"),
    [
        (
            ['20,"nut,20', "21,item,21", '22,washer",22'],
            3,
            0,
        ),  # closed by another stray quote, and well-formed
        (['20,"nut"",20', "21,item,21", '22,"a"",22'], 3, 0),  # a quote doubled that should end its value
        (['"20,nut,20', "21,item,21", '22,"nut",22'], 3, 0),
        (['20,"nut', "21,item", "short", '22,nut"'], 2, 0),
        ([f'{UUID(int=1)},"a', f'{UUID(int=2)},b"'], 2, 0),
        (['7,"a', '8,b"'], 2, 0),
        (['A-1,"20', 'A-2,30"'], 2, 0),
        (['x,"nut,20', 'y,nut",21'], 3, None),
    ],
)
def test_lines_as_wide_as_the_header_are_records(lines: list[str], width: int, id_place: int | None) -> None:
    assert swallows_records(lines, width, id_place)


@pytest.mark.parametrize(
    ("lines", "width", "id_place"),
    [
        (['7,"12 Main Street', "Springfield, IL", 'USA"'], 2, 0),
        (['a,"12 Main Street', 'Springfield, IL"'], 2, 0),
        (['"12 Main Street', 'Springfield, IL",7'], 2, 1),
        (['7,"Dear all,', "", "yes, indeed, we can, and", "", 'Yours",x'], 3, 0),
        (['7,"1. apples', "2. pears", '3. plums",x'], 3, 0),
        (['"first', "second", 'third"'], 1, None),
        (["7,a,b"], 3, 0),
    ],
)
def test_a_text_of_several_lines_is_a_value(lines: list[str], width: int, id_place: int | None) -> None:
    assert not swallows_records(lines, width, id_place)


def test_a_file_with_swallowed_records_is_refused_unless_one_insists(write: Write) -> None:
    path = write("id,name,size", "1,a,1", '2,"nut,2', "3,c,3", '4,washer",4', "5,e,5")
    with pytest.raises(ImportFileError, match="lines 3 to 5") as refused:
        read(path)
    assert "--allow-multiline" in str(refused.value.hint)
    rows, rejects = read(path, allow_multiline=True)
    assert [row.id for row in rows] == ["1", "2", "5"]
    assert rejects == []


def test_a_stray_quote_in_the_header_is_refused(write: Write) -> None:
    with pytest.raises(ImportFileError, match="lines 1 to 3"):
        read(write('id,"name,size', "1,a,1", '2,nut",2', "3,c,3"))


def test_a_malformed_record_of_several_lines_is_rejected_with_all_of_them(write: Write) -> None:
    path = write("id,name,size", '1,"a', "b", '"c,1', "2,d,2", '3,"e', 'f"', "4,g,4")
    rows, rejects = read(path)
    assert [row.id for row in rows] == ["2", "4"]
    assert [(r.line, r.lines) for r in rejects] == [(2, 3), (6, 2)]


@given(
    st.data(),
    st.lists(
        st.tuples(st.integers(1, 500), st.sampled_from(["nut", 'a "b" c', "x, y", ""])),
        min_size=1,
        max_size=30,
    ),
)
def test_after_any_quote_too_many_each_line_is_loaded_or_listed(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, records: list[tuple[int, str]]
) -> None:
    lines = [f'{number},"{name.replace(chr(34), chr(34) * 2)}",{number}' for number, name in records]
    text = "id,name,size\n" + "".join(f"{line}\n" for line in lines)
    at = data.draw(st.integers(text.index("\n") + 1, len(text)))
    path = tmp_path_factory.mktemp("quotes") / "in.csv"
    path.write_text(text[:at] + '"' + text[at:])
    try:
        rows, rejects = read(path)
    except ImportFileError:
        return
    assert len(rows) + sum(reject.lines for reject in rejects) == len(records)
