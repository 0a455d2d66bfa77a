"""HPA v2's `behavior`: how fast the number of signers may change.

As in Kubernetes' `pkg/controller/podautoscaler/horizontal.go`: first the stabilization windows
(`stabilizeRecommendationWithBehaviors`), then the policies (`convertDesiredReplicasWithBehaviorRate`). Whole numbers
throughout: HPA computes percentages in floats, so 90 % of 100 pods removes 91.
"""

from __future__ import annotations

from vaultstream.api import ScaleDownRules, ScaleUpRules, ScalingBehavior, ScalingPolicy
from vaultstream.scaling.decision import Limit
from vaultstream.scaling.history import History
from vaultstream.scaling.reasons import LimitName


def within_tolerance(behavior: ScalingBehavior, lag: int, lag_threshold: int, current: int) -> bool:
    """Returns True if the lag per signer is within the tolerance of the threshold, so that the count is kept.

    Args:
        behavior: its `tolerance`, one for each direction.
        lag: batches.
        lag_threshold: batches per signer.
        current: signers, at least 1.
    """
    ratio = lag / (lag_threshold * current)
    return 1 - behavior.scale_down.tolerance <= ratio <= 1 + behavior.scale_up.tolerance


def tolerable(behavior: ScalingBehavior, wanted: int, current: int) -> bool:
    """Returns True if the wanted count is within the tolerance of the current one, so that it is kept."""
    if current == 0:
        return False
    ratio = wanted / current
    return 1 - behavior.scale_down.tolerance <= ratio <= 1 + behavior.scale_up.tolerance


def stabilized(
    behavior: ScalingBehavior, history: History, current: int, wanted: int, now: float
) -> tuple[int, Limit | None]:
    """Returns the count that the stabilization windows let through, and the window that changed it.

    Scale-up follows the lowest count wanted within its window, scale-down the highest within its own; between the
    two, the count stays.
    """
    lowest = history.lowest(behavior.scale_up.stabilization_window_seconds, now, wanted)
    highest = history.highest(behavior.scale_down.stabilization_window_seconds, now, wanted)
    count = min(max(current, lowest), highest)
    if count == wanted:
        return count, None
    if wanted > current:
        return count, Limit(LimitName.SCALE_UP_STABILIZATION, count)
    return count, Limit(LimitName.SCALE_DOWN_STABILIZATION, count)


def paced(
    behavior: ScalingBehavior, history: History, current: int, wanted: int, now: float
) -> tuple[int, Limit | None]:
    """Returns the count that the policies let through, and the policy or switch that changed it."""
    if wanted > current:
        if behavior.scale_up.select_policy == "Disabled":
            return current, Limit(LimitName.SCALE_UP_DISABLED, current)
        most = max(current, _most_after_adding(behavior.scale_up, history, current, now))
        return (wanted, None) if wanted <= most else (most, Limit(LimitName.SCALE_UP_POLICY, most))
    if wanted < current:
        if behavior.scale_down.select_policy == "Disabled":
            return current, Limit(LimitName.SCALE_DOWN_DISABLED, current)
        least = min(current, _least_after_removing(behavior.scale_down, history, current, now))
        return (wanted, None) if wanted >= least else (least, Limit(LimitName.SCALE_DOWN_POLICY, least))
    return wanted, None


def capped(behavior: ScalingBehavior, current: int, cap: Limit) -> tuple[int, Limit]:
    """Returns the count for signers beyond a cap, and the limit that made it. The others are removed at once, unless none may be."""
    if cap.value < current and behavior.scale_down.select_policy == "Disabled":
        return current, Limit(LimitName.SCALE_DOWN_DISABLED, current)
    return cap.value, cap


def _most_after_adding(rules: ScaleUpRules, history: History, current: int, now: float) -> int:
    def most(policy: ScalingPolicy) -> int:
        start = current - history.net_change(policy.period_seconds, now)
        if policy.type == "Pods":
            return start + policy.value
        return -(-start * (100 + policy.value) // 100)  # rounded up, or 10 % of 3 would never add one

    choose = min if rules.select_policy == "Min" else max
    return choose(most(policy) for policy in rules.policies)


def _least_after_removing(rules: ScaleDownRules, history: History, current: int, now: float) -> int:
    def least(policy: ScalingPolicy) -> int:
        start = current - history.net_change(policy.period_seconds, now)
        if policy.type == "Pods":
            return start - policy.value
        return (
            start * (100 - policy.value) // 100
        )  # rounded down: what is removed is rounded up, as HPA documents

    choose = max if rules.select_policy == "Min" else min
    return choose(least(policy) for policy in rules.policies)
