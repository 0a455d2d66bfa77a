"""The canonical payload, against the reference library and against a plain JSON reader."""

from __future__ import annotations

import json
import string

import pytest
import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st

from vaultstream.canonical import (
    MAX_SAFE_INTEGER,
    CanonicalError,
    canonical_json,
    encode_string,
    object_composer,
    text_composer,
)

pytestmark = pytest.mark.unit

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
NAMES = st.lists(TEXT | st.text(string.printable), min_size=1, max_size=8, unique=True)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | st.integers(-MAX_SAFE_INTEGER, MAX_SAFE_INTEGER) | FLOATS | TEXT
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
@example(1.0)
@example(-0.0)
@example(1e21)
@example(1e20)
@example(123456789012345680.0)
@example(1e-6)
@example(1.5e-7)
@example({"\ue000": 1, "\U00010000": 2})
@example({"": [], "a": {}})
def test_any_json_value_is_written_as_the_reference_library_writes_it(value: object) -> None:
    assert canonical_json(value) == rfc8785.dumps(value)


@given(st.dictionaries(st.text(string.ascii_letters), SCALARS))
def test_a_flat_record_is_written_as_the_reference_library_writes_it(record: dict[str, object]) -> None:
    assert canonical_json(record) == rfc8785.dumps(record)


@given(TEXT)
@example('\x00\x1f\x7f\x80  "\\/\b\f\n\r\t%s')
def test_a_string_is_written_as_the_reference_library_writes_it(text: str) -> None:
    assert encode_string(text).encode() == rfc8785.dumps(text)


@given(NAMES, st.data())
def test_a_row_of_text_is_composed_as_the_reference_library_writes_its_object(
    names: list[str], data: st.DataObject
) -> None:
    row = data.draw(st.lists(TEXT, min_size=len(names), max_size=len(names)))
    compose = text_composer(names, range(len(names)))
    assert compose(row) == rfc8785.dumps(dict(zip(names, row, strict=True)))


@given(NAMES, st.data())
def test_composed_members_need_not_stand_in_the_rows_order(names: list[str], data: st.DataObject) -> None:
    row = data.draw(st.lists(TEXT, min_size=len(names), max_size=len(names)))
    places = data.draw(st.permutations(range(len(names))))
    compose = text_composer(names, places)
    expected = {name: row[place] for name, place in zip(names, places, strict=True)}
    assert json.loads(compose(row)) == expected


@given(st.dictionaries(TEXT, SCALARS, min_size=1))
def test_an_object_composed_of_fragments_is_the_object_written_at_once(record: dict[str, object]) -> None:
    fragments = tuple(canonical_json(value).decode() for value in record.values())
    assert object_composer(list(record))(fragments) == canonical_json(record)


@given(st.integers(min_value=MAX_SAFE_INTEGER + 1) | st.integers(max_value=-MAX_SAFE_INTEGER - 1))
@example(MAX_SAFE_INTEGER + 1)
@example(-MAX_SAFE_INTEGER - 1)
def test_an_integer_that_json_does_not_carry_exactly_is_refused(number: int) -> None:
    with pytest.raises(CanonicalError, match="write it as a string"):
        canonical_json({"n": number})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", {"\udfff": 1}, ["x\udc80"]])
def test_what_has_no_canonical_form_is_refused(value: object) -> None:
    with pytest.raises(CanonicalError):
        canonical_json(value)
