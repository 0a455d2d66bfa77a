"""KEDA's activation, idle count, cooldown and fallback, by its documentation and source.

Documentation: keda.sh/docs/latest/reference/scaledobject-spec and "Activating and Scaling thresholds" in
keda.sh/docs/latest/concepts/scaling-deployments. Source: pkg/scaling/executor/scale_scaledobjects.go and
pkg/fallback/fallback.go.
"""

from __future__ import annotations

from typing import Literal

import pytest

from support.scaling import EMPTY, NOW, counts, desired, play, seen
from vaultstream.api import (
    Fallback,
    ScaleDownRules,
    ScaleUpRules,
    ScalingBehavior,
    ScalingSpec,
)
from vaultstream.scaling.decide import decide
from vaultstream.scaling.decision import Limit
from vaultstream.scaling.history import History
from vaultstream.scaling.observation import Timing
from vaultstream.scaling.reasons import LimitName, Reason

pytestmark = pytest.mark.unit

AT_ONCE = ScalingBehavior(scale_down=ScaleDownRules(stabilization_window_seconds=0))
Behavior = Literal["static", "currentReplicas", "currentReplicasIfHigher", "currentReplicasIfLower"]


@pytest.mark.parametrize(("lag", "count"), [(0, 0), (1, 1), (10, 1), (11, 2), (250, 25), (99_999, 100)])
def test_from_zero_the_count_is_reached_in_one_step(lag: int, count: int) -> None:
    assert desired(ScalingSpec(lag_threshold=10), seen(lag)) == count


@pytest.mark.parametrize(("lag", "count"), [(40, 0), (50, 0), (51, 6)])
def test_the_activation_lag_must_be_exceeded(lag: int, count: int) -> None:
    # KEDA's example: threshold 10, activation 50, 40 messages: inactive "even if the HPA requires 4 instances"
    assert desired(ScalingSpec(lag_threshold=10, activation_lag_threshold=50), seen(lag)) == count


def test_with_a_minimum_and_no_idle_count_the_activation_lag_means_nothing() -> None:
    # as KEDA documents: from a minimum of 1 on, "the scaler is always active"
    spec = ScalingSpec(lag_threshold=10, activation_lag_threshold=50, min_replica_count=1, behavior=AT_ONCE)
    assert desired(spec, seen(40)) == 4
    assert desired(spec, seen(40, 8)) == 4
    assert desired(spec, seen(0, 8)) == 1
    assert desired(spec, seen(0)) == 1


def test_below_the_activation_lag_it_cools_down_as_hpa_would_and_then_rests() -> None:
    spec = ScalingSpec(lag_threshold=10, activation_lag_threshold=50, cooldown_period=60, behavior=AT_ONCE)
    played = play(spec, [seen(80, 8), *[seen(40, 8)] * 5], every=15)
    assert counts(played) == [8, 4, 4, 4, 0, 0]
    assert [decision.reason for decision in played[1:]] == [
        *[Reason.COOLING_DOWN] * 3,
        Reason.COOLDOWN_OVER,
        Reason.IDLE,
    ]


def test_the_last_signer_waits_for_the_cooldown() -> None:
    spec = ScalingSpec(lag_threshold=10, cooldown_period=300, behavior=AT_ONCE)
    played = play(spec, [seen(80, 8), *[seen(0, 8)] * 21], every=15)
    assert counts(played) == [8, *[1] * 19, 0, 0]
    assert played[1].limit == Limit(LimitName.COOLDOWN_PERIOD, 1)
    assert played[-1].reason is Reason.IDLE


def test_nothing_is_added_while_it_cools_down() -> None:
    spec = ScalingSpec(lag_threshold=10, activation_lag_threshold=50)
    assert desired(spec, seen(40, 2), History(last_active_at=NOW - 5)) == 2


@pytest.mark.parametrize(
    ("age", "active_ago", "initial", "count"),
    [
        (10, None, 0, 1),  # the cooldown begins with the job
        (60, None, 0, 0),
        (60, None, 120, 1),  # "the cooldownPeriod will only start 120 seconds after"
        (179, None, 120, 1),
        (180, None, 120, 0),
        (1000, 59, 0, 1),
        (1000, 60, 0, 0),
        (150, 100, 120, 1),  # 30 s after the initial cooldown
    ],
)
def test_the_cooldown_begins_after_the_last_work_and_the_initial_cooldown(
    age: float, active_ago: float | None, initial: int, count: int
) -> None:
    spec = ScalingSpec(lag_threshold=10, cooldown_period=60, initial_cooldown_period=initial)
    history = History(last_active_at=None if active_ago is None else NOW - active_ago)
    assert desired(spec, seen(0, 1, timing=Timing(created_at=NOW - age)), history) == count


def test_without_a_cooldown_the_signers_go_at_once_and_past_every_window() -> None:
    played = play(ScalingSpec(cooldown_period=0, lag_threshold=1), [seen(9, 9), seen(0, 9)])
    assert counts(played) == [9, 0]


