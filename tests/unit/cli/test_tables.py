"""Tables at the width of a terminal: columns are left out before a number or a word is split."""

from __future__ import annotations

import pytest

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
    assert sum(widths) + len(widths) - 1 <= width
    for text, room in zip(ROW, widths, strict=False):
        assert all(len(word) <= room for word in text.split())


def test_two_columns_stay_however_narrow_the_terminal_is() -> None:
    assert len(fitting(COLUMNS, [ROW], 10)) == 2


def test_a_table_without_rows_shows_its_head() -> None:
    assert fitting(("name", "state"), [], 80) == [4, 5]
