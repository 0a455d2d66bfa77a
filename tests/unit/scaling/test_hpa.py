"""HPA's algorithm and behavior, by the examples of its documentation, its design and its source.

Documentation: kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale, "Algorithm details" and
"Scaling policies". Design: KEP-853, "Configurable scale up/down velocity for HPA".
"""

from __future__ import annotations

from typing import Any, Literal

import pytest

from support.scaling import EMPTY, NOW, counts, desired, play, seen
from vaultstream.api import ScaleDownRules, ScaleUpRules, ScalingBehavior, ScalingPolicy, ScalingSpec
from vaultstream.scaling.decide import decide
from vaultstream.scaling.decision import Limit
from vaultstream.scaling.history import Entry, History
from vaultstream.scaling.reasons import LimitName, Reason

pytestmark = pytest.mark.unit

AT_ONCE = ScaleDownRules(stabilization_window_seconds=0)


def policy(kind: Literal["Pods", "Percent"], value: int, seconds: int) -> ScalingPolicy:
    return ScalingPolicy(type=kind, value=value, period_seconds=seconds)


def spec(
    up: ScaleUpRules | None = None, down: ScaleDownRules = AT_ONCE, most: int = 1000, **fields: Any
) -> ScalingSpec:
    behavior = ScalingBehavior(scale_up=up or ScaleUpRules(), scale_down=down)
    return ScalingSpec(behavior=behavior, max_replica_count=most, **{"lag_threshold": 10, **fields})


@pytest.mark.parametrize(
    ("lag", "current", "wanted"),
    [
        (40, 2, 4),  # the documentation's ratio of 2.0: twice as many
        (20, 4, 2),  # and of 0.5: half as many
        (41, 2, 5),  # rounded up
        (22, 2, 2),  # 1.1: within the tolerance of 0.1
        (23, 2, 3),
        (18, 2, 2),  # 0.9: within the tolerance too
        (1, 1, 1),
    ],
)
def test_the_count_is_the_lag_over_the_threshold_rounded_up(lag: int, current: int, wanted: int) -> None:
    assert desired(spec(lag_threshold=10), seen(lag, current)) == wanted


@pytest.mark.parametrize(
    ("up", "down", "lag", "wanted"),
    [
        (0.0, 0.1, 101, 11),
        (0.2, 0.1, 120, 10),
        (0.2, 0.1, 121, 13),
        (0.1, 0.3, 70, 10),
        (0.1, 0.3, 69, 7),
        (0.1, 1.0, 0, 10),  # a tolerance of 100 per cent never scales down on lag
    ],
)
def test_each_direction_has_a_tolerance_of_its_own(up: float, down: float, lag: int, wanted: int) -> None:
    rules = spec(
        ScaleUpRules(tolerance=up),
        ScaleDownRules(tolerance=down, stabilization_window_seconds=0),
        lag_threshold=10,
        min_replica_count=1,
    )
    assert desired(rules, seen(lag, 10)) == wanted


def test_within_tolerance_says_so_and_an_exact_count_does_not() -> None:
    assert decide(spec(), seen(21, 2), EMPTY, NOW).reason is Reason.WITHIN_TOLERANCE
    assert decide(spec(), seen(20, 2), EMPTY, NOW).reason is Reason.LAG


def test_80_replicas_scale_down_as_the_documentation_says() -> None:
    # "during the first step 8 replicas will be reduced. In the next iteration when the number of replicas is 72, 10%
    # of the pods is 7.2 but the number is rounded up to 8 [...] below 40 the first policy (Pods) is applied"
    rules = ScaleDownRules(
        stabilization_window_seconds=0, policies=(policy("Pods", 4, 60), policy("Percent", 10, 60))
    )
    played = play(spec(down=rules, lag_threshold=1), [seen(10, 80)] * 16, every=60)
    assert counts(played) == [72, 64, 57, 51, 45, 40, 36, 32, 28, 24, 20, 16, 12, 10, 10, 10]
    assert played[0].limit == Limit(LimitName.SCALE_DOWN_POLICY, 72)


def test_a_policys_period_counts_what_was_removed_within_it() -> None:
    rules = ScaleDownRules(stabilization_window_seconds=0, policies=(policy("Pods", 4, 60),))
    played = play(spec(down=rules, lag_threshold=1), [seen(10, 80)] * 9, every=15)
    assert counts(played) == [76, 76, 76, 76, 72, 72, 72, 72, 68]


def test_the_policy_with_the_least_change_counts_under_min() -> None:
    # "no more than 5 Pods are removed per minute": Percent 10 and Pods 5 with selectPolicy Min
    rules = ScaleDownRules(
        stabilization_window_seconds=0,
        select_policy="Min",
        policies=(policy("Percent", 10, 60), policy("Pods", 5, 60)),
    )
    assert counts(play(spec(down=rules, lag_threshold=1), [seen(1, 80)] * 4, every=60)) == [75, 70, 65, 60]
    assert desired(spec(down=rules, lag_threshold=1), seen(1, 20)) == 18


def test_scaling_up_under_min_follows_the_slower_policy() -> None:
    rules = ScaleUpRules(select_policy="Min", policies=(policy("Pods", 4, 15), policy("Percent", 100, 15)))
    assert counts(play(spec(rules, lag_threshold=1), [seen(1000, 1)] * 5)) == [2, 4, 8, 12, 16]


