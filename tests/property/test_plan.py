"""Properties of every plan, whatever the operator sees."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.planning import (
    KEYS_RUN,
    NOW,
    RECORDS_RUN,
    after,
    job_of,
    planned,
    replicas_of,
    spec_of,
    stored_of,
    truths,
    view_of,
)
from vaultstream.api import JobState
from vaultstream.scaling.observation import Lag, LagUnknown, Progress
from vaultstream.scaling.reasons import LAG_PROBLEMS, Reason
from vaultstream_operator.api.reasons import JobReason
from vaultstream_operator.api.status import JobStatus
from vaultstream_operator.core.plan import Plan
from vaultstream_operator.core.pod_problems import Ailment, Cause
from vaultstream_operator.core.view import (
    FINALIZER,
    ChildrenView,
    SignersView,
    StoredJob,
    Trouble,
    View,
    WorkerJobView,
)

pytestmark = pytest.mark.unit

COUNT_CHANGES = {JobReason.SCALED_OUT, JobReason.SCALED_IN}

SMALL = st.integers(0, 60)
MOMENTS = st.integers(0, 1000).map(lambda seconds: NOW - timedelta(seconds=seconds))
SPECS = st.builds(
    spec_of,
    suspend=st.booleans(),
    activeDeadlineSeconds=st.sampled_from([None, 100]),
    finishWithin=st.sampled_from([None, 50, 100]),
    ttlSecondsAfterFinished=st.sampled_from([None, 0, 300]),
    deletionPolicy=st.sampled_from(["Retain", "Delete"]),
    scaling=st.fixed_dictionaries(
        {"minReplicaCount": st.integers(0, 3), "lagThreshold": st.integers(1, 20)},
        optional={
            "maxReplicaCount": st.integers(3, 30),
            "fallback": st.just({"failureThreshold": 1, "replicas": 5}),
            "cooldownPeriod": st.just(0),
        },
    ),
)
AILMENTS = st.none() | st.builds(
    Ailment,
    st.sampled_from(Cause),
    st.sampled_from(["", "it says so.", 'secret "vaultstream-keys" not found.']),
    st.none() | MOMENTS,
    st.sampled_from([None, 1, 6]),
)
WORKERS = st.none() | st.builds(
    WorkerJobView,
    st.integers(0, 1),
    st.integers(0, 2),
    st.integers(0, 1),
    AILMENTS,
    st.sampled_from(["", KEYS_RUN.template, RECORDS_RUN.template]),
    st.booleans(),
)
SIGNERS = st.none() | st.builds(SignersView, SMALL, SMALL, AILMENTS)
CHILDREN = st.builds(ChildrenView, WORKERS, WORKERS, SIGNERS)
TROUBLES = st.builds(
    Trouble,
    st.sampled_from([JobReason.POSTGRES_UNREACHABLE, JobReason.NATS_UNREACHABLE, JobReason.TABLE_UNUSABLE]),
    st.just("it says so."),
    st.booleans(),
    MOMENTS.map(lambda moment: moment.timestamp()),
    st.integers(1, 9),
)
LAGS = (
    st.none()
    | st.builds(Lag, SMALL, SMALL)
    | st.builds(
        LagUnknown,
        st.sampled_from(LAG_PROBLEMS),
        MOMENTS.map(lambda moment: moment.timestamp()),
        st.integers(1, 5),
    )
)
ANNOTATIONS = st.dictionaries(
    st.sampled_from(
        [f"vaultstream.dev/paused{part}" for part in ("", "-replicas", "-scale-in", "-scale-out")]
    ),
    st.sampled_from(["true", "false", "7", "x"]),
)


@st.composite
def stored_jobs(draw: st.DrawFn) -> StoredJob:
    planned_all, left = draw(st.booleans()), draw(SMALL)
    return stored_of(
        draw(SPECS),
        state=draw(st.sampled_from([state for state in JobState if state is not JobState.DELETING])),
        message=draw(st.sampled_from(["", "no such column"])),
        ours=draw(st.sampled_from([True, True, True, False])),
        started_at=draw(st.none() | MOMENTS),
        finished_at=draw(st.none() | MOMENTS),
        planned=planned_all,
        dead=draw(st.integers(0, 3)),
        progress=Progress(
            records_left=left * 500 if planned_all else None,
            batches_left=left,
            planned=planned_all,
            records_per_second=draw(st.sampled_from([None, 0.0, 250.0])),
        ),
        keys_active=draw(st.none() | SMALL),
        keys_made=draw(st.integers(0, 50)),
        batches_unpublished=draw(SMALL),
        published=draw(st.booleans()),
    )


@st.composite
def views(draw: st.DrawFn, stored: Any = None, status: JobStatus | None = None) -> View:
    """A view, whose status an earlier plan has written, perhaps of something quite different."""
    job = job_of(
        draw(SPECS),
        finalizers=draw(st.sampled_from([(FINALIZER,), (FINALIZER,), ()])),
        deleting=draw(st.sampled_from([False, False, True])),
        annotations=draw(ANNOTATIONS),
        problem=draw(st.sampled_from(["", "", "", "spec.foo is not known."])),
        status=status,
    )
    seen = stored if stored is not None else st.none() | TROUBLES | stored_jobs()
    view = view_of(draw(seen), lag=draw(LAGS), children=draw(CHILDREN), job=job)
    if status is None and draw(st.booleans()):
        earlier = replace(view, stored=draw(seen), children=draw(CHILDREN))
        written = planned(earlier, NOW - timedelta(minutes=2)).status
        view = replace(view, job=replace(view.job, status=JobStatus.model_validate(written.dump())))
    return view


def effects(done: Plan) -> tuple[object, ...]:
    return done.store, done.apply, done.delete, done.add_finalizer, done.remove_finalizer, done.delete_object


@given(views())
def test_a_plan_is_total_and_the_same_each_time(view: View) -> None:
    assert planned(view) == planned(view)


@given(views())
def test_planning_again_does_the_same_and_repeats_only_the_event_of_an_unmade_change(view: View) -> None:
    done = planned(view)
    again = planned(after(view, done))
    assert again.status.dump() == done.status.dump()
    unmade = tuple(said for said in done.events if said.reason in COUNT_CHANGES)
    assert again.events == unmade
    assert effects(again) == effects(done)


@given(views(), views())
def test_an_ended_job_stays_ended(first: View, later: View) -> None:
    ended = planned(first).status
    kinds = {
        c.type: (c.status, c.reason, c.message) for c in ended.conditions if c.type in {"Complete", "Failed"}
    }
    if not any(status == "True" for status, _, _ in kinds.values()):
        return
    done = planned(replace(later, job=replace(later.job, status=ended)))
    assert {
        c.type: (c.status, c.reason, c.message) for c in done.status.conditions if c.type in kinds
    } == kinds
    assert done.apply == ()
    assert done.status.state in {ended.state, "Deleting"}


@given(views(stored=TROUBLES))
def test_in_trouble_nothing_but_the_status_changes(view: View) -> None:
    if view.job.deleting or "Complete" in {c.type for c in view.job.status.conditions}:
        return
    done = planned(view)
    assert (done.store, done.apply, done.delete, done.remove_finalizer) == (None, (), (), False)


@given(views())
def test_there_are_never_more_signers_than_allowed(view: View) -> None:
    done = planned(view)
    count = replicas_of(done)
    if count is None or done.decision is None or view.job.spec is None:
        return
    assert count <= (view.job.spec.scaling.max_replica_count or 100)
    paused = done.decision.reason in {Reason.PAUSED, Reason.PAUSED_REPLICAS} or (
        done.decision.limit is not None and done.decision.limit.name.startswith("Paused")
    )
    if isinstance(view.stored, StoredJob) and view.stored.keys_active is not None:
        assert count <= view.stored.keys_active or paused or done.decision.hold


@given(views())
def test_only_existing_children_are_deleted_and_none_is_both_created_and_deleted(view: View) -> None:
    done = planned(view)
    for role in done.delete:
        assert getattr(view.children, role) is not None
    made = {m["metadata"]["labels"]["app.kubernetes.io/component"] for m in done.apply}
    assert not made & set(done.delete)


@given(views())
def test_the_finalizer_goes_last(view: View) -> None:
    done = planned(view)
    if done.remove_finalizer:
        assert view.job.deleting
        assert not view.children.any
        assert not (isinstance(view.stored, StoredJob) and view.stored.ours)


@given(views())
def test_a_status_is_always_one_that_the_api_server_accepts(view: View) -> None:
    status = planned(view).status
    assert JobStatus.model_validate(status.dump()).dump() == status.dump()
    kinds = [c.type for c in status.conditions]
    assert len(kinds) == len(set(kinds))
    assert not {"Reconciling", "Stalled"} <= set(truths(planned(view)))
