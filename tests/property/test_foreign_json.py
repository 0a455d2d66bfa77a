"""JSON of others is read or refused with ValueError, whatever it holds; nothing that is nested hides what is beside it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultstream.foreign_json import MOST_LEVELS, TOO_DEEP, is_deeper, read_foreign_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)
PIECES = st.lists(
    st.sampled_from(["[", "]", "{", "}", '"', "\\", ":", ",", "1", '"a":', "\ud800"]), max_size=12
)


def nested(kind: str, levels: int, core: str = "1") -> str:
    before, after = {"list": ("[", "]"), "object": ('{"a":', "}")}[kind]
    return before * levels + core + after * levels


@given(VALUES)
def test_what_others_write_is_read_as_json_reads_it(value: Any) -> None:
    assert read_foreign_json(json.dumps(value)) == value
    assert read_foreign_json(json.dumps(value, ensure_ascii=False).encode()) == value


@given(PIECES, st.sampled_from([1, 3_000]))
def test_a_broken_text_is_refused_with_one_error_however_long(pieces: list[str], times: int) -> None:
    text = "".join(piece * times for piece in pieces)
    try:
        read_foreign_json(text)
    except ValueError:
        return
    assert json.loads(text) is not Ellipsis


@pytest.mark.parametrize("kind", ["list", "object"])
@pytest.mark.parametrize("levels", [201, 999, 3_000, 100_000])
def test_a_deep_item_hides_no_other_item(kind: str, levels: int) -> None:
    value, text = {"a": [1, {}]}, 'brackets ]}{[ in "\\ text'
    beside = json.dumps([value, text])
    found = read_foreign_json(f'{{"items": [{beside}, {nested(kind, levels, beside)}, {beside}]}}')["items"]
    assert [found[0], found[2]] == [[value, text]] * 2
    assert is_deeper(found[1], MOST_LEVELS - 3)
    assert not is_deeper(found, MOST_LEVELS)
    assert TOO_DEEP in json.dumps(found[1])


@pytest.mark.parametrize("levels", [1, 50, 100, 150])
def test_levels_that_a_parser_takes_are_kept(levels: int) -> None:
    found = read_foreign_json(nested("object", levels))
    assert found == json.loads(nested("object", levels))
    assert is_deeper(found, levels - 1)
    assert not is_deeper(found, levels)
