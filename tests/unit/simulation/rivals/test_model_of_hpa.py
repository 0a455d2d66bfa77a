"""The model of the HPA: Kubernetes' documented examples, and a port of its algorithm in random behaviors."""

from __future__ import annotations

from random import Random

import pytest

from support.hpa import HpaPort, random_behavior
from vaultstream.api import ScaleDownRules, ScaleUpRules, ScalingBehavior, ScalingPolicy
from vaultstream.simulation.rivals.hpa import HorizontalAutoscaler

pytestmark = pytest.mark.unit

BEHAVIORS = 1_000
STEPS = 20


def differs(seed: int) -> bool:
    """Whether the model and the port differ in one random behavior over one random course."""
    random = Random(seed)
    behavior = random_behavior(random)
    model, port = HorizontalAutoscaler(behavior, most=200), HpaPort(behavior, 200, whole=False)
    ours = theirs = random.randint(1, 60)
    now = 1000.0
    for _ in range(STEPS):
        wanted = random.randint(1, 100)
        ours, theirs = model.follow(ours, wanted, now), port.desired(theirs, wanted, now)
        if ours != theirs:
            return True
        now += random.choice([5, 15, 15, 40])
    return False


def test_a_thousand_random_behaviors_follow_the_port() -> None:
    assert [seed for seed in range(BEHAVIORS) if differs(seed)] == []


@pytest.mark.parametrize(
    ("metric", "current", "count"),
    [
        (400, 2, 4),
        (200, 4, 2),
        (220, 2, 2),
        (221, 2, 3),
        (180, 2, 2),
        (90, 1, 1),
        (500, 0, 0),
        (99_999, 3, 7),
    ],
)
def test_the_count_is_the_metric_over_the_target_unless_within_tolerance(
    metric: int, current: int, count: int
) -> None:
    # the documentation's ratios of 2.0 and 0.5, and its tolerance of 0.1; up by 4 at once at most
    down = ScaleDownRules(stabilization_window_seconds=0)
    model = HorizontalAutoscaler(ScalingBehavior(scale_down=down))
    assert model.sync(current, metric, 100, 0.0) == count


def course(model: HorizontalAutoscaler, current: int, wanted: int, every: float, steps: int) -> list[int]:
    counts = []
    for step in range(steps):
        current = model.follow(current, wanted, step * every)
        counts.append(current)
    return counts


def test_80_replicas_scale_down_as_documented() -> None:
    # 10 % of the pods at a time, rounded up, and 4 pods once that is more
    policies = (
        ScalingPolicy(type="Pods", value=4, period_seconds=60),
        ScalingPolicy(type="Percent", value=10, period_seconds=60),
    )
    down = ScaleDownRules(policies=policies, stabilization_window_seconds=0)
    counts = course(HorizontalAutoscaler(ScalingBehavior(scale_down=down)), 80, 10, 61.0, 14)
    assert counts == [72, 64, 57, 51, 45, 40, 36, 32, 28, 24, 20, 16, 12, 10]


def test_by_default_it_adds_4_pods_or_doubles_each_15_s() -> None:
    assert course(HorizontalAutoscaler(most=200), 1, 100, 15.0, 6) == [5, 10, 20, 40, 80, 100]


def test_by_default_it_removes_none_for_5_minutes() -> None:
    model = HorizontalAutoscaler()
    model.follow(50, 50, 0.0)
    assert course(model, 50, 1, 15.0, 20) == [50] * 20
    assert model.follow(50, 1, 301.0) == 1


@pytest.mark.parametrize(
    ("policy", "counts"),
    [
        (
            ScalingPolicy(type="Percent", value=900, period_seconds=60),
            [10, 100, 1000],
        ),  # "as fast as possible"
        (ScalingPolicy(type="Pods", value=1, period_seconds=60), [2, 3, 4]),  # "slowly, one by one"
    ],
)
def test_the_designs_of_its_proposal(policy: ScalingPolicy, counts: list[int]) -> None:
    up = ScaleUpRules(policies=(policy,))
    assert course(HorizontalAutoscaler(ScalingBehavior(scale_up=up), most=1000), 1, 1000, 61.0, 3) == counts


def test_a_disabled_direction_never_changes_and_bounds_hold() -> None:
    none = HorizontalAutoscaler(ScalingBehavior(scale_down=ScaleDownRules(select_policy="Disabled")))
    assert course(none, 9, 1, 400.0, 3) == [9, 9, 9]
    assert HorizontalAutoscaler(least=3, most=8).sync(1, 0, 10, 0.0) == 3
    assert HorizontalAutoscaler(least=3, most=8).sync(12, 1000, 10, 0.0) == 8