def test_the_default_policies_add_the_greater_of_four_and_as_many_again() -> None:
    assert counts(play(spec(lag_threshold=1), [seen(100, 1)] * 6)) == [5, 10, 20, 40, 80, 100]


def test_kep_853_scales_up_tenfold_a_minute() -> None:
    # "1 -> 10 -> 100 -> 1000": Percent 900 per 60 seconds
    rules = ScaleUpRules(policies=(policy("Percent", 900, 60),))
    assert counts(play(spec(rules, lag_threshold=1), [seen(5000, 1)] * 4, every=60)) == [10, 100, 1000, 1000]


def test_kep_853_scales_up_by_one_pod_a_period() -> None:
    rules = ScaleUpRules(policies=(policy("Pods", 1, 600),))
    assert counts(play(spec(rules, lag_threshold=1), [seen(99, 1)] * 3, every=600)) == [2, 3, 4]


def test_a_small_percentage_still_adds_a_signer() -> None:
    rules = ScaleUpRules(policies=(policy("Percent", 10, 60),))
    assert desired(spec(rules, lag_threshold=1), seen(99, 3)) == 4


def test_what_was_removed_within_a_period_may_be_added_again() -> None:
    # as in calculateScaleUpLimitWithScalingRules: the start of the period is before both kinds of steps
    history = History(added=(Entry(at=NOW - 5, replicas=4),), removed=(Entry(at=NOW - 3, replicas=6),))
    rules = ScaleUpRules(policies=(policy("Pods", 4, 15),))
    assert desired(spec(rules, lag_threshold=1), seen(99, 10), history) == 10 - 4 + 6 + 4


def test_more_added_than_a_tighter_policy_allows_is_not_taken_back() -> None:
    history = History(added=(Entry(at=NOW - 5, replicas=30),))
    rules = ScaleUpRules(policies=(policy("Pods", 4, 15),))
    decision = decide(spec(rules, lag_threshold=1), seen(99, 40), history, NOW)
    assert decision.desired == 40
    assert decision.limit == Limit(LimitName.SCALE_UP_POLICY, 40)


def test_more_removed_than_a_tighter_policy_allows_is_not_put_back() -> None:
    history = History(removed=(Entry(at=NOW - 5, replicas=30),))
    rules = ScaleDownRules(stabilization_window_seconds=0, policies=(policy("Pods", 4, 15),))
    assert desired(spec(down=rules, lag_threshold=1), seen(10, 40), history) == 40


@pytest.mark.parametrize("lag", [1, 100])
def test_a_disabled_direction_keeps_the_count(lag: int) -> None:
    rules = spec(
        ScaleUpRules(select_policy="Disabled"),
        ScaleDownRules(select_policy="Disabled", stabilization_window_seconds=0),
        lag_threshold=1,
    )
    decision = decide(rules, seen(lag, 50), EMPTY, NOW)
    assert decision.desired == 50
    assert decision.limit is not None
    assert decision.limit.name in {LimitName.SCALE_UP_DISABLED, LimitName.SCALE_DOWN_DISABLED}


def test_kep_853_picks_the_largest_recommendation_of_the_window() -> None:
    # "[10, 9, 8, 9, 9, 8, 9, 8, 9, 8]: picks the largest value 10 [...] 7 is added and the first one removed:
    # picks the largest value 9 and changes the number of replicas 10 -> 9"
    rules = spec(
        ScaleUpRules(tolerance=0.0),
        ScaleDownRules(stabilization_window_seconds=600, tolerance=0.0),
        lag_threshold=1,
    )
    wanted = [10, 9, 8, 9, 9, 8, 9, 8, 9, 8, 7]
    assert counts(play(rules, [seen(lag, 10) for lag in wanted], every=60)) == [10] * 10 + [9]


def test_scale_up_follows_the_lowest_of_its_window() -> None:
    up = ScaleUpRules(stabilization_window_seconds=60, tolerance=0.0, policies=(policy("Pods", 1000, 1),))
    played = play(spec(up, lag_threshold=1), [seen(lag, 2) for lag in (2, 9, 5, 9, 9, 9, 9, 9)], every=15)
    assert counts(played) == [2, 2, 2, 2, 5, 5, 9, 9]
    assert played[1].limit == Limit(LimitName.SCALE_UP_STABILIZATION, 2)


def test_a_dip_costs_no_signers_for_300_seconds() -> None:
    played = play(ScalingSpec(lag_threshold=1), [seen(10, 10), *[seen(2, 10)] * 25], every=15)
    assert counts(played) == [10] * 20 + [2] * 6
    assert played[1].limit == Limit(LimitName.SCALE_DOWN_STABILIZATION, 10)


def test_the_step_from_rest_is_a_recommendation_as_well() -> None:
    assert counts(play(ScalingSpec(lag_threshold=1), [seen(10), seen(2), seen(2)], every=5)) == [10, 10, 10]


def test_between_the_two_windows_the_count_stays() -> None:
    history = History(highs=(Entry(at=NOW - 5, replicas=12),), lows=(Entry(at=NOW - 5, replicas=3),))
    rules = spec(
        ScaleUpRules(stabilization_window_seconds=60), ScaleDownRules(stabilization_window_seconds=60)
    )
    assert desired(rules, seen(80, 6), history) == 6
    assert desired(rules, seen(40, 6), history) == 6
