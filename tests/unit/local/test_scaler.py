"""The pool of one machine is sized by the same decision as a Deployment."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from support.planning import spec_of
from support.stored import UNSTARTED
from vaultstream.api import JobState, SigningJobSpec
from vaultstream.local.runner import PoolState
from vaultstream.local.scaler import LocalScaler
from vaultstream.scaling.reasons import Reason
from vaultstream.scaling.workload import RATE_WINDOW_SECONDS
from vaultstream.store.jobs import Job
from vaultstream.store.keys import KeyCounts
from vaultstream.store.progress import JobSnapshot

pytestmark = pytest.mark.unit

CORES = 4


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def keys_of(active: int, *, retired: int = 0) -> KeyCounts:
    return KeyCounts(active=active, retired=retired, revoked=0, leased=0, made=active + retired)


def look_at(
    spec: SigningJobSpec | None = None,
    *,
    batches_left: int = 100,
    planned: bool = True,
    signers: int = 0,
    keys: int = 50,
    settled_lately: int = 0,
) -> PoolState:
    spec = spec or spec_of()
    moment = datetime.fromtimestamp(1_800_000_000, UTC)
    job = Job(
        job_no=1,
        token="job-1",
        name="job",
        owner_uid=None,
        spec=spec,
        id_type="bigint",
        state=JobState.RUNNING,
        message=None,
        created_at=moment,
        started_at=moment,
        finished_at=None,
        deleted_at=None,
        upper_id="1",
        planned_id="1",
        planned=planned,
        next_batch_no=1,
        published_through=0,
    )
    progress = replace(
        UNSTARTED,
        records=batches_left * 10,
        records_left=batches_left * 10,
        batches=batches_left,
        batches_left=batches_left,
        planned=planned,
        settled_lately=settled_lately,
        window_seconds=20.0 if settled_lately else None,
    )
    return PoolState(JobSnapshot(job, progress, keys_of(keys), moment), signers, signers)


def scaler(clock: Clock, annotations: dict[str, str] | None = None, **scaling: Any) -> LocalScaler:
    return LocalScaler(
        spec_of(scaling=scaling).scaling, platform_max=CORES, annotations=annotations, clock=clock
    )


def test_it_starts_all_that_are_wanted_in_one_step_and_says_why(clock: Clock) -> None:
    scale = scaler(clock)
    size = scale(look_at())
    assert size.signers == CORES
    assert size.why.startswith("Scaled from 0 to 4 signers: lag is 100 batches")
    (taken,) = scale.taken
    assert taken.to_json()["after"] == 4
    assert taken.to_json()["limit"] == "MaxReplicaCount"


def test_it_uses_the_estimate_until_all_is_planned(clock: Clock) -> None:
    early = look_at(batches_left=0, planned=False)
    scale = scaler(clock)
    assert scale(early).signers == 0
    scale = scaler(clock)
    scale.expect(25)
    assert scale(early).signers == 3
    clock.now += 1
    assert scale(look_at(batches_left=0, signers=3)).signers == 0


def test_a_count_stands_until_it_is_time_to_decide_again(clock: Clock) -> None:
    scale = scaler(clock, pollingInterval=5)
    assert scale(look_at(batches_left=40)).signers == 4
    clock.now += 0.5
    assert scale(look_at(batches_left=0, signers=4)).signers == 4
    clock.now += 0.5
    assert scale(look_at(batches_left=0, signers=4)).signers == 0
    assert [taken.decision.desired for taken in scale.taken] == [4, 0]


def test_new_batches_are_decided_on_at_once(clock: Clock) -> None:
    scale = scaler(clock, pollingInterval=600)
    assert scale(look_at(batches_left=10)).signers == 1
    clock.now += 0.01
    assert scale(look_at(batches_left=40, signers=1)).signers == 4


def test_a_decision_is_handed_over_to_be_kept_once_if_it_is_news(clock: Clock) -> None:
    scale = scaler(clock)
    first = scale(look_at(batches_left=10)).news
    assert first is not None
    assert (first.shown["replicas"], first.shown["desired"], first.at) == (0, 1, clock.now)
    assert scale(look_at(batches_left=10, signers=1)).news is None  # not decided again yet
    clock.now += 1
    assert scale(look_at(batches_left=10, signers=1)).news is None
    clock.now += 1
    assert scale(look_at(batches_left=40, signers=1)).news is not None


@pytest.mark.parametrize(
    ("scaling", "annotations", "wanted"),
    [
        ({"maxReplicaCount": 2}, {}, 2),
        ({"maxReplicaCount": 100}, {}, CORES),
        ({"lagThreshold": 1000, "minReplicaCount": 3}, {}, 3),
        ({"lagThreshold": 50}, {}, 2),
        ({"activationLagThreshold": 100}, {}, CORES),  # all is planned, so no more will come
        ({}, {"vaultstream.dev/paused": "true"}, 0),
        ({}, {"vaultstream.dev/paused-replicas": "3"}, 3),
        ({}, {"vaultstream.dev/paused-scale-out": "true"}, 0),
    ],
)
def test_the_rules_of_a_cluster_hold_on_a_laptop(
    clock: Clock, scaling: dict[str, Any], annotations: dict[str, str], wanted: int
) -> None:
    assert scaler(clock, annotations, **scaling)(look_at()).signers == wanted


@pytest.mark.parametrize(("keys", "wanted"), [(2, CORES), (50, CORES)])
def test_keys_that_are_still_being_made_limit_nothing(clock: Clock, keys: int, wanted: int) -> None:
    assert scaler(clock)(look_at(keys=keys)).signers == wanted


def test_never_more_signers_than_active_keys(clock: Clock) -> None:
    look = look_at(spec_of(keys={"count": 2}), keys=2)
    assert scaler(clock)(look).signers == 2
    retired = replace(look, snapshot=replace(look.snapshot, keys=keys_of(1, retired=1)))
    assert scaler(clock)(retired).signers == 1


def test_a_dip_of_the_lag_costs_no_signer(clock: Clock) -> None:
    scale = scaler(clock)
    scale(look_at())
    for left in (60, 30, 9):
        clock.now += 1
        assert scale(look_at(batches_left=left, signers=4, settled_lately=2000)).signers == 4


def test_signers_beyond_the_remaining_batches_are_stopped(clock: Clock) -> None:
    scale = scaler(clock)
    scale(look_at())
    clock.now += 1
    assert scale(look_at(batches_left=1, signers=4)).signers == 1


def test_signers_that_sign_nothing_for_the_rate_window_hold_the_count(clock: Clock) -> None:
    scale = scaler(clock, lagThreshold=50)
    assert scale(look_at()).signers == 2
    for _ in range(int(RATE_WINDOW_SECONDS)):
        clock.now += 1
        assert scale(look_at(signers=2)).signers == 2
    clock.now += 1
    size = scale(look_at(batches_left=200, signers=2))
    assert scale.latest
    assert (size.signers, scale.latest.reason, scale.latest.hold) == (2, Reason.NOTHING_SIGNED, True)


def test_the_count_follows_the_lag_again_once_something_is_signed(clock: Clock) -> None:
    scale = scaler(clock, lagThreshold=50)
    scale(look_at())
    for _ in range(int(RATE_WINDOW_SECONDS) + 2):
        clock.now += 1
        scale(look_at(signers=2))
    assert scale.latest
    assert scale.latest.hold
    clock.now += 1
    assert scale(look_at(batches_left=200, signers=2, settled_lately=10)).signers == 4


def test_signers_that_wait_for_batches_are_not_idle(clock: Clock) -> None:
    scale = scaler(clock)
    scale.expect(100)
    for _ in range(int(RATE_WINDOW_SECONDS) + 2):
        clock.now += 1
        scale(look_at(batches_left=0, planned=False, signers=CORES))
        assert scale.latest
        assert not scale.latest.hold
