"""When the records worker checks next whether its job has ended."""

from __future__ import annotations

import pytest

from vaultstream.records.worker import SHORTEST_TICK_SECONDS, TICK_SECONDS, next_check

pytestmark = pytest.mark.unit


def test_it_checks_after_half_of_the_time_that_the_job_seems_to_need() -> None:
    assert next_check(40, before=80, seconds=0.1) == pytest.approx(0.05)


@pytest.mark.parametrize("before", [40, 30])
def test_a_job_without_progress_is_checked_now_and_then(before: int) -> None:
    assert next_check(40, before=before, seconds=0.1) == TICK_SECONDS


def test_a_long_job_is_checked_as_often_as_one_without_progress() -> None:
    assert next_check(40_000, before=40_010, seconds=0.1) == TICK_SECONDS


def test_it_never_checks_again_immediately() -> None:
    assert next_check(1, before=10_000, seconds=0.001) == SHORTEST_TICK_SECONDS
    assert next_check(0, before=10, seconds=0.1) == SHORTEST_TICK_SECONDS


def test_the_checks_of_a_steady_job_approach_its_end_and_are_few() -> None:
    left, before, seconds, now, looks = 1000.0, 1100, 0.1, 0.0, 0
    while left > 0:
        wait = next_check(int(left), before=before, seconds=seconds)
        now, before, seconds, looks = now + wait, int(left), wait, looks + 1
        left = max(0.0, 1000.0 - 1000 * now)
    assert now < 1.0 + 3 * SHORTEST_TICK_SECONDS
    assert looks < 25
