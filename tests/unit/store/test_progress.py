from __future__ import annotations

from dataclasses import replace

import pytest

from support.stored import UNSTARTED
from vaultstream.scaling.activity import Activity
from vaultstream.scaling.forecast import time_left

pytestmark = pytest.mark.unit

RUNNING = replace(
    UNSTARTED,
    records=100,
    signed=40,
    dead=10,
    planned=True,
    seconds=8.0,
    settled_lately=50,
    records_left=50,
    window_seconds=2.0,
)


def test_the_rate_counts_dead_letters_as_settled() -> None:
    assert RUNNING.settled == 50
    assert RUNNING.rate == RUNNING.recent_rate == 25.0


@pytest.mark.parametrize("window", [None, 0.0, 1.9])
def test_the_rate_is_unknown_before_the_window_is_long_enough(window: float | None) -> None:
    assert replace(RUNNING, window_seconds=window).rate is None


def test_the_rate_is_unknown_if_nothing_was_settled_in_the_window() -> None:
    """Counts don't say whether signers were ready and had work: the operator shows no rate either."""
    idle = replace(RUNNING, settled_lately=0)
    assert idle.rate is None
    assert Activity().progress(idle, 0).records_per_second is None


def test_the_rate_of_an_ended_job_is_that_of_the_whole() -> None:
    ended = replace(RUNNING, ended=True, signed=90)
    assert ended.rate == ended.overall_rate == 12.5
    assert RUNNING.overall_rate is None
    assert replace(ended, seconds=None).rate is None


def test_the_eta_is_what_is_left_at_the_rate() -> None:
    assert RUNNING.eta_seconds == 2.0
    assert replace(RUNNING, records_left=0).eta_seconds == 0.0


def test_the_eta_is_that_of_a_forecast() -> None:
    assert RUNNING.eta_seconds == time_left(RUNNING.records_left, RUNNING.rate) == 2.0
    assert replace(RUNNING, records_left=2**62, settled_lately=1).eta_seconds is None


def test_the_eta_is_unknown_without_a_rate_or_before_all_is_planned() -> None:
    assert replace(RUNNING, settled_lately=0).eta_seconds is None
    assert replace(RUNNING, window_seconds=None).eta_seconds is None
    assert replace(RUNNING, planned=False).eta_seconds is None


def test_an_ended_job_has_nothing_left() -> None:
    assert replace(RUNNING, ended=True).eta_seconds == 0


def test_pauses_are_no_work() -> None:
    ended = replace(RUNNING, ended=True, signed=90, seconds=1000.0, paused_seconds=992.0)
    assert ended.working_seconds == 8.0
    assert ended.rate == ended.overall_rate == 12.5
    assert replace(ended, paused_seconds=2000.0).rate is None


def test_a_rate_does_not_count_the_time_before_a_run_was_resumed() -> None:
    stopped = replace(RUNNING, window_seconds=20.0)
    assert replace(stopped, signed=240, settled_lately=200).since(stopped, 4.0).rate == 50.0
    assert stopped.since(stopped, 4.0).rate is None
    assert replace(stopped, signed=240).since(stopped, 30.0) == replace(stopped, signed=240)
