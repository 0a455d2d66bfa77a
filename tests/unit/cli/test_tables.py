"""Tables at the width of a terminal: columns are left out before a number or a word is split."""

from __future__ import annotations

import io
import sys

import pytest

from vaultstream_cli import output
from vaultstream_cli.output import fitting

pytestmark = pytest.mark.unit

COLUMNS = ("name", "state", "records", "message", "token")
ROW = ("flights-2013-again", "Complete", "336,776", "a long message of many words " * 4, "flights-12345678")


def test_columns_that_fit_keep_their_widths() -> None:
    assert fitting(COLUMNS, [ROW], 300) == [18, 8, 7, 116, 16]


@pytest.mark.parametrize("width", [40, 60, 80, 100, 160])
def test_no_number_and_no_word_is_split_and_the_first_columns_stay(width: int) -> None:
    widths = fitting(COLUMNS, [ROW], width)
    assert len(widths) >= 2
    assert sum(widths) + 2 * (len(widths) - 1) <= width
    for text, room in zip(ROW, widths, strict=False):
        assert all(len(word) <= room for word in text.split())


def test_a_name_of_more_than_half_the_width_is_whole() -> None:
    name = "receipts-of-the-year-2025-big-ad0eb6ca-1-3b9ed9da"
    assert fitting(("key", "state"), [(name, "revoked")], 80)[0] == len(name)
    assert fitting(COLUMNS, [(name, *ROW[1:])], 80)[0] == len(name)


def test_two_columns_stay_however_narrow_the_terminal_is() -> None:
    assert len(fitting(COLUMNS, [ROW], 10)) == 2


def test_a_table_without_rows_shows_its_head() -> None:
    assert fitting(("name", "state"), [], 80) == [4, 5]


KEYS = ("key", "state", "algorithm", "batches", "last used", "leased by", "wrapped by")
KEY = (
    "one-ad0eb6ca-1-bd4a20f5",
    "revoked",
    "ECDSA_P256_SHA256",
    9,
    "2026-11-28 22:14:55",
    "host:1:abc",
    "kek-1cf5629629be",
)


def printed(
    monkeypatch: pytest.MonkeyPatch, *, wide: bool, width: int = 80, row: tuple[object, ...] = KEY
) -> list[str]:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(output, "out", output._VisibleConsole(width=width))
    output.print_table(KEYS, [row, row], wide=wide)
    return stream.getvalue().splitlines()


def test_a_printed_table_splits_no_word_at_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = printed(monkeypatch, wide=False)
    assert max(map(len, lines)) <= 80
    words = " ".join(lines).split()
    assert {KEY[0], KEY[1], KEY[2]} <= set(words)


@pytest.mark.parametrize("width", [20, 40, 50])
def test_an_id_is_on_one_line_on_a_terminal_that_is_narrower(
    monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    key = "receipts-of-the-year-2025-big-ad0eb6ca-1-3b9ed9da"
    _, *rows = printed(monkeypatch, wide=False, width=width, row=(key, *KEY[1:]))
    assert [row.split() for row in rows] == [[key, "revoked"]] * 2


def test_a_wide_table_has_each_row_on_one_line_on_any_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    head, *rows = printed(monkeypatch, wide=True)
    assert all(name in head for name in KEYS)
    assert len(rows) == 2
    assert all(str(value) in row for row in rows for value in KEY)


@pytest.mark.parametrize("width", [40, 80, 200])
def test_texts_stand_beside_their_labels_and_no_line_is_wider_than_the_terminal(
    monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    """`doctor` and `explain`: a line of the whole width after a label was one that the terminal wrapped."""
    long = "unwrapping of " + "a-long-name-" * 5
    rows = [("ok", "stream", "It is there. " * 9 + "\ntry: something else"), ("failed", long, "No. " * 30)]
    stream = io.StringIO()
    monkeypatch.setattr(output, "out", output._VisibleConsole(width=width))
    monkeypatch.setattr(sys, "stdout", stream)
    output.print_beside(([(level, "red"), (check, "")], text) for level, check, text in rows)
    lines = stream.getvalue().splitlines()
    assert all(len(line) <= max(width, len(long)) for line in lines)
    assert "".join(stream.getvalue().split()) == "".join(" ".join(row) for row in rows).replace(
        " ", ""
    ).replace("\n", "")
    beside = next(line for line in lines if "stream" in line)
    assert ("It is" in beside) is (width >= 80)


def test_a_time_in_the_second_column_is_whole_before_a_third_one_is_shown() -> None:
    row = ("1", "2026-11-29T11:16:37.736592Z", "create", "a long message of many words " * 4)
    for width in range(36, 100):
        assert fitting(("number", "time", "action", "arguments"), [row], width)[1] >= len(row[1])
