"""What is remembered: enough for every window and policy, little enough for a status, and kept over a restart."""

from __future__ import annotations

from dataclasses import replace

import pytest

from support.scaling import EMPTY, NOW, play, seen
from vaultstream.api import ScaleDownRules, ScaleUpRules, ScalingBehavior, ScalingPolicy, ScalingSpec
from vaultstream.scaling.decide import decide
from vaultstream.scaling.history import MOST, MOST_CHANGES, Change, Entry, History
from vaultstream.scaling.observation import Pause
from vaultstream.scaling.reasons import Reason
from vaultstream.scaling.throughput import Seen

pytestmark = pytest.mark.unit

SPEC = ScalingSpec(lag_threshold=1, behavior=ScalingBehavior(scale_down=ScaleDownRules(tolerance=0.0)))
FULL = History(
    highs=(Entry(at=NOW - 3, replicas=9), Entry(at=NOW, replicas=4)),
    lows=(Entry(at=NOW, replicas=4),),
    added=(Entry(at=NOW - 9.25, replicas=4),),
    removed=(Entry(at=NOW - 7, replicas=2),),
    seen=(Seen(signers=4, rate=812.5, samples=3, at=NOW),),
    changes=(
        Change(at=NOW - 9.25, before=0, after=4, reason="Lag", limit="MaxReplicaCount"),
        Change(at=NOW - 7, before=4, after=2, reason="Lag", limit=""),
    ),
    last_active_at=NOW - 1,
)


def observed(history: History, lag: int | Reason, current: int, now: float) -> History:
    observation = seen(lag, current)
    return history.observed(SPEC, observation, decide(SPEC, observation, history, now), now)


def as_written(history: History) -> str:
    return history.model_dump_json(by_alias=True, exclude_none=True)


def restored(history: History) -> History:
    return History.model_validate_json(as_written(history))


def test_it_survives_a_restart_in_a_status() -> None:
    assert restored(FULL) == FULL
    assert restored(EMPTY) == EMPTY


@pytest.mark.parametrize(
    "data",
    [
        None,
        7,
        "history",
        [],
        {},
        {"highs": 3, "lows": {}, "seen": "x", "changes": None, "lastActiveAt": "yesterday"},
        {"highs": [None, 3, {}, {"at": 1}, {"at": "1", "replicas": 1}, {"at": 1, "replicas": -1}]},
        {
            "added": [
                {"at": float("nan"), "replicas": 1},
                {"at": 10**400, "replicas": 1},
                {"at": 1, "replicas": 1.5},
            ]
        },
        {"seen": [{"signers": 0, "rate": 1.0, "samples": 3, "at": 1.0}], "lastActiveAt": float("inf")},
        {"changes": [{"at": 1.0, "before": 1, "after": 2}]},
    ],
)
def test_an_unreadable_entry_is_left_out(data: object) -> None:
    assert History.model_validate(data) == EMPTY


def test_the_rest_of_a_damaged_status_is_kept() -> None:
    data = FULL.model_dump(mode="json", by_alias=True)
    data["highs"][0] = {"at": "?"}
    del data["changes"]
    assert History.model_validate(data) == FULL.model_copy(update={"highs": FULL.highs[1:], "changes": ()})


def test_of_a_status_with_too_many_entries_the_latest_are_kept() -> None:
    entries = [{"at": float(at), "replicas": at} for at in range(MOST + 3)]
    history = History.model_validate({"highs": entries})
    assert [entry.replicas for entry in history.highs] == list(range(3, MOST + 3))


def test_only_recommendations_that_a_window_could_turn_on_are_kept() -> None:
    history = EMPTY
    for step, lag in enumerate([5, 9, 7, 8, 3, 6]):
        history = observed(history, lag, 50, NOW + step)
    assert [entry.replicas for entry in history.highs] == [9, 8, 6]
    assert history.highest(300, NOW + 6, 1) == 9
    assert history.highest(4.5, NOW + 6, 1) == 8
    assert history.highest(1, NOW + 6, 1) == 1
    # without a window for scale-up nothing older is of use
    assert [entry.replicas for entry in history.lows] == [6]


def test_a_fast_poll_for_hours_grows_no_history() -> None:
    policies = (ScalingPolicy(type="Pods", value=1, period_seconds=1800),)
    slow = ScalingBehavior(
        scale_up=ScaleUpRules(stabilization_window_seconds=3600, policies=policies, tolerance=0.0),
        scale_down=ScaleDownRules(stabilization_window_seconds=3600, policies=policies, tolerance=0.0),
    )
    spec = ScalingSpec(lag_threshold=1, behavior=slow, max_replica_count=1000)
    falling = EMPTY
    for step in range(500):
        observation = seen(1000 - step, 1000)
        falling = falling.observed(
            spec, observation, decide(spec, observation, falling, NOW + step), NOW + step
        )
    assert len(falling.highs) == MOST
    assert falling.highs[-1] == Entry(at=NOW + 499, replicas=501)
    assert falling.highest(3600, NOW + 499, 0) == 1000
    up = EMPTY
    for step in range(500):
        decision = replace(decide(spec, seen(9, 3), EMPTY, NOW), current=step, desired=step + 1, paced=True)
        up = up.scaled(spec, decision, NOW + step)
    assert len(up.added) == MOST
    assert up.net_change(1800, NOW + 499) == 500
    assert len(up.changes) == MOST_CHANGES
    assert len(as_written(up)) < 8_000


