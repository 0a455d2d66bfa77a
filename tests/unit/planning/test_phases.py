"""Each phase of a job: what the operator sees, and what it plans to do."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from support.planning import (
    ALL,
    NOW,
    after,
    job_of,
    kinds_of,
    planned,
    replicas_of,
    spec_of,
    stored_of,
    told,
    trouble_of,
    truths,
    view_of,
)
from vaultstream.api import JobState
from vaultstream.scaling.observation import Lag, LagUnknown, Progress
from vaultstream.scaling.reasons import Reason
from vaultstream_operator.api.reasons import JobReason
from vaultstream_operator.core.plan import StoreAction
from vaultstream_operator.core.view import ChildrenView, SignersView

pytestmark = pytest.mark.unit

WORKERS = ["Job/receipts-keys", "Job/receipts-records", "Deployment/receipts-signing"]
FRESH = {
    "state": "Pending",
    "started_at": None,
    "planned": False,
    "records": 0,
    "signed": 0,
    "progress": Progress(batches_left=0),
    "keys_active": None,
    "keys_made": 0,
    "records_per_second": None,
    "published": False,
}


# -- new


def test_a_new_job_gets_its_finalizer_before_anything_else() -> None:
    done = planned(view_of(job=job_of(finalizers=())))
    assert (done.add_finalizer, done.store, done.apply) == (True, None, ())
    assert (done.status.state, done.status.observed_generation) == (JobState.PENDING, 3)
    assert truths(done) == {"Reconciling": "Starting"}


def test_a_job_that_is_older_than_its_tenant_is_adopted_before_its_workers_are_touched() -> None:
    done = planned(view_of(stored=stored_of(orphan=True)))
    assert (done.store, done.apply, done.requeue_after) == (StoreAction.ADOPT, (), 0.0)
    assert planned(view_of(stored=stored_of(tenant="shop"))).store is None


def test_a_job_that_is_not_in_postgres_is_created_there() -> None:
    assert planned(view_of()).store is StoreAction.CREATE


def test_a_former_job_of_that_name_is_removed_first() -> None:
    assert planned(view_of(stored_of(ours=False))).store is StoreAction.REMOVE_FORMER


def test_a_spec_that_is_not_understood_stalls_the_job_and_touches_no_child() -> None:
    view = view_of(job=job_of(problem="spec.foo is not known."), children=ALL)
    done = planned(view)
    assert truths(done) == {"Stalled": "SpecNotUnderstood"}
    assert told(done) == ["SpecNotUnderstood"]
    assert (done.apply, done.delete) == ((), ())
    assert told(planned(after(view, done))) == []


def test_the_first_reconcile_of_a_job_in_postgres_creates_workers_and_signers_at_once() -> None:
    missing = LagUnknown(Reason.CONSUMER_MISSING, since=NOW.timestamp())
    new = replace(job_of(), created_at=NOW - timedelta(seconds=5))
    done = planned(view_of(stored_of(**FRESH), lag=missing, job=new))
    assert kinds_of(done) == WORKERS
    assert done.decision is not None
    assert not done.decision.hold
    assert truths(done)["Reconciling"] == "MakingKeys"
    assert (done.status.lag, done.status.state, done.requeue_after) == (0, JobState.PENDING, 1.0)


def test_a_job_whose_workers_never_start_is_not_reconciled_each_second_forever() -> None:
    assert planned(view_of(stored_of(**FRESH), lag=Lag(0), job=job_of())).requeue_after == 5.0


def test_batches_that_nobody_published_yet_count_as_lag_without_a_consumer() -> None:
    fields = {**FRESH, "batches_unpublished": 70, "progress": Progress(batches_left=70), "records": 35_000}
    missing = LagUnknown(Reason.CONSUMER_MISSING, since=NOW.timestamp())
    done = planned(view_of(stored_of(**fields), lag=missing))
    assert replicas_of(done) == 7
    assert told(done) == ["ScaledOut", "MakingKeys"]


def test_a_consumer_that_is_missing_later_holds_the_count() -> None:
    missing = LagUnknown(Reason.CONSUMER_MISSING, since=NOW.timestamp() - 3)
    done = planned(view_of(stored_of(), lag=missing, children=ALL))
    assert replicas_of(done) == 4
    assert done.status.lag is None
    assert truths(done) == {"Reconciling": "ConsumerMissing"}


def test_a_minimum_holds_from_the_first_moment() -> None:
    spec = spec_of(scaling={"minReplicaCount": 3})
    done = planned(view_of(stored_of(spec, **FRESH), job=job_of(spec)))
    assert replicas_of(done) == 3


# -- running


def test_the_signers_follow_the_lag() -> None:
    view = view_of(stored_of(), lag=Lag(70, 10), children=replace(ALL, signing=SignersView(4, 4)))
    done = planned(view)
    assert replicas_of(done) == 8
    assert told(done) == ["ScaledOut", "Signing"]
    assert truths(done) == {"Reconciling": "Signing", "ScalingActive": "ScalingFollowsLag"}
    assert done.status.signers == "4/8"
    assert done.status.scaling is not None
    assert done.status.scaling.changes[-1].after == 8
    assert done.requeue_after == 5.0


@pytest.mark.parametrize("seconds", [1, 120])
def test_a_change_that_was_not_made_is_decided_again_and_counted_once(seconds: int) -> None:
    """It is not to be seen yet, was refused, or whoever decided it was killed before making it."""
    view = view_of(stored_of(), lag=Lag(70, 10), children=ALL)
    again = planned(after(view, planned(view)), NOW + timedelta(seconds=seconds))
    assert (replicas_of(again), told(again)) == (8, ["ScaledOut"])
    assert again.memory is not None
    history = again.memory.history
    assert [(change.before, change.after) for change in history.changes] == [(4, 8)]
    assert [step.replicas for step in history.added] == [4]


def test_a_change_that_was_undone_is_made_again_and_both_count() -> None:
    view = view_of(stored_of(), lag=Lag(70, 10), children=ALL)
    undone = replace(ALL, signing=replace(ALL.signing, generation=3))
    view = replace(after(view, planned(view)), children=undone)
    later = planned(view, NOW + timedelta(minutes=2))
    assert told(later) == ["ScaledOut"]
    assert later.status.scaling is not None
    assert [(change.before, change.after) for change in later.status.scaling.changes] == [(4, 8)] * 2


def test_a_batch_is_not_counted_twice_while_it_is_being_published() -> None:
    done = planned(view_of(stored_of(batches_unpublished=38), lag=Lag(30), children=ALL))
    assert done.status.lag == 38


def test_a_job_whose_records_are_still_being_found_says_so() -> None:
    stored = stored_of(planned=False, progress=Progress(), batches_unpublished=5)
    done = planned(view_of(stored, lag=Lag(30), children=ALL))
    assert truths(done)["Reconciling"] == "Planning"
    assert "20,000 records so far" in done.status.message
    assert done.status.lag == 35


def test_pods_without_a_key_are_marked_before_the_count_falls() -> None:
    spec = spec_of(scaling={"behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}}})
    done = planned(view_of(stored_of(spec), lag=Lag(10), children=ALL, job=job_of(spec)))
    assert (replicas_of(done), done.mark_idle, told(done)[0]) == (1, True, "ScaledIn")


def test_an_unreachable_nats_holds_the_count_and_is_reported() -> None:
    away = LagUnknown(Reason.NATS_UNREACHABLE, since=NOW.timestamp() - 5, failures=2)
    view = view_of(stored_of(), lag=away, children=ALL)
    done = planned(view)
    assert replicas_of(done) == 4
    assert truths(done) == {"Reconciling": "NatsUnreachable"}
    assert told(done) == ["NatsUnreachable"]
    assert told(planned(after(view, done))) == []


def test_a_changed_spec_takes_effect_except_for_immutable_fields() -> None:
    spec = spec_of(scaling={"maxReplicaCount": 2}, batchSize=7, suspend=False)
    done = planned(view_of(stored_of(), job=job_of(spec), children=ALL))
    assert done.store is StoreAction.UPDATE_SPEC
    assert done.events[0].message == "The spec has changed: scaling."


# -- annotations and finishing times


def test_a_paused_job_keeps_its_count_and_its_scaling_is_not_active() -> None:
    job = job_of(annotations={"vaultstream.dev/paused": "true"})
    done = planned(view_of(stored_of(), lag=Lag(400), children=ALL, job=job))
    assert replicas_of(done) == 4
    assert "ScalingActive" not in truths(done)


def test_an_unreadable_annotation_pauses_the_job_and_is_reported_once() -> None:
    job = job_of(annotations={"vaultstream.dev/paused": "maybe"})
    view = view_of(stored_of(), lag=Lag(400), children=ALL, job=job)
    done = planned(view)
    assert (replicas_of(done), told(done)) == (4, ["AnnotationUnreadable", "Signing"])
    assert '"maybe"' in done.events[0].message
    assert told(planned(after(view, done))) == []


def test_a_finishing_time_at_risk_is_a_condition_and_each_change_is_reported() -> None:
    spec = spec_of(finishWithin=330, scaling={"maxReplicaCount": 4})
    view = view_of(stored_of(spec), lag=Lag(38), children=ALL, job=job_of(spec))
    first = planned(view)
    assert "DeadlineAtRisk" not in told(first)  # one poll is not believed
    done = planned(after(view, first), NOW + timedelta(seconds=5))
    assert truths(done)["DeadlineAtRisk"] == "DeadlineAtRisk"
    assert "DeadlineAtRisk" in told(done)
    message = next(e.message for e in done.events if e.reason == "DeadlineAtRisk")
    assert "even with 4 signers, the maximum: about " in message
    assert " signers would be enough. Raise scaling.maxReplicaCount" in message
    assert "DeadlineAtRisk" not in told(planned(after(view, done), NOW + timedelta(seconds=10)))
    relaxed = spec_of(finishWithin=3600, scaling={"maxReplicaCount": 4})
    mended = replace(
        after(view, done), job=replace(after(view, done).job, spec=relaxed), stored=stored_of(relaxed)
    )
    turned = planned(mended)
    assert "DeadlineOnTrack" in told(turned)
    assert "DeadlineAtRisk" not in truths(turned)


def test_a_finishing_time_is_not_judged_before_there_is_a_rate() -> None:
    spec = spec_of(finishWithin=3600)
    progress = Progress(records_left=19_000, batches_left=38, planned=True)
    done = planned(view_of(stored_of(spec, progress=progress), lag=Lag(38), job=job_of(spec)))
    assert "DeadlineAtRisk" not in {c.type for c in done.status.conditions}


# -- trouble


@pytest.mark.parametrize("children", [ChildrenView(), ALL])
@pytest.mark.parametrize(
    ("reason", "passing"),
    [
        (JobReason.POSTGRES_UNREACHABLE, True),
        (JobReason.NATS_UNREACHABLE, True),
        (JobReason.DATABASE_REFUSES, False),
        (JobReason.SCHEMA_NOT_READY, False),
        (JobReason.TABLE_UNUSABLE, False),
    ],
)
def test_in_trouble_nothing_changes_but_the_status(
    reason: JobReason, passing: bool, children: ChildrenView
) -> None:
    view = view_of(trouble_of(reason, passing=passing), children=children)
    done = planned(view)
    assert (done.apply, done.delete, done.store, done.mark_idle) == ((), (), None, False)
    assert truths(done) == {"Reconciling" if passing else "Stalled": reason}
    assert told(done) == [reason]
    assert told(planned(after(view, done))) == []
    assert done.requeue_after is not None


def test_a_count_that_falls_back_does_not_follow_the_lag() -> None:
    spec = spec_of(scaling={"fallback": {"failureThreshold": 1, "replicas": 7}})
    away = LagUnknown(Reason.NATS_UNREACHABLE, NOW.timestamp() - 60, 5)
    done = planned(view_of(stored_of(spec), lag=away, children=ALL, job=job_of(spec)))
    assert (replicas_of(done), done.status.lag) == (7, None)
    active = next(c for c in done.status.conditions if c.type == "ScalingActive")
    assert (active.status, active.reason) == ("False", "ScalingFallsBack")


def test_the_fallback_is_not_used_while_postgres_is_unreachable() -> None:
    spec = spec_of(scaling={"fallback": {"failureThreshold": 1, "replicas": 9}})
    trouble = trouble_of(JobReason.POSTGRES_UNREACHABLE, passing=True, failures=5)
    done = planned(view_of(trouble, children=ALL, job=job_of(spec)))
    assert done.decision is not None
    assert (done.decision.desired, done.decision.hold) == (4, True)


def test_a_lowered_maximum_waits_until_postgres_answers() -> None:
    trouble = trouble_of(JobReason.POSTGRES_UNREACHABLE, passing=True)
    done = planned(view_of(trouble, children=ALL, job=job_of(spec_of(scaling={"maxReplicaCount": 2}))))
    assert (done.decision, done.apply) == (None, ())


def test_a_problem_that_blocks_the_creation_of_a_job_stays_reported_during_retries() -> None:
    view = view_of(trouble_of(JobReason.TABLE_UNUSABLE, passing=False))
    status = planned(view).status
    done = planned(view_of(job=job_of(status=status)))
    assert (done.store, done.status.dump(), done.events) == (StoreAction.CREATE, status.dump(), ())


# -- suspended


def test_a_suspended_job_drains_its_signers_and_then_stops() -> None:
    spec = spec_of(suspend=True)
    running = planned(view_of(stored_of(), lag=Lag(40), children=ALL)).status
    view = view_of(stored_of(), children=ALL, job=job_of(spec, status=running))
    leaving = planned(view)
    assert (leaving.store, replicas_of(leaving)) == (StoreAction.SUSPEND, 0)
    assert leaving.delete == ("records", "keys")
    assert truths(leaving) == {"Suspended": "Suspending", "Reconciling": "Suspending"}
    assert leaving.status.scaling is not None
    assert leaving.status.scaling.changes[-1].reason == "Suspended"

    draining = replace(after(view, leaving), children=ChildrenView(signing=SignersView(0, 0, pods=3)))
    drains = planned(draining)
    assert truths(drains) == {"Suspended": "Suspending", "Reconciling": "Suspending"}
    assert "3 signers" in drains.status.message
    assert drains.status.lag == draining.stored.progress.batches_left

    gone = ChildrenView(signing=SignersView(0, 0))
    rest_view = replace(after(view, leaving), stored=stored_of(state=JobState.SUSPENDED), children=gone)
    rests = planned(rest_view)
    assert (rests.store, rests.apply, rests.delete, rests.requeue_after) == (None, (), (), None)
    assert truths(rests) == {"Suspended": "Suspended"}
    assert told(rests) == ["Suspended"]
    assert told(planned(after(rest_view, rests))) == []


def test_a_suspended_job_resumes() -> None:
    view = view_of(stored_of(state=JobState.SUSPENDED))
    done = planned(view)
    assert (done.store, told(done)) == (StoreAction.RESUME, ["Resumed"])
    assert "Suspended" not in truths(
        planned(view_of(stored_of(), lag=Lag(4), job=job_of(status=done.status)))
    )


def test_a_job_that_ended_while_it_was_suspended_has_ended() -> None:
    spec = spec_of(suspend=True)
    suspended = planned(view_of(stored_of(state=JobState.SUSPENDED), job=job_of(spec))).status
    stored = stored_of(state=JobState.COMPLETE, finished_at=NOW, signed=20_000)
    done = planned(view_of(stored, job=job_of(spec, status=suspended)))
    assert truths(done) == {"Complete": "AllSigned"}


def test_a_deadline_does_not_fail_a_job_that_is_suspended_or_never_began() -> None:
    suspended = spec_of(suspend=True, activeDeadlineSeconds=60)
    spec = spec_of(activeDeadlineSeconds=60)
    assert (
        planned(view_of(stored_of(suspended, state=JobState.SUSPENDED), job=job_of(suspended))).store
        is not StoreAction.FAIL
    )
    assert planned(view_of(stored_of(spec, **FRESH), job=job_of(spec))).store is not StoreAction.FAIL
    assert planned(view_of(stored_of(spec), job=job_of(spec))).store is StoreAction.FAIL
