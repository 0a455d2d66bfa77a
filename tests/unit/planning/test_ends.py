"""The end of a job, and its deletion: what the operator sees, and what it plans to do."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from support.planning import (
    ALL,
    KEYS_RUN,
    NOW,
    RECORDS_RUN,
    TOKEN,
    after,
    job_of,
    kinds_of,
    planned,
    spec_of,
    stored_of,
    told,
    trouble_of,
    truths,
    view_of,
)
from vaultstream.api import JobState
from vaultstream.scaling.observation import Lag
from vaultstream_operator.api.reasons import JobReason
from vaultstream_operator.api.status import JobStatus, SealStatus
from vaultstream_operator.core.children import template_of
from vaultstream_operator.core.plan import SHORTLY, StoreAction
from vaultstream_operator.core.view import ChildrenView, SignersView, StoredJob

pytestmark = pytest.mark.unit


def ended(**fields: object) -> JobStatus:
    """The status of a job that has completed."""
    return planned(view_of(stored_of(**{"state": JobState.COMPLETE, "finished_at": NOW, **fields}))).status


# -- ended


def test_a_complete_job_is_reported_and_its_children_are_deleted() -> None:
    view = view_of(stored_of(), lag=Lag(70, 10), children=replace(ALL, signing=SignersView(4, 4)))
    running = replace(after(view, planned(view)), children=replace(ALL, signing=SignersView(8, 8)))
    assert isinstance(running.stored, StoredJob)
    stored = replace(running.stored, state=JobState.COMPLETE, finished_at=NOW, signed=20_000)
    done = planned(replace(running, stored=stored))
    assert truths(done) == {"Complete": "AllSigned"}
    scaling = done.status.scaling
    assert scaling is not None
    assert (scaling.replicas, scaling.desired, scaling.reason) == (8, 0, "Ended")
    assert [(c.before, c.after, c.reason) for c in scaling.changes] == [
        (4, 8, "Lag"),
        (8, 0, "Ended"),
    ]
    assert (done.status.state, done.status.completion_time, done.status.lag) == (JobState.COMPLETE, NOW, 0)
    assert done.delete == ("signing", "records", "keys")
    assert told(done) == ["AllSigned"]


def test_what_a_job_without_signers_has_shown_is_kept_when_it_is_complete() -> None:
    running = view_of(children=ALL)
    complete = stored_of(state=JobState.COMPLETE, finished_at=NOW, signed=20_000)
    gone = replace(ALL, signing=SignersView(0, 0, pods=0))
    shown = planned(replace(after(running, planned(running)), stored=complete, children=gone))
    assert shown.memory is not None


def test_dead_letters_complete_a_job_with_a_warning() -> None:
    stored = stored_of(state=JobState.COMPLETE, finished_at=NOW, signed=19_990, dead=10)
    done = planned(view_of(stored))
    assert truths(done) == {"Complete": "DeadLetters"}
    assert done.events[0].event_type == "Warning"


@pytest.mark.parametrize(
    ("deadline", "message"), [(60, "activeDeadlineSeconds (60)"), (None, "given up by hand")]
)
def test_a_failed_job_says_why(deadline: int | None, message: str) -> None:
    spec = spec_of(activeDeadlineSeconds=deadline)
    stored = stored_of(spec, state=JobState.FAILED, finished_at=NOW, message="given up by hand")
    done = planned(view_of(stored, job=job_of(spec)))
    assert truths(done) == {"Failed": "DeadlineExceeded", "Stalled": "DeadlineExceeded"}
    assert message in done.status.message


def test_the_end_of_a_job_stays_however_postgres_says_later_that_it_ended() -> None:
    status = ended(signed=20_000)
    failed = stored_of(state=JobState.FAILED, finished_at=NOW)
    done = planned(view_of(failed, job=job_of(status=status), children=ALL))
    assert done.status.dump() == status.dump()
    assert (done.store, done.apply, done.events) == (None, (), ())
    assert done.delete == ("signing", "records", "keys")


@pytest.mark.parametrize("ttl", [None, 1])
def test_a_status_that_says_so_ends_no_job_that_goes_on_in_postgres(ttl: int | None) -> None:
    """Others may write the status, and Postgres may have been restored."""
    spec = spec_of(ttlSecondsAfterFinished=ttl)
    job = job_of(spec, status=ended(signed=20_000))
    done = planned(view_of(stored_of(spec), job=job, children=ALL), NOW + timedelta(days=1))
    assert (done.delete, done.delete_object) == ((), False)
    assert "Complete" not in truths(done)
    assert (done.status.state, done.status.completion_time) == (JobState.RUNNING, None)
    assert kinds_of(planned(view_of(stored_of(spec), job=job))) != []


@pytest.mark.parametrize("passing", [True, False])
def test_nothing_of_an_ended_job_is_deleted_before_postgres_confirms_the_end(passing: bool) -> None:
    trouble = trouble_of(JobReason.POSTGRES_UNREACHABLE, passing=passing)
    job = job_of(spec_of(ttlSecondsAfterFinished=1), status=ended())
    for there in (ALL, ChildrenView()):
        done = planned(view_of(trouble, job=job, children=there), NOW + timedelta(days=1))
        assert (done.delete, done.delete_object) == ((), False)
        assert done.requeue_after
        assert truths(done) == {"Complete": "AllSigned"}


def test_the_time_to_live_counts_from_the_end_that_postgres_knows() -> None:
    spec = spec_of(ttlSecondsAfterFinished=60)
    status = ended().model_copy(update={"completion_time": NOW - timedelta(days=9)})
    stored = stored_of(spec, state=JobState.COMPLETE, finished_at=NOW)
    done = planned(view_of(stored, job=job_of(spec, status=status)), NOW + timedelta(seconds=20))
    assert (done.delete_object, done.requeue_after) == (False, 40.0)


def test_an_ended_job_is_deleted_when_its_time_to_live_is_over() -> None:
    job = job_of(spec_of(ttlSecondsAfterFinished=60), status=ended())
    waiting = planned(view_of(job=job), NOW + timedelta(seconds=20))
    assert (waiting.delete_object, waiting.requeue_after) == (False, 40.0)
    view = view_of(job=job)
    over = planned(view, NOW + timedelta(seconds=60))
    assert (over.delete_object, told(over)) == (True, ["TimeToLiveOver"])
    assert told(planned(after(view, over), NOW + timedelta(seconds=61))) == []
    assert not planned(view_of(job=job_of(status=ended())), NOW + timedelta(days=9)).delete_object


# -- deleting


def test_a_deleted_job_loses_its_children_then_its_rows_then_its_finalizer() -> None:
    job = job_of(deleting=True)
    first = planned(view_of(stored_of(), job=job, children=ALL))
    assert (first.delete, first.store) == (("signing", "records", "keys"), None)
    assert (first.status.state, told(first)) == (JobState.DELETING, ["Deleting"])
    second = planned(view_of(stored_of(), job=replace(job, status=first.status)))
    assert (second.store, second.remove_finalizer) == (StoreAction.DELETE, False)
    third = planned(view_of(job=replace(job, status=second.status)))
    assert (third.store, third.remove_finalizer, told(third)) == (None, True, ["Deleted"])
    assert "all of its data except its signatures" in third.events[0].message
    assert [step.memory for step in (first, second, third)] == [None] * 3, (
        "it may be gone when this is stored"
    )


SEAL = SealStatus(
    origin="sign.example",
    size=1,
    checkpoint="",
    job_checkpoint="",
    signed=1_000,
    dead=0,
    sealed_at=NOW,
)


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
def test_a_sealed_job_keeps_its_rows_until_a_records_worker_has_sealed_its_deletion(policy: str) -> None:
    status = JobStatus(token=TOKEN)
    job = job_of(spec_of(deletionPolicy=policy), status=status, deleting=True)
    sealed = stored_of(seal=SEAL)
    first = planned(view_of(sealed, job=job, children=ALL))
    assert (first.delete, first.store) == (("signing", "records", "keys"), None)
    assert planned(view_of(sealed, job=job)).store is StoreAction.MARK_DELETED

    deleted = replace(sealed, deleted_at=NOW)
    view = view_of(deleted, job=job)
    started = planned(view)
    assert (started.store, started.remove_finalizer, kinds_of(started)) == (
        None,
        False,
        ["Job/receipts-records"],
    )
    [container] = started.apply[0]["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["worker", "records", TOKEN, "--deleted"]

    sealing = replace(RECORDS_RUN, template=template_of(started.apply[0]))
    waiting = planned(replace(view, children=ChildrenView(records=sealing)))
    assert (waiting.apply, waiting.delete, waiting.store, waiting.remove_finalizer) == ((), (), None, False)
    # a worker that does something else gives way
    assert planned(replace(view, children=ChildrenView(records=RECORDS_RUN))).delete == ("records",)

    there = replace(deleted, deletion_sealed=True)
    over = replace(sealing, active=0, succeeded=1)
    assert planned(view_of(there, job=job, children=ChildrenView(records=over))).delete == ("records",)
    last = planned(view_of(there, job=job))
    assert (last.store, last.remove_finalizer) == (
        (None, True) if policy == "Retain" else (StoreAction.DELETE, False)
    )
    assert "DeletionUnsealed" not in told(last)


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
def test_a_deletion_that_nobody_seals_is_over_after_a_minute_and_says_so(policy: str) -> None:
    job = job_of(spec_of(deletionPolicy=policy), status=JobStatus(token=TOKEN), deleting=True)
    stored = stored_of(seal=SEAL, deleted_at=NOW)
    sealing = replace(RECORDS_RUN, template=template_of(planned(view_of(stored, job=job)).apply[0]))
    late = replace(stored, read_at=NOW + timedelta(seconds=61))
    assert planned(view_of(late, job=job, children=ChildrenView(records=sealing))).delete == ("records",)
    last = planned(view_of(late, job=job))
    assert (last.store is StoreAction.DELETE, last.remove_finalizer) == (
        policy == "Delete",
        policy == "Retain",
    )
    assert "DeletionUnsealed" in told(last)


@pytest.mark.parametrize("fast", [timedelta(hours=-1), timedelta(0), timedelta(hours=1)])
def test_the_minute_for_a_seal_is_measured_by_the_clock_of_postgres_alone(fast: timedelta) -> None:
    job = job_of(spec_of(deletionPolicy="Delete"), status=JobStatus(token=TOKEN), deleting=True)
    for seconds, sealing in ((59, True), (61, False)):
        read_at = NOW + timedelta(seconds=seconds)
        done = planned(
            view_of(stored_of(seal=SEAL, deleted_at=NOW, read_at=read_at), job=job), read_at + fast
        )
        assert (bool(done.apply), done.store) == (sealing, None if sealing else StoreAction.DELETE)


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
def test_a_deletion_in_a_lost_namespace_waits_a_minute_for_its_seal_like_any_other(policy: str) -> None:
    job = job_of(spec_of(deletionPolicy=policy), status=JobStatus(token=TOKEN), deleting=True)
    stored = stored_of(seal=SEAL, deleted_at=NOW, read_at=NOW + timedelta(seconds=59))
    lost = replace(view_of(stored, job=job), lost="forbidden", lost_for=1000.0)
    waiting = planned(lost)
    assert (waiting.store, waiting.apply, waiting.remove_finalizer, told(waiting)) == (
        None,
        (),
        False,
        ["Deleting"],
    )
    assert waiting.requeue_after == SHORTLY
    found = planned(replace(lost, lost="", lost_for=0.0))
    assert kinds_of(found) == ["Job/receipts-records"]
    late = replace(stored, read_at=NOW + timedelta(seconds=61))
    last = planned(replace(lost, stored=late))
    assert (last.store is StoreAction.DELETE, last.remove_finalizer) == (
        policy == "Delete",
        policy == "Retain",
    )
    assert "DeletionUnsealed" in told(last)


@pytest.mark.parametrize("stored", [stored_of(), stored_of(seal=SEAL)], ids=["unsealed", "sealed"])
def test_no_job_is_deleted_in_a_namespace_that_is_lost_for_a_moment(stored: StoredJob) -> None:
    job = job_of(spec_of(deletionPolicy="Delete"), status=JobStatus(token=TOKEN), deleting=True)
    lost = replace(view_of(stored, job=job), lost="forbidden")
    for seconds in (0.0, 4.9):
        waiting = planned(replace(lost, lost_for=seconds))
        assert (waiting.store, waiting.remove_finalizer, waiting.requeue_after) == (None, False, SHORTLY)
    assert planned(replace(lost, lost_for=5.0)).store is not None


def test_deletion_leaves_the_job_of_another_object_of_that_name_alone() -> None:
    done = planned(
        view_of(stored_of(ours=False), job=job_of(spec_of(deletionPolicy="Delete"), deleting=True))
    )
    assert (done.store, done.remove_finalizer) == (None, True)


def test_a_deletion_without_our_finalizer_is_ignored() -> None:
    done = planned(view_of(stored_of(), job=job_of(deleting=True, finalizers=()), children=ALL))
    assert (done.store, done.delete, done.remove_finalizer, done.events) == (None, (), False, ())


def test_deletion_of_a_job_with_an_invalid_spec_retains_its_data() -> None:
    done = planned(view_of(stored_of(), job=job_of(problem="unknown.", deleting=True)))
    assert done.store is StoreAction.DELETE


@pytest.mark.parametrize("passing", [True, False])
def test_deletion_waits_for_an_unreachable_service_and_says_how_to_skip_it(passing: bool) -> None:
    reason = JobReason.POSTGRES_UNREACHABLE if passing else JobReason.DATABASE_REFUSES
    job = job_of(deleting=True)
    view = view_of(trouble_of(reason, passing=passing), job=job)
    done = planned(view)
    assert (done.remove_finalizer, told(done)) == (False, ["CleanupBlocked"])
    assert "vaultstream.dev/cleanup" in done.status.message
    # the next attempt does not take it back before it has worked
    again = planned(replace(after(view, done), stored=stored_of()))
    assert (again.store, told(again)) == (StoreAction.DELETE, [])
    assert truths(again) == truths(done)


def test_a_job_whose_table_was_never_usable_has_nothing_to_clean_up() -> None:
    trouble = trouble_of(JobReason.TABLE_UNUSABLE, passing=False)
    assert planned(view_of(trouble, job=job_of(deleting=True))).remove_finalizer


def test_children_of_a_deleted_job_are_deleted_even_while_postgres_is_unreachable() -> None:
    trouble = trouble_of(JobReason.POSTGRES_UNREACHABLE, passing=True)
    done = planned(view_of(trouble, job=job_of(deleting=True), children=ChildrenView(keys=KEYS_RUN)))
    assert done.delete == ("keys",)


def test_a_job_without_time_to_live_is_deleted_in_the_plan_that_reports_its_end() -> None:
    spec = spec_of(ttlSecondsAfterFinished=0)
    view = view_of(stored_of(state=JobState.COMPLETE, finished_at=NOW, signed=20_000), job=job_of(spec))
    done = planned(view)
    assert truths(done) == {"Complete": "AllSigned"}
    assert told(done) == ["AllSigned", "TimeToLiveOver"]
    assert done.delete_object
    again = planned(after(view, done))
    assert (again.status, again.events, again.delete_object) == (done.status, (), True)
