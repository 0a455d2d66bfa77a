from __future__ import annotations

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from vaultstream.errors import ProofError
from vaultstream.proof.canonical import canonical_text, parse_canonical

pytestmark = pytest.mark.unit

NAMES = st.text(st.characters(codec="ascii"), max_size=5)
VALUES = st.recursive(
    st.text(st.characters(codec="utf-8"), max_size=5) | st.integers(-(2**53) + 1, 2**53 - 1),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(NAMES, VALUES, max_size=4))
def test_the_text_is_that_of_the_reference_library_and_is_read_again(value: dict[str, object]) -> None:
    data = canonical_text(value).encode()
    assert data == rfc8785.dumps(value)  # type: ignore[arg-type]
    assert parse_canonical(data) == value


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        1.0,
        float("nan"),
        2**53,
        -(2**53),
        {"a": None},
        [False],
        {"é": 1},
        {1: "a"},
        "\ud800",
        b"a",
        {"a": {1}},
    ],
)
def test_a_value_that_is_not_simple_has_no_text(value: object) -> None:
    with pytest.raises(ProofError):
        canonical_text(value)


def test_a_value_that_is_nested_too_deeply_has_no_text() -> None:
    value: list[object] = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(ProofError):
        canonical_text(value)
    with pytest.raises(ProofError):
        parse_canonical(b"[" * 100_000)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b'"a"',
        b"1",
        b' {"a":1}',
        b'{"a": 1}',
        b'{"a":1}\n',
        b'{"b":1,"a":1}',
        b'{"a":1,"a":1}',
        b'{"a":1.0}',
        b'{"a":1e3}',
        b'{"a":-0}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":null}',
        b'{"a":true}',
        b'{"a":"\\u0041"}',
        b'{"a":"\\/"}',
        b'{"a":"\\ud800"}',
        b'{"a":"\xff"}',
        b'\xef\xbb\xbf{"a":1}',
        b'{"a":9007199254740992}',
        b'{"a":' + b"1" * 5000 + b"}",
        b'{"\xc3\xa9":1}',
    ],
)
def test_a_text_that_is_not_canonical_is_refused(data: bytes) -> None:
    with pytest.raises(ProofError):
        parse_canonical(data)
