"""Pausing by the four annotations, with KEDA's meaning: it wins over all but maxReplicaCount."""

from __future__ import annotations

import pytest

from support.scaling import EMPTY, NOW, desired, seen
from vaultstream.api import Fallback, ScalingSpec
from vaultstream.scaling.decide import decide
from vaultstream.scaling.observation import Pause, Progress
from vaultstream.scaling.reasons import LimitName, Reason

pytestmark = pytest.mark.unit

DONE = Progress(batches_left=0, planned=True)


@pytest.mark.parametrize(
    ("annotations", "pause"),
    [
        ({}, Pause()),
        ({"other/paused": "true", "vaultstream.dev/note": "x"}, Pause()),
        ({"vaultstream.dev/paused": "true"}, Pause(paused=True)),
        ({"vaultstream.dev/paused": "True "}, Pause(paused=True)),
        ({"vaultstream.dev/paused": "false"}, Pause()),
        ({"vaultstream.dev/paused-replicas": "0"}, Pause(replicas=0)),
        ({"vaultstream.dev/paused-replicas": " 12 "}, Pause(replicas=12)),
        ({"vaultstream.dev/paused-scale-in": "true"}, Pause(scale_in=True)),
        ({"vaultstream.dev/paused-scale-out": "1"}, Pause(scale_out=True)),
    ],
)
def test_the_annotations_are_read(annotations: dict[str, str], pause: Pause) -> None:
    assert Pause.read(annotations) == pause


@pytest.mark.parametrize("text", ["", "-1", "1001", "99999999999999999999", "1.5", "many", "٣", "0x1"])
def test_a_count_that_can_not_be_read_pauses_at_the_present_one(text: str) -> None:
    pause = Pause.read({"vaultstream.dev/paused-replicas": text})
    assert (pause.paused, pause.replicas) == (True, None)
    assert "paused-replicas must be a number from 0 to 1000" in pause.problems[0]
    assert desired(ScalingSpec(lag_threshold=10), seen(500, 3, pause=pause)) == 3


@pytest.mark.parametrize("name", ["paused", "paused-scale-in", "paused-scale-out"])
def test_a_flag_that_can_not_be_read_counts_as_set(name: str) -> None:
    pause = Pause.read({f"vaultstream.dev/{name}": "yes"})
    assert [pause.paused, pause.scale_in, pause.scale_out].count(True) == 1
    assert f'{name} must be "true" or "false", not "yes"' in pause.problems[0]


@pytest.mark.parametrize(
    "observation",
    [
        seen(0, 4, pause=Pause(paused=True)),
        seen(999, 4, pause=Pause(paused=True)),
        seen(999, 4, pause=Pause(paused=True), keys=1),
        seen(0, 4, pause=Pause(paused=True), progress=DONE),
        seen(Reason.NATS_UNREACHABLE, 4, pause=Pause(paused=True), failures=99),
        seen(0, 9, pause=Pause(paused=True, replicas=4)),
        seen(Reason.CONSUMER_MISSING, 0, pause=Pause(replicas=4, scale_out=True), failures=99, keys=0),
        seen(0, 9, pause=Pause(replicas=4, scale_in=True), progress=DONE),
    ],
)
def test_a_pause_wins_over_lag_keys_batches_holds_fallback_and_end(observation: object) -> None:
    spec = ScalingSpec(
        lag_threshold=10,
        cooldown_period=0,
        min_replica_count=2,
        fallback=Fallback(failure_threshold=1, replicas=7),
    )
    decision = decide(spec, observation, EMPTY, NOW)  # type: ignore[arg-type]
    assert decision.desired == 4
    assert decision.reason in {Reason.PAUSED, Reason.PAUSED_REPLICAS}


@pytest.mark.parametrize(
    "pause",
    [Pause(paused=True), Pause(replicas=50), Pause(scale_in=True), Pause(scale_in=True, scale_out=True)],
)
def test_the_maximum_wins_over_a_pause(pause: Pause) -> None:
    decision = decide(
        ScalingSpec(lag_threshold=10, max_replica_count=5), seen(10, 9, pause=pause), EMPTY, NOW
    )
    assert decision.desired == 5
    assert decision.limit is not None
    assert decision.limit.name is LimitName.MAX_REPLICA_COUNT


@pytest.mark.parametrize(
    ("pause", "lag", "count", "limit"),
    [
        (Pause(scale_in=True), 0, 4, LimitName.PAUSED_SCALE_IN),
        (Pause(scale_in=True), 60, 6, None),
        (Pause(scale_out=True), 60, 4, LimitName.PAUSED_SCALE_OUT),
        (Pause(scale_out=True), 0, 0, None),
        (Pause(scale_in=True, scale_out=True), 60, 4, LimitName.PAUSED_SCALE_OUT),
        (Pause(scale_in=True, scale_out=True), 0, 4, LimitName.PAUSED_SCALE_IN),
    ],
)
def test_each_direction_can_be_paused(pause: Pause, lag: int, count: int, limit: LimitName | None) -> None:
    decision = decide(ScalingSpec(lag_threshold=10, cooldown_period=0), seen(lag, 4, pause=pause), EMPTY, NOW)
    assert decision.desired == count
    assert (decision.limit.name if decision.limit else None) == limit


def test_a_direction_that_is_paused_holds_even_at_the_end_and_from_zero() -> None:
    assert desired(ScalingSpec(lag_threshold=10), seen(0, 4, pause=Pause(scale_in=True), progress=DONE)) == 4
    assert (
        desired(ScalingSpec(lag_threshold=10, min_replica_count=2), seen(40, 0, pause=Pause(scale_out=True)))
        == 0
    )
