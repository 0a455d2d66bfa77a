"""How soon a hint at new batches has its job reconciled: at once, and then at most once per second."""

from __future__ import annotations

import random
from itertools import pairwise

from vaultstream_operator.adapters.hints import APART_SECONDS, MOST_HINTS, MOST_RECONCILES, HintPace


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
        delay = pace.delay(7, now)
        assert delay is not None
        due.add(round(now + delay, 6))
    moments = sorted(due)
    assert len(moments) > 5
    assert min(after - before for before, after in pairwise(moments)) >= APART_SECONDS - 1e-5


def test_no_number_of_hints_causes_more_reconciles_of_all_jobs_than_their_budget() -> None:
    chance, pace = random.Random(2), HintPace()
    now, due = 0.0, set[tuple[int, float]]()
    for _ in range(20_000):
        now += chance.uniform(0, 0.002)
        job_no = chance.randrange(900)
        if (delay := pace.delay(job_no, now)) is not None:
            due.add((job_no, round(now + delay, 6)))
    seconds = now + APART_SECONDS
    assert 10 * MOST_RECONCILES < len(due) <= MOST_RECONCILES * (seconds + 1)


def test_a_job_whose_reconcile_is_to_come_needs_no_budget() -> None:
    pace = HintPace()
    assert pace.delay(7, 100.0) == 0.0
    assert pace.delay(7, 100.25) == 0.75
    assert [pace.delay(no, 100.25) for no in range(100, 200)].count(0.0) == MOST_RECONCILES - 2
    assert pace.delay(8, 100.5) is None
    assert pace.delay(7, 100.5) == 0.5
    assert pace.delay(8, 102.0) == 0.0


def test_jobs_that_were_hinted_at_long_ago_are_forgotten() -> None:
    pace = HintPace()
    for job_no in range(3 * MOST_HINTS):
        pace.delay(job_no, job_no * 0.1)
    assert len(pace._at) <= MOST_HINTS
