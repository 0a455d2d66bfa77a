"""Reading a group of batches in portions: all of it, each record once, and never more bytes than a portion may have."""

from __future__ import annotations

from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultstream.records import portions
from vaultstream.records.portions import PORTION_BYTES, PayloadSizes, Unread

pytestmark = pytest.mark.unit

ROOM, LIMIT = 100, 160
SIZES = st.lists(st.lists(st.integers(0, LIMIT), max_size=30), max_size=4)


@given(sizes=SIZES, usual=st.integers(0, 200), growth=st.integers(1, 50), data=st.data())
def test_all_records_are_read_once_and_no_portion_is_larger_than_allowed(
    sizes: list[list[int]], usual: int, growth: int, data: st.DataObject
) -> None:
    with patch.object(portions, "PORTION_BYTES", ROOM):
        unread = Unread([range(len(each)) for each in sizes], usual=usual, limit=LIMIT)
        current = {(place, n): size for place, each in enumerate(sizes) for n, size in enumerate(each)}
        done: list[tuple[int, int]] = []
        reads = 0
        while unread:
            reads += 1
            portion = unread.take()
            assert portion.most_bytes <= max(ROOM, LIMIT)
            assert portion.most_bytes <= ROOM or sum(map(len, portion.wanted.values())) == 1
            for place, ids in portion.wanted.items():
                for n in ids:
                    if current[place, n] > portion.cap:
                        unread.defer(place, [(n, current[place, n])])
                        if data.draw(st.booleans()):  # it grows between two reads
                            current[place, n] = min(LIMIT, current[place, n] + growth)
                    else:
                        done.append((place, n))
        assert sorted(done) == sorted(current)
        assert reads <= 3 * len(current), "a payload that keeps growing ends"


@given(st.lists(st.integers(1, 20_000), min_size=1, max_size=5))
def test_small_payloads_are_one_read_whatever_the_batches(records: list[int]) -> None:
    unread = Unread([range(count) for count in records], usual=0, limit=1 << 20)
    portion = unread.take()
    assert not unread
    assert sum(map(len, portion.wanted.values())) == sum(records)
    assert PORTION_BYTES - sum(records) < portion.most_bytes <= PORTION_BYTES or portion.cap == 1 << 20


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=50))
def test_at_most_half_of_the_payloads_are_longer_than_usual(sizes: list[int]) -> None:
    known = PayloadSizes()
    known.note(len(sizes), sum(sizes))
    assert 2 * sum(size > known.usual + 1 for size in sizes) <= len(sizes)


def test_the_usual_size_follows_the_payloads() -> None:
    known = PayloadSizes()
    assert known.usual == 0
    known.note(0, 0)
    assert known.usual == 0
    known.note(10, 10_000)
    assert known.usual == 2_000
    for _ in range(20):
        known.note(10, 100)
    assert known.usual == 20
