"""What earlier jobs have shown: a curve that is fitted to it, and a prior that other machines and old ones don't spoil."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.scaling import EMPTY, NOW, seen
from vaultstream.api import ScalingSpec
from vaultstream.scaling.curve import Curve, LearnedCurve, fit_curve
from vaultstream.scaling.decide import decide
from vaultstream.scaling.history import Change, History
from vaultstream.scaling.observation import Observation, Progress, Replicas, Timing
from vaultstream.scaling.prior import LONGEST_AGE_SECONDS, MOST_JOBS, MOST_RATES, REACH, Prior
from vaultstream.scaling.reasons import Reason
from vaultstream.scaling.throughput import Seen
from vaultstream.scaling.worth import SLACK, worth, worth_by_curve

pytestmark = pytest.mark.unit

CURVES = st.builds(
    Curve,
    st.floats(1.0, 1e5),
    st.floats(0.0, 0.9),
    st.floats(0.0, 0.05),
)


def history_of(curve: Curve, *counts: int, at: float = NOW, starts: tuple[float, ...] = (8.0,)) -> History:
    rates = tuple(Seen(signers=count, rate=curve(count), samples=3, at=at) for count in counts)
    return History(seen=rates, starts=starts)


def prior_of(curve: Curve, *counts: int, at: float = NOW) -> Prior:
    return Prior().learned(history_of(curve, *counts, at=at), 1, at)


def curve_of(prior: Prior, now: float = NOW) -> Curve:
    learned = prior.learned_curve(now)
    assert learned is not None
    return learned.curve


@given(CURVES)
@settings(max_examples=60, deadline=None)
def test_a_law_is_found_from_what_it_gives(curve: Curve) -> None:
    fitted = fit_curve([(count, curve(count), 1.0) for count in (1, 4, 12, 40)])
    assert fitted is not None
    for count in (1, 2, 8, 25, 40):
        assert fitted(count) == pytest.approx(curve(count), rel=0.02)


@given(st.lists(st.tuples(st.integers(1, 500), st.floats(0.01, 1e7), st.floats(0.5, 3.0)), max_size=8))
@settings(max_examples=150, deadline=None)
def test_no_measurement_gives_a_law_that_is_not_one(points: list[tuple[int, float, float]]) -> None:
    fitted = fit_curve(points)
    assert (fitted is None) == (not points)
    if fitted is not None:
        assert fitted.rate > 0
        assert min(fitted.contention, fitted.coherence) >= 0
        assert 0 < fitted(1000) <= 1000 * fitted.rate


def test_counts_that_hardly_differ_say_nothing_about_the_shape() -> None:
    fitted = fit_curve([(4, 400.0, 1.0), (5, 460.0, 1.0)])
    assert fitted is not None
    assert (fitted.contention, fitted.coherence) == (0.0, 0.0)


def test_a_ceiling_is_found_where_it_is() -> None:
    fitted = fit_curve([(4, 3_950.0, 1.0), (9, 7_740.0, 3.0), (15, 8_025.0, 3.0), (88, 8_226.0, 3.0)])
    assert fitted is not None
    assert fitted.knee(100) <= 10  # a law without one: more than 30
    assert fitted(100) == pytest.approx(8_000.0, rel=0.03)
    assert fitted.formula.startswith("X(n) = min(")


def test_a_ceiling_far_beyond_what_was_seen_below_it_is_none() -> None:
    law = Curve(1_000.0, 0.02, 0.0005)
    fitted = fit_curve([(count, law(count), 3.0) for count in (4, 34, 88)])
    assert fitted is not None
    assert fitted(15) == pytest.approx(law(15), rel=0.05)


@given(CURVES, st.integers(1, 10**8), st.integers(0, 50), st.integers(1, 200), st.floats(0.1, 60.0))
@settings(max_examples=100, deadline=None)
def test_fewer_signers_would_end_later(
    curve: Curve, left: int, running: int, most: int, startup: float
) -> None:
    found = worth_by_curve(left, curve, running=running, most=most, startup=startup).signers
    assert 1 <= found <= most
    if running == 0 and found > 1:
        first, fewer = left / curve(found), left / curve(found - 1)
        assert startup + fewer > SLACK * (startup + first) / SLACK


def test_signers_that_sign_independently_are_as_many_by_either_formula() -> None:
    by_rate = worth(1_000_000, 1_000.0, running=0, most=100, startup=10.0).signers
    by_curve = worth_by_curve(1_000_000, Curve(1_000.0), running=0, most=100, startup=10.0).signers
    assert abs(by_rate - by_curve) <= 1


def test_the_same_history_again_changes_nothing() -> None:
    history = history_of(Curve(1_000.0), 4, 20)
    once = Prior().learned(history, 7, NOW)
    assert once.learned(history, 7, NOW + 5) == once
    assert Prior.model_validate(once.model_dump(mode="json", by_alias=True)) == once


def test_a_prior_stays_small() -> None:
    prior = Prior()
    for job in range(3 * MOST_JOBS):
        prior = prior.learned(history_of(Curve(1_000.0), job + 1, at=NOW + job), job, NOW + job, drain=1.0)
    assert (len(prior.seen), len(prior.starts), len(prior.drains)) == (MOST_RATES, MOST_JOBS, MOST_JOBS)


def test_another_machine_replaces_what_is_known_after_one_job() -> None:
    slow = prior_of(Curve(1_000.0, 0.02), 4, 16, 64)
    after = slow.learned(history_of(Curve(5_000.0, 0.02), 4, at=NOW + 60), 2, NOW + 60)
    for count in (4, 16, 64):
        assert curve_of(after)(count) == pytest.approx(Curve(5_000.0, 0.02)(count), rel=0.15)


def test_more_signers_that_sign_less_each_are_no_other_machine() -> None:
    few = prior_of(Curve(1_000.0), 4, 8)
    after = few.learned(history_of(Curve(1_000.0, ceiling=8_000.0), 88, at=NOW + 60), 2, NOW + 60)
    assert {one.signers: one.rate for one in after.seen} == {4: 4_000.0, 8: 8_000.0, 88: 8_000.0}


def test_noise_does_not() -> None:
    before = prior_of(Curve(1_000.0), 4, 16, 64)
    after = before.learned(history_of(Curve(1_150.0), 16, at=NOW + 60), 2, NOW + 60)
    assert curve_of(after)(64) == pytest.approx(64_000.0, rel=0.1)


def test_what_is_old_is_not_used_and_starts_and_drains_are_medians() -> None:
    prior = prior_of(Curve(1_000.0), 4, 16)
    assert prior.learned_curve(NOW + LONGEST_AGE_SECONDS + 1) is None
    prior = prior.learned(EMPTY.but(starts=(20.0,)), 2, NOW, drain=3.0)
    prior = prior.learned(EMPTY.but(starts=(9.0,)), 3, NOW, drain=1.0)
    assert (prior.start(10.0), prior.drain(2.0)) == (9.0, 2.0)
    assert (Prior().start(10.0), Prior().drain(2.0)) == (10.0, 2.0)


def beginning(
    lag: int, curve: Curve, *, most: int = 1000, progress: Progress, finish: float | None = None
) -> Observation:
    timing = Timing(NOW, finish, 10.0, 2.0)
    return Observation(
        lag=seen(lag).lag,
        replicas=seen(lag).replicas,
        timing=timing,
        progress=progress,
        learned=LearnedCurve(curve, most),
    )


def test_a_curve_is_believed_only_so_far_beyond_what_was_seen() -> None:
    learned = prior_of(Curve(1_000.0), 4).learned_curve(NOW)
    assert learned is not None
    assert learned.most == REACH * 4
    progress = Progress(records_expected=10_000_000, records_found=10_000_000, planning_seconds=0.0)
    observation = beginning(10_000, learned.curve, most=learned.most, progress=progress)
    assert decide(ScalingSpec(), observation, EMPTY, NOW).desired == 15  # within 10 % of what 16 would take


def test_statistics_are_believed_up_to_a_few_times_of_what_was_found() -> None:
    counted = Progress(records_expected=200_000, records_found=200_000, planning_seconds=0.0)
    claimed = Progress(records_expected=50 * 200_000, records_found=40_000, planning_seconds=1.0)
    asked = {
        decide(ScalingSpec(), beginning(10_000, Curve(1_000.0), progress=each), EMPTY, NOW).desired
        for each in (counted, claimed)
    }
    assert len(asked) == 1


def test_signers_that_wait_for_the_planner_are_not_started() -> None:
    progress = Progress(records_expected=1_000_000, records_found=400_000, planning_seconds=1.0)
    slowly = Progress(records_expected=1_000_000, records_found=400_000, planning_seconds=200.0)
    first = Progress(records_expected=1_000_000, records_found=40_000)
    quick, slow, unknown = (
        decide(ScalingSpec(), beginning(10_000, Curve(1_000.0), progress=each), EMPTY, NOW).desired
        for each in (progress, slowly, first)
    )
    assert slow == 5  # 10 s + 1,000,000 / 5,000 = 210 s, at most 1.1 · 200 s
    assert quick > 10 * slow
    assert unknown <= 8  # as for the 40,000 that were found


def test_a_finishing_time_is_met_by_what_earlier_jobs_have_shown() -> None:
    progress = Progress(records_expected=100_000, records_found=100_000, planning_seconds=0.0)
    observation = beginning(1_000, Curve(100.0), progress=progress, finish=NOW + 100.0)
    decision = decide(ScalingSpec(lag_threshold=1000), observation, EMPTY, NOW)
    assert decision.reason is Reason.EARLIER_JOBS
    assert decision.desired == 13  # 100,000 / (100 · (0.92 · 100 s - 10 s - 2 s))
    assert not decision.deadline_at_risk


def test_signers_that_are_starting_already_are_enough_while_they_start() -> None:
    progress = Progress(records_expected=100_000, records_found=100_000, planning_seconds=0.0)
    observation = beginning(1_000, Curve(100.0), progress=progress, finish=NOW + 92.0)
    observation = replace(observation, replicas=Replicas(13, 0))
    asked = EMPTY.but(changes=(Change(at=NOW - 8, before=0, after=13, reason="EarlierJobs"),))
    assert decide(ScalingSpec(lag_threshold=1000), observation, asked, NOW).desired == 13  # before: 14
    assert decide(ScalingSpec(lag_threshold=1000), observation, EMPTY, NOW).desired == 14


def test_a_lag_threshold_without_a_finishing_time_decides_alone() -> None:
    progress = Progress(records_expected=100_000, records_found=100_000, planning_seconds=0.0)
    decision = decide(
        ScalingSpec(lag_threshold=100), beginning(1_000, Curve(100.0), progress=progress), EMPTY, NOW
    )
    assert decision.reason is Reason.LAG