def test_the_latest_recommendation_is_never_joined_with_an_earlier_one() -> None:
    history = History(highs=tuple(Entry(at=NOW + 9 * step, replicas=900 - step) for step in range(MOST)))
    assert observed(history, 5, 900, NOW + 9 * MOST - 8).highs[-1] == Entry(at=NOW + 9 * MOST - 8, replicas=5)


def test_joined_steps_count_longer_never_shorter() -> None:
    history, spec = EMPTY, SPEC
    for step in range(MOST + 8):
        decision = replace(decide(spec, seen(9, 3), EMPTY, NOW), current=step, desired=step + 1)
        history = history.scaled(spec, decision, NOW + step * 0.3)
    now = NOW + (MOST + 7) * 0.3
    for period in range(1, 15):
        exact = sum(1 for step in range(MOST + 8) if NOW + step * 0.3 > now - period)
        assert history.net_change(period, now) >= exact


def test_only_work_makes_a_job_active() -> None:
    assert observed(EMPTY, 3, 1, NOW).last_active_at == NOW
    assert observed(EMPTY, 0, 1, NOW).last_active_at is None
    assert observed(EMPTY, Reason.NATS_UNREACHABLE, 1, NOW).last_active_at is None


def test_holds_and_pauses_leave_no_recommendation() -> None:
    assert observed(EMPTY, Reason.NATS_UNREACHABLE, 5, NOW).highs == ()
    paused = seen(3, 5, pause=Pause(paused=True))
    assert EMPTY.observed(SPEC, paused, decide(SPEC, paused, EMPTY, NOW), NOW).highs == ()


def test_a_change_is_remembered_with_its_reason_and_limit() -> None:
    spec = ScalingSpec(lag_threshold=1, max_replica_count=3)
    decision = decide(spec, seen(10), EMPTY, NOW)
    assert EMPTY.scaled(spec, decision, NOW).changes == (
        Change(at=NOW, before=0, after=3, reason="Lag", limit="MaxReplicaCount"),
    )
    assert EMPTY.scaled(spec, decide(spec, seen(3, 3), EMPTY, NOW), NOW) is EMPTY


@pytest.mark.parametrize("order", [1, -1])
def test_a_change_counts_for_as_long_as_the_longest_policy_looks_back(order: int) -> None:
    policies = [
        ScalingPolicy(type="Pods", value=1, period_seconds=15),
        ScalingPolicy(type="Pods", value=4, period_seconds=600),
    ]
    rules = ScaleDownRules(tolerance=0.0, stabilization_window_seconds=0, policies=policies[::order])
    spec = ScalingSpec(lag_threshold=1, behavior=ScalingBehavior(scale_down=rules))
    history, count = EMPTY, 10
    for minutes in range(4):
        now = NOW + 60.0 * minutes
        decision = decide(spec, seen(1, count), history, now)
        history, count = history.scaled(spec, decision, now), decision.desired
    assert [entry.replicas for entry in history.removed] == [4, 1, 1, 1]
    assert count == 3


def test_a_clock_that_was_set_back_does_not_hold_for_hours() -> None:
    ahead = History(
        highs=(Entry(at=NOW + 9000, replicas=50),),
        seen=(Seen(signers=4, rate=1.0, samples=3, at=NOW + 9000),),
        last_active_at=NOW + 9000,
    )
    history = observed(ahead, 5, 50, NOW)
    assert history.highs[0] == Entry(at=NOW, replicas=50)
    assert history.seen[0].at == NOW
    assert history.last_active_at == NOW


def test_a_restart_in_mid_job_decides_as_if_there_had_been_none() -> None:
    lags = [10, 40, 40, 3, 3, 60, 2, 2, 2, 2, 90, 0, 0, 0]
    whole = play(SPEC, [seen(lag, 4) for lag in lags], every=20)
    history, current, restarted = EMPTY, 4, []
    for step, lag in enumerate(lags):
        history = restored(history)
        observation, now = seen(lag, current), NOW + 20 * step
        decision = decide(SPEC, observation, history, now)
        history = history.observed(SPEC, observation, decision, now).scaled(SPEC, decision, now)
        current = decision.desired
        restarted.append(decision)
    assert restarted == whole
