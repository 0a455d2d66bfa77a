"""The rate that decisions use: unknown, zero and settling are told apart."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vaultstream.scaling.activity import Activity
from vaultstream.scaling.workload import (
    LEAST_WINDOW_SECONDS,
    RATE_WINDOW_SECONDS,
    Counts,
    expected_batches,
    expected_lag,
)

pytestmark = pytest.mark.unit

BUSY = Counts(planned=True, records_left=500, batches_left=50, settled_lately=400, window_seconds=20.0)
STILL = replace(BUSY, settled_lately=0)


def rates(*steps: tuple[float, Counts, int], running: bool = True) -> list[float | None]:
    """The rate at each of these times, with these counts and that many signers ready."""
    activity, found = Activity(), []
    for now, counts, ready in steps:
        activity = activity.observed(counts, ready=ready, running=running, now=now)
        found.append(activity.progress(counts, now).records_per_second)
    return found


def test_the_rate_is_what_was_settled_in_the_window() -> None:
    assert rates((0, BUSY, 2)) == [20.0]
    assert rates((0, replace(BUSY, window_seconds=LEAST_WINDOW_SECONDS - 0.1), 2)) == [None]


def test_the_rate_is_zero_only_once_signers_were_idle_for_the_whole_window() -> None:
    window = RATE_WINDOW_SECONDS
    assert rates((5, STILL, 2), (5 + window - 0.1, STILL, 2), (5 + window, STILL, 3)) == [None, None, 0.0]


@pytest.mark.parametrize(
    "between",
    [(BUSY, 2), (STILL, 0), (replace(STILL, batches_left=0), 2)],
    ids=["signed", "none ready", "no work"],
)
def test_idleness_starts_over_after(between: tuple[Counts, int]) -> None:
    window = RATE_WINDOW_SECONDS
    found = rates((0, STILL, 2), (window - 1, *between), (window, STILL, 2), (2 * window - 1, STILL, 2))
    assert (found[0], *found[2:]) == (None, None, None)


def test_signers_of_a_job_that_does_not_run_are_not_idle() -> None:
    assert rates((0, STILL, 2), (99, STILL, 2), running=False) == [None, None]


def test_a_rate_settles_for_one_window_after_signers_came_or_went() -> None:
    first = Activity().observed(BUSY, ready=2, running=True, now=100)
    later = first.observed(BUSY, ready=2, running=True, now=100 + RATE_WINDOW_SECONDS)
    more = later.observed(BUSY, ready=3, running=True, now=100 + RATE_WINDOW_SECONDS)
    assert first.progress(BUSY, 100).settling
    assert not later.progress(BUSY, 100 + RATE_WINDOW_SECONDS).settling
    assert more.progress(BUSY, 100 + RATE_WINDOW_SECONDS).settling


def test_records_left_are_unknown_until_all_are_planned() -> None:
    counts = replace(BUSY, planned=False)
    progress = Activity().progress(counts, 0)
    assert (progress.records_left, progress.batches_left, progress.planned) == (None, 50, False)
    assert Activity().progress(BUSY, 0).records_left == 500


def test_expected_batches_count_until_all_are_planned() -> None:
    assert [expected_batches(rows, 10) for rows in (0, 1, 10, 11)] == [0, 1, 1, 2]
    planning = replace(BUSY, planned=False)
    assert expected_lag(planning, expected=80, batches_done=10) == 70
    assert expected_lag(planning, expected=20, batches_done=10) == 50
    assert expected_lag(BUSY, expected=80, batches_done=10) == 50


def test_the_rate_of_a_signer_is_that_of_seconds_in_which_it_had_work() -> None:
    activity, steps = Activity(batch_size=10), [(0, 0, 50), (5, 500, 50), (10, 1000, 0), (15, 1000, 0)]
    for now, signed, left in steps:
        counts = replace(BUSY, batches_left=left, signed=signed)
        activity = activity.observed(counts, ready=1, running=True, now=now)
    assert activity.progress(counts, 15.0).rate_per_signer == 100.0  # before: 67


def test_without_such_seconds_it_is_the_highest_between_two_looks() -> None:
    activity, steps = Activity(batch_size=10), [(0, 0, 5), (5, 500, 0), (10, 500, 0), (15, 500, 0)]
    for now, signed, left in steps:
        counts = replace(BUSY, batches_left=left, signed=signed)
        activity = activity.observed(counts, ready=1, running=True, now=now)
    assert activity.progress(counts, 15.0).rate_per_signer == 100.0  # before: 33