@pytest.mark.parametrize(
    ("lag", "current", "count", "reason"),
    [
        (0, 0, 2, Reason.IDLE),
        (0, 2, 2, Reason.IDLE),
        (0, 8, 2, Reason.COOLDOWN_OVER),
        (10, 2, 5, Reason.LAG),  # from idle to the minimum
        (120, 2, 12, Reason.LAG),  # or to all that is needed
    ],
)
def test_the_idle_count_rests_below_the_minimum(lag: int, current: int, count: int, reason: Reason) -> None:
    spec = ScalingSpec(min_replica_count=5, idle_replica_count=2, lag_threshold=10)
    decision = decide(spec, seen(lag, current), EMPTY, NOW)
    assert (decision.desired, decision.reason) == (count, reason)


def test_while_it_cools_down_the_minimum_holds_not_the_idle_count() -> None:
    spec = ScalingSpec(lag_threshold=10, min_replica_count=5, idle_replica_count=0, behavior=AT_ONCE)
    decision = decide(spec, seen(0, 8), History(last_active_at=NOW - 5), NOW)
    assert (decision.desired, decision.limit) == (5, Limit(LimitName.MIN_REPLICA_COUNT, 5))


def test_the_step_from_rest_is_slowed_down_by_no_window_and_counted_by_no_policy() -> None:
    up = ScaleUpRules(stabilization_window_seconds=600)
    spec = ScalingSpec(lag_threshold=1, behavior=ScalingBehavior(scale_up=up))
    assert counts(play(spec, [seen(0), seen(0), seen(30)], every=15)) == [0, 0, 30]
    assert counts(play(ScalingSpec(lag_threshold=1), [seen(10), seen(100)], every=5)) == [10, 20]


def test_with_scale_up_disabled_the_step_from_rest_goes_to_the_minimum() -> None:
    # KEDA's own step: HPA has no part in it
    behavior = ScalingBehavior(scale_up=ScaleUpRules(select_policy="Disabled"))
    decision = decide(ScalingSpec(lag_threshold=10, behavior=behavior), seen(500), EMPTY, NOW)
    assert (decision.desired, decision.limit) == (1, Limit(LimitName.SCALE_UP_DISABLED, 1))
    assert desired(ScalingSpec(lag_threshold=10, behavior=behavior, min_replica_count=3), seen(500)) == 3
    assert desired(ScalingSpec(lag_threshold=10, behavior=behavior), seen(5)) == 1


@pytest.mark.parametrize(
    ("behavior", "current", "count"),
    [
        ("static", 3, 6),
        ("static", 9, 6),
        ("currentReplicas", 3, 3),
        ("currentReplicas", 9, 9),
        ("currentReplicasIfHigher", 3, 6),
        ("currentReplicasIfHigher", 9, 9),
        ("currentReplicasIfLower", 3, 3),
        ("currentReplicasIfLower", 9, 6),
    ],
)
def test_each_behavior_of_the_fallback(behavior: Behavior, current: int, count: int) -> None:
    fallback = Fallback(failure_threshold=3, replicas=6, behavior=behavior)
    spec = ScalingSpec(lag_threshold=10, fallback=fallback, behavior=AT_ONCE)
    decision = decide(spec, seen(Reason.NATS_UNREACHABLE, current, failures=4), EMPTY, NOW)
    assert (decision.desired, decision.reason, decision.hold) == (count, Reason.FALLBACK, False)


@pytest.mark.parametrize(("failures", "count"), [(1, 9), (3, 9), (4, 6), (400, 6)])
def test_the_fallback_is_taken_when_more_readings_than_the_threshold_failed(
    failures: int, count: int
) -> None:
    spec = ScalingSpec(lag_threshold=10, fallback=Fallback(failure_threshold=3, replicas=6), behavior=AT_ONCE)
    assert desired(spec, seen(Reason.CONSUMER_MISSING, 9, failures=failures)) == count


def test_a_threshold_of_zero_falls_back_at_the_first_failure() -> None:
    spec = ScalingSpec(lag_threshold=10, fallback=Fallback(failure_threshold=0, replicas=6))
    assert desired(spec, seen(Reason.POSTGRES_UNREACHABLE, 6)) == 6
    assert desired(spec, seen(Reason.POSTGRES_UNREACHABLE, 0)) == 6


def test_the_fallback_keeps_to_the_bounds_and_to_hpas_behavior() -> None:
    fallback = Fallback(failure_threshold=0, replicas=500)
    spec = ScalingSpec(lag_threshold=10, fallback=fallback, max_replica_count=20)
    assert desired(spec, seen(Reason.NATS_UNREACHABLE)) == 20
    assert desired(spec, seen(Reason.NATS_UNREACHABLE, keys=7)) == 7
    assert desired(spec, seen(Reason.NATS_UNREACHABLE, 2)) == 6
    none = ScalingSpec(
        lag_threshold=10, fallback=Fallback(failure_threshold=0, replicas=0), min_replica_count=2
    )
    assert desired(none, seen(Reason.NATS_UNREACHABLE, 2)) == 2
    many = ScalingSpec(
        lag_threshold=10, fallback=Fallback(failure_threshold=0, replicas=0), min_replica_count=9
    )
    assert desired(many, seen(Reason.NATS_UNREACHABLE, 4, keys=4)) == 4
