from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultstream.audit.report import AuditFinding, Count, Tally

pytestmark = pytest.mark.unit


@st.composite
def tallies(draw: st.DrawFn) -> Tally:
    tally = Tally()
    for kind in draw(st.lists(st.sampled_from(list(AuditFinding)), max_size=30)):
        tally.find(kind, draw(st.none() | st.text()), draw(st.text(max_size=5)))
    for count in Count:
        tally.add(count, draw(st.integers(0, 10**9)))
    return tally


@given(tallies())
def test_a_tally_comes_out_of_its_json_as_it_went_in(tally: Tally) -> None:
    assert Tally.load(json.loads(json.dumps(tally.dump()))) == tally


@given(st.lists(tallies(), max_size=4))
def test_the_sum_counts_each_part_and_names_no_more_than_there_are(parts: list[Tally]) -> None:
    total = Tally()
    for part in parts:
        total.merge(part)
    for kind in (*Count, *AuditFinding):
        assert total.counts[kind] == sum(part.counts[kind] for part in parts)
    for kind in AuditFinding:
        assert len(total.examples.get(kind, ())) == min(20, total.counts[kind])
