"""Rows found for a batch against what was planned into it."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultstream.records.reasons import ID_NOT_UNIQUE, PAYLOAD_NULL, PAYLOAD_TOO_LARGE, RECORD_GONE
from vaultstream.signing.read import join_runs, sort_out

pytestmark = pytest.mark.unit

LIMIT = 5
CAPS = st.integers(0, LIMIT)


@given(
    planned=st.lists(st.integers(0, 30), unique=True),
    payloads=st.lists(st.tuples(st.integers(0, 30), st.none() | st.binary(max_size=8))),
    cap=CAPS,
)
def test_each_planned_record_is_signed_or_long_or_dead_for_the_right_reason(
    planned: list[int], payloads: list[tuple[int, bytes | None]], cap: int
) -> None:
    found = [
        (i, p if p is not None and len(p) <= cap else None, None if p is None else len(p))
        for i, p in payloads
    ]
    [records] = sort_out([planned], found, limit=LIMIT)
    times = Counter(i for i, _ in payloads)
    content = dict(payloads)
    expected_dead, expected_long = {}, []
    for i in planned:
        payload = content.get(i)
        if times[i] > 1:
            expected_dead[i] = ID_NOT_UNIQUE
        elif times[i] == 0:
            expected_dead[i] = RECORD_GONE
        elif payload is None:
            expected_dead[i] = PAYLOAD_NULL
        elif len(payload) > LIMIT:
            expected_dead[i] = PAYLOAD_TOO_LARGE
        elif len(payload) > cap:
            expected_long.append((i, len(payload)))
    assert {d.record_id: d.reason for d in records.dead} == expected_dead
    assert len(records.dead) == len(expected_dead)
    assert records.long == expected_long
    assert records.ids == [i for i in planned if i not in {*expected_dead, *dict(expected_long)}]
    assert records.payloads == [content[i] for i in records.ids]
    assert all(d.message.endswith(".") and "{" not in d.message for d in records.dead)


@given(
    batches=st.lists(st.lists(st.integers(0, 30), unique=True), max_size=4),
    payloads=st.lists(st.tuples(st.integers(0, 30), st.none() | st.binary(max_size=8))),
)
def test_each_batch_of_many_comes_out_as_it_would_alone(
    batches: list[list[int]], payloads: list[tuple[int, bytes | None]]
) -> None:
    found = [(i, p, None if p is None else len(p)) for i, p in payloads]
    alone = [records for ids in batches for records in sort_out([ids], found, limit=LIMIT)]
    assert sort_out(batches, found, limit=LIMIT) == alone


@given(st.lists(st.tuples(st.integers(-20, 20), st.integers(0, 9))))
def test_joined_runs_hold_the_same_integers_each_once_in_as_few_runs_as_can_be(
    given: list[tuple[int, int]],
) -> None:
    runs = [(first, first + more) for first, more in given]
    joined = join_runs(runs)
    members = [number for first, last in joined for number in range(first, last + 1)]
    assert members == sorted({number for first, last in runs for number in range(first, last + 1)})
    assert all(after[0] > before[1] + 1 for before, after in pairwise(joined))
