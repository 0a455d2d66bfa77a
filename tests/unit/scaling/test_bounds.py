"""The bounds of the count, whatever the lag asks for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from support.scaling import EMPTY, NOW, desired, seen
from vaultstream.api import ScaleDownRules, ScalingBehavior, ScalingSpec
from vaultstream.scaling.decide import decide
from vaultstream.scaling.decision import Limit
from vaultstream.scaling.history import Entry, History
from vaultstream.scaling.observation import Lag, Observation, Progress, Replicas, Timing
from vaultstream.scaling.reasons import LimitName, Reason

pytestmark = pytest.mark.unit

SPEC = ScalingSpec(lag_threshold=1)


def left(batches: int | None, *, planned: bool = True) -> Progress:
    return Progress(batches_left=batches, planned=planned)


@pytest.mark.parametrize(
    ("spec", "observation", "count", "limit"),
    [
        (ScalingSpec(lag_threshold=1, max_replica_count=7), seen(50), 7, LimitName.MAX_REPLICA_COUNT),
        (SPEC, seen(50, keys=6), 6, LimitName.ACTIVE_KEYS),
        (SPEC, seen(50, progress=left(5)), 5, LimitName.BATCHES_LEFT),
        (SPEC, seen(50, keys=6, progress=left(5)), 5, LimitName.BATCHES_LEFT),
        (SPEC, seen(50, progress=left(5, planned=False)), 50, None),
        (SPEC, seen(50, progress=left(None)), 50, None),
        (ScalingSpec(lag_threshold=10, min_replica_count=4), seen(5), 4, LimitName.MIN_REPLICA_COUNT),
        (ScalingSpec(lag_threshold=10, min_replica_count=4), seen(5, keys=3), 3, LimitName.MIN_REPLICA_COUNT),
        (ScalingSpec(lag_threshold=10, min_replica_count=4), seen(5, keys=0), 0, LimitName.ACTIVE_KEYS),
    ],
)
def test_the_lowest_ceiling_wins_and_any_ceiling_over_the_floor(
    spec: ScalingSpec, observation: Observation, count: int, limit: LimitName | None
) -> None:
    decision = decide(spec, observation, EMPTY, NOW)
    assert decision.desired == count
    assert decision.limit == (Limit(limit, count) if limit else None)


@pytest.mark.parametrize(
    ("replicas", "left", "count"),
    [
        (Replicas(0), 400, 50),
        (Replicas(0), 31, 7),
        (Replicas(0), 3, 0),
        (Replicas(8, ready=8), 11, 10),
        (Replicas(8, ready=4), 11, 8),  # four may not have connected yet, and nobody is removed
        (Replicas(8, ready=4), 25, 10),
        (Replicas(8, ready=8), 0, 8),
    ],
)
def test_no_more_signers_are_asked_for_than_postgres_has_connections_for(
    replicas: Replicas, left: int, count: int
) -> None:
    observation = replace(seen(50), replicas=replicas, connections_left=left)
    decision = decide(ScalingSpec(lag_threshold=1), observation, EMPTY, NOW)
    assert decision.desired == count
    if count < 50:
        assert decision.limit == Limit(LimitName.DATABASE_CONNECTIONS, count)
        assert f"limited by the free connections of Postgres to {count}" in decision.explain()
        assert decision.inputs["connectionsLeft"] == left


def test_a_deadline_that_the_connections_of_postgres_do_not_allow_is_at_risk_in_the_second_poll() -> None:
    progress = Progress(
        records_left=100_000,
        batches_left=1_000,
        planned=True,
        records_per_second=400.0,
        rate_per_signer=100.0,
    )
    timing = Timing(created_at=NOW - 60, finish_at=NOW + 60, startup_seconds=5.0)
    observation = Observation(Lag(1_000), Replicas(4, ready=4), timing, progress)
    again = History(short_since=NOW - 5)
    assert not decide(ScalingSpec(), observation, again, NOW).deadline_at_risk
    bounded = replace(observation, connections_left=10)
    assert decide(ScalingSpec(), bounded, EMPTY, NOW).short_since == NOW
    assert decide(ScalingSpec(), bounded, again, NOW).deadline_at_risk


@pytest.mark.parametrize("platform_max", [0, 1, 2, 100])
def test_without_a_maximum_the_platforms_counts_and_is_never_zero(platform_max: int) -> None:
    observation = replace(seen(500), replicas=Replicas(0, platform_max=platform_max))
    assert desired(SPEC, observation) == max(1, platform_max)
    assert desired(ScalingSpec(lag_threshold=10, min_replica_count=500), observation) == max(1, platform_max)


def test_the_lag_counts_batches_wherever_they_are() -> None:
    observation = replace(seen(0), lag=Lag(10, 20, 30))
    assert observation.lag == Lag(10, 20, 30)
    assert desired(ScalingSpec(lag_threshold=10), observation) == 6


def test_too_many_signers_are_removed_at_once_despite_windows_and_policies() -> None:
    history = History(highs=(Entry(at=NOW - 1, replicas=50),))
    careful = ScalingBehavior(scale_down=ScaleDownRules(select_policy="Disabled"))
    spec = ScalingSpec(lag_threshold=1, behavior=careful)
    assert desired(spec, seen(50, 50, keys=20), history) == 20
    assert desired(spec, seen(50, 50, progress=left(9)), history) == 9


def test_too_few_signers_are_added_at_once() -> None:
    assert desired(ScalingSpec(lag_threshold=10, min_replica_count=40), seen(10, 2)) == 40


def test_a_job_that_is_done_keeps_no_signer_however_long_the_cooldown_and_high_the_minimum() -> None:
    spec = ScalingSpec(lag_threshold=10, min_replica_count=5, cooldown_period=3600)
    decision = decide(spec, seen(0, 9, progress=left(0)), History(last_active_at=NOW), NOW)
    assert (decision.desired, decision.reason, decision.limit) == (0, Reason.JOB_DONE, None)


def test_a_job_that_may_still_grow_is_not_done() -> None:
    decision = decide(SPEC, seen(0, 9, progress=left(0, planned=False)), History(last_active_at=NOW), NOW)
    assert decision.reason is Reason.COOLING_DOWN


def test_nothing_is_added_while_it_cools_down_and_the_cooldown_is_what_is_named() -> None:
    late = Timing(created_at=NOW - 60, finish_at=NOW - 900)  # as many as may run, says the deadline
    observation = seen(0, 1, timing=late, progress=Progress(records_left=1, rate_per_signer=1.0))
    decision = decide(SPEC, observation, History(last_active_at=NOW), NOW)
    assert (decision.desired, decision.reason) == (1, Reason.COOLING_DOWN)
    assert decision.limit == Limit(LimitName.COOLDOWN_PERIOD, 1)


@pytest.mark.parametrize(
    ("eta", "startup", "count"), [(5.0, 10.0, 4), (10.0, 10.0, 4), (11.0, 10.0, 8), (11.0, 0.0, 8)]
)
def test_no_signer_is_added_that_would_come_too_late(eta: float, startup: float, count: int) -> None:
    progress = Progress(records_left=int(eta * 1000), records_per_second=1000.0)
    timing = Timing(created_at=NOW - 60, startup_seconds=startup)
    decision = decide(SPEC, seen(30, 4, progress=progress, timing=timing), EMPTY, NOW)
    assert decision.desired == count
    assert (decision.reason is Reason.JOB_ENDS_FIRST) == (count == 4)


def test_the_first_signer_is_never_too_late() -> None:
    progress = Progress(records_left=10, records_per_second=1000.0)
    assert desired(SPEC, seen(3, progress=progress, timing=Timing(NOW, startup_seconds=60.0))) == 3


def test_an_end_that_is_near_takes_no_signer_away() -> None:
    progress = Progress(records_left=10, records_per_second=1000.0)
    timing = Timing(NOW - 60, startup_seconds=60.0)
    assert desired(SPEC, seen(3, 4, progress=progress, timing=timing), History()) == 3


@pytest.mark.parametrize(
    "broken",
    [
        lambda: Lag(-1),
        lambda: Lag(2**63),
        lambda: Replicas(-1),
        lambda: Progress(records_left=-1),
        lambda: Progress(records_per_second=-1.0),
        lambda: Progress(rate_per_signer=float("nan")),
        lambda: Timing(created_at=float("inf")),
        lambda: Timing(created_at=0.0, startup_seconds=float("nan")),
    ],
)
def test_an_impossible_observation_is_refused(broken: object) -> None:
    assert callable(broken)
    with pytest.raises(ValueError, match="must be a"):
        broken()
