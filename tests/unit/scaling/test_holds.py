"""States in which too little is known to change the count. Each holds it, for its own reason; none reads as no lag."""

from __future__ import annotations

import pytest

from support.scaling import EMPTY, NOW, counts, desired, play, seen
from vaultstream.api import ScalingSpec
from vaultstream.scaling.decide import decide
from vaultstream.scaling.history import History
from vaultstream.scaling.observation import Progress, Timing
from vaultstream.scaling.reasons import LAG_PROBLEMS, LimitName, Reason

pytestmark = pytest.mark.unit

STALLED = Progress(records_per_second=0.0)


@pytest.mark.parametrize("current", [0, 1, 37, 100])
@pytest.mark.parametrize("state", LAG_PROBLEMS)
def test_a_lag_that_can_not_be_read_holds_the_count(state: Reason, current: int) -> None:
    spec = ScalingSpec(lag_threshold=10, min_replica_count=3, cooldown_period=0)
    decision = decide(spec, seen(state, current, keys=2, failures=1000), EMPTY, NOW)
    assert (decision.desired, decision.hold, decision.reason.value) == (current, True, state.value)
    assert decision.recommendation is None


def test_only_the_maximum_bounds_a_hold() -> None:
    spec = ScalingSpec(lag_threshold=10, max_replica_count=5)
    decision = decide(spec, seen(Reason.NATS_UNREACHABLE, 9), EMPTY, NOW)
    assert decision.desired == 5
    assert decision.limit is not None
    assert decision.limit.name is LimitName.MAX_REPLICA_COUNT


def test_an_unreadable_lag_does_not_begin_a_cooldown() -> None:
    spec = ScalingSpec(cooldown_period=60, lag_threshold=10)
    lost = [seen(Reason.NATS_UNREACHABLE, 4)] * 40
    assert counts(play(spec, [seen(40, 4), *lost, seen(40, 4)])) == [4] * 42


def test_a_done_job_is_done_whether_nats_answers_or_not() -> None:
    done = Progress(batches_left=0, planned=True)
    assert desired(ScalingSpec(lag_threshold=10), seen(Reason.NATS_UNREACHABLE, 4, progress=done)) == 0


@pytest.mark.parametrize("lag", [1, 400])
def test_a_rate_of_zero_with_a_backlog_holds_the_count(lag: int) -> None:
    decision = decide(ScalingSpec(lag_threshold=10), seen(lag, 4, progress=STALLED), EMPTY, NOW)
    assert (decision.desired, decision.hold, decision.reason) == (4, True, Reason.NOTHING_SIGNED)


def test_a_rate_of_zero_is_none_without_a_backlog_or_a_ready_signer_or_a_measurement() -> None:
    assert desired(ScalingSpec(lag_threshold=10, cooldown_period=0), seen(0, 4, progress=STALLED)) == 0
    assert desired(ScalingSpec(lag_threshold=10), seen(400, 4, ready=0, progress=STALLED)) == 8
    assert desired(ScalingSpec(lag_threshold=10), seen(400, 4)) == 8


def test_a_rate_of_zero_holds_no_count_out_of_bounds() -> None:
    assert desired(ScalingSpec(lag_threshold=10, min_replica_count=6), seen(10, 4, progress=STALLED)) == 6
    assert desired(ScalingSpec(lag_threshold=10), seen(400, 4, progress=STALLED, keys=2)) == 2


def test_a_rate_of_zero_makes_no_deadline_ask_for_signers() -> None:
    progress = Progress(records_left=10**6, records_per_second=0.0, rate_per_signer=100.0)
    spec = ScalingSpec(lag_threshold=10, min_replica_count=1)
    timing = Timing(created_at=NOW - 60, finish_at=NOW + 100)
    assert desired(spec, seen(0, 4, progress=progress, timing=timing), History()) == 1
