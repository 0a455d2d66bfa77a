"""Signers that never get ready, or only for moments: the others are measured without them, and their start teaches nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from support.scaling import EMPTY, NOW, seen
from vaultstream.api import ScalingSpec
from vaultstream.scaling.decide import decide_next
from vaultstream.scaling.decision import Decision
from vaultstream.scaling.history import LONGEST_START_SECONDS, History
from vaultstream.scaling.observation import Observation, Progress, Replicas, Timing
from vaultstream.scaling.pace import SignerPace

pytestmark = pytest.mark.unit

LEFT = 40_000_000
START = 10.0


def one_broken(count: int, _: float) -> int:
    return count - 1


def flapping(count: int, now: float) -> int:
    return count if (now - NOW) % 30 < 15 else count - 1


def at(now: float, current: int, ready: int, settling: bool, finish_at: float | None) -> Observation:
    """A job whose ready signers each sign 1,000 records per second."""
    rate = 1000.0 * ready or None
    progress = Progress(
        records_left=LEFT,
        batches_left=LEFT // 500,
        planned=True,
        records_per_second=rate,
        rate_per_signer=1000.0 if ready else None,
        pace=SignerPace(1000.0, 0.03) if ready else None,
        settling=settling,
        steady_rate=None if settling else rate,
        records_expected=LEFT,
    )
    timing = Timing(created_at=NOW, finish_at=finish_at, startup_seconds=START, drain_seconds=2.0)
    return seen(LEFT // 500, current, ready=ready, progress=progress, timing=timing)


def after(
    seconds: float, spec: ScalingSpec, ready_of: Callable[[int, float], int], finish_at: float | None = None
) -> tuple[Decision, History]:
    """Decides every 5 s, and returns the last decision."""
    current, ready, since, history, now = 0, 0, NOW, EMPTY, NOW
    while True:
        found = ready_of(current, now) if current and now - NOW >= START else 0
        ready, since = (found, now) if found != ready else (ready, since)
        observation = at(now, current, ready, now - since < 20, finish_at)
        decision, history = decide_next(spec, observation, history, now)
        if now - NOW >= seconds:
            return decision, history
        current, now = decision.desired, now + 5.0


@pytest.mark.parametrize("ready_of", [one_broken, flapping])
@pytest.mark.parametrize("threshold", [None, 10])
def test_one_signer_that_is_never_ready_for_long_does_not_stop_scaling(
    ready_of: Callable[[int, float], int], threshold: int | None
) -> None:
    spec = ScalingSpec(max_replica_count=50, lag_threshold=threshold)
    assert after(120, spec, ready_of)[0].desired >= 40  # before: 4 for hours without a threshold
    in_time = after(120, spec, ready_of, NOW + 3600)[0]
    assert 12 <= in_time.desired <= 15  # before: 4, until 120 s before the finishing time
    assert not in_time.deadline_at_risk


def test_what_the_others_sign_is_learned() -> None:
    _, history = after(120, ScalingSpec(max_replica_count=4), one_broken)
    assert [(one.signers, one.rate) for one in history.seen] == [(3, 3000.0)]


def asked() -> History:
    return decide_next(ScalingSpec(), at(NOW, 0, 0, False, None), EMPTY, NOW)[1]


def test_a_start_that_something_else_delayed_counts_as_a_long_one() -> None:
    history = asked().after_start(Replicas(4, 4), NOW + 2400)
    assert history.starts == (
        LONGEST_START_SECONDS,
    )  # before: 2,400 s, for which no signer was worth a start
    decision, _ = decide_next(ScalingSpec(), at(NOW + 2430, 4, 4, False, None), history, NOW + 2430)
    assert decision.desired >= 40
    assert History.model_validate({"starts": [2400.0, 12.0]}).starts == (12.0,)


def test_a_start_is_not_timed_over_a_suspension_or_the_wait_for_a_node() -> None:
    suspended = asked().changed(4, 0, reason="Suspended", now=NOW + 3)
    resumed = at(NOW + 7200, 0, 0, False, None)
    _, history = decide_next(ScalingSpec(), resumed, suspended, NOW + 7200)
    assert history.after_start(Replicas(4, 4), NOW + 7210).starts == (10.0,)
    waiting = asked().after_start(Replicas(4, 0, unplaced=3), NOW + 60)
    assert waiting.after_start(Replicas(4, 4), NOW + 90).starts == ()


def test_a_signer_that_was_just_lost_is_starting_again() -> None:
    history = asked()
    lost = at(NOW + 600, 4, 3, True, None)
    assert history.awaits_signers(lost, NOW + 600)
    settled = replace(lost, progress=replace(lost.progress, settling=False))
    assert not history.awaits_signers(settled, NOW + 600)
