"""The type of ids: narrow enough to be fast, wide enough to lose nothing."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vaultstream.importing.ids import TypeOfIds, fault_of, is_bigint, is_uuid
from vaultstream.importing.rejects import too_many

pytestmark = pytest.mark.unit


@given(st.integers(-(2**65), 2**65))
@example(2**63)
@example(2**63 - 1)
@example(-(2**63))
@example(-(2**63) - 1)
def test_an_integer_is_a_bigint_exactly_if_it_fits_into_64_bits(number: int) -> None:
    assert is_bigint(str(number)) == (-(2**63) <= number < 2**63)


@given(st.text(alphabet="0123456789-+ _٣e.", max_size=22))
@example("007")
@example("-0")
@example("1\n")
def test_what_counts_as_a_bigint_comes_back_from_it_unchanged(text: str) -> None:
    if is_bigint(text):
        assert str(int(text)) == text


@given(st.uuids(), st.booleans())
def test_a_uuid_is_known_in_either_case(value: UUID, upper: bool) -> None:
    assert is_uuid(str(value).upper() if upper else str(value))
    assert not is_uuid(value.hex)


@given(
    st.lists(
        st.lists(st.sampled_from(["1", "-5", "007", "x", "9f0c3a5e-0d5c-4f6e-8d4b-3a1c2e5f7a90"])), max_size=5
    )
)
def test_the_narrowest_type_holds_every_id_of_every_part(parts: list[list[str]]) -> None:
    types = TypeOfIds()
    for part in parts:
        types.see(part)
    ids = [text for part in parts for text in part]
    holds = {"bigint": is_bigint, "uuid": is_uuid, "text": lambda _: True}
    assert all(map(holds[types.narrowest], ids))
    if types.narrowest == "text":
        assert not all(map(is_bigint, ids))
        assert not all(map(is_uuid, ids))


@given(st.text(min_size=1, max_size=2000))
def test_an_id_is_valid_exactly_if_postgres_can_store_and_index_it(text: str) -> None:
    good = "\0" not in text and len(text.encode(errors="surrogatepass")) <= 1024
    assert (fault_of(text) is None) == good


@given(st.integers(0, 10**6), st.integers(1, 10**6), st.none() | st.integers(0, 10**6))
def test_lines_rejected_by_the_early_verdict_would_be_by_the_last_one(
    rejected: int, rows: int, limit: int | None
) -> None:
    if too_many(rejected, rows, limit, at_end=False):
        assert too_many(rejected, rows, limit, at_end=True)


@given(st.integers(1, 10**6))
def test_a_file_without_one_good_row_is_never_loaded(rows: int) -> None:
    assert too_many(rows, rows, rows + 1, at_end=True)


@pytest.mark.parametrize(
    ("rejected", "rows", "limit", "verdict"),
    [
        (100, 101, None, False),
        (101, 200, None, True),
        (1000, 10_000, None, False),
        (1001, 10_000, None, True),
        (0, 0, 0, False),
        (0, 10, 0, False),
        (1, 10, 0, True),
        (5000, 10_000, 5000, False),
    ],
)
def test_a_tenth_or_100_may_be_rejected_or_what_the_limit_says(
    rejected: int, rows: int, limit: int | None, verdict: bool
) -> None:
    assert too_many(rejected, rows, limit, at_end=True) is verdict
