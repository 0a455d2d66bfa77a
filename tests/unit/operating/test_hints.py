"""How soon a hint at new batches has its job reconciled: at once, and then at most once per second."""

from __future__ import annotations

import random
from itertools import pairwise

from vaultstream_operator.adapters.hints import APART_SECONDS, MOST_HINTS, HintPace


def test_the_first_hint_counts_at_once_and_those_after_it_together() -> None:
    pace = HintPace()
    assert pace.delay(7, 100.0) == 0.0
    assert pace.delay(8, 100.0) == 0.0
    assert [pace.delay(7, at) for at in (100.25, 100.5, 100.75)] == [0.75, 0.5, 0.25]
    assert pace.delay(7, 101.25) == 0.75
    assert pace.delay(7, 110.0) == 0.0


def test_no_number_of_hints_has_a_job_reconciled_more_often_than_each_second() -> None:
    chance, pace = random.Random(1), HintPace()
    now, due = 0.0, set()
    for _ in range(2_000):
        now += chance.uniform(0, 0.02)
        due.add(round(now + pace.delay(7, now), 6))
    moments = sorted(due)
    assert len(moments) > 5
    assert min(after - before for before, after in pairwise(moments)) >= APART_SECONDS - 1e-5


def test_jobs_that_were_hinted_at_long_ago_are_forgotten() -> None:
    pace = HintPace()
    for job_no in range(3 * MOST_HINTS):
        pace.delay(job_no, job_no * 0.01)
    assert len(pace._at) <= MOST_HINTS
