"""Problems of a job's workers, and their replacement: each is reported once, with the next step."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from support.planning import (
    ALL,
    CRASHING,
    DONE,
    NO_IMAGE,
    NO_NODE,
    NOW,
    REFUSED,
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
    worker_of,
)
from vaultstream.scaling.observation import Lag, LagUnknown, Progress
from vaultstream.scaling.reasons import Reason
from vaultstream_operator.api.reasons import JobReason
from vaultstream_operator.core.children import KEYS
from vaultstream_operator.core.plan import NUDGE_SECONDS, StoreAction
from vaultstream_operator.core.pod_problems import Ailment, Cause
from vaultstream_operator.core.view import ChildrenView, SignersView, StoredJob

pytestmark = pytest.mark.unit

UNMADE = Ailment(Cause.NOT_MADE, since=NOW - timedelta(minutes=1))
SIGNING = SignersView(replicas=4, ready=4)


def test_workers_that_are_there_stay_and_those_that_left_are_replaced() -> None:
    done = planned(view_of(stored_of(), lag=Lag(40), children=replace(ALL, keys=DONE)))
    assert kinds_of(done) == ["Deployment/receipts-signing"]
    assert (done.delete, done.requeue_after) == (("keys",), 1.0)


@pytest.mark.parametrize(
    ("stored", "children", "reason"),
    [
        (stored_of(message="no column payload"), ALL, "TableUnusable"),
        (stored_of(message="NotSealed: The log was rolled back."), ALL, "NotSealed"),
        (stored_of(keys_active=0), ALL, "NoActiveKey"),
        (stored_of(), replace(ALL, signing=SignersView(4, 1, NO_IMAGE)), "ImageUnavailable"),
        (stored_of(), replace(ALL, signing=SignersView(4, 0, NO_NODE)), "PodsUnschedulable"),
        (stored_of(), replace(ALL, signing=SignersView(4, 0, REFUSED)), "PodsRefused"),
        (stored_of(), replace(ALL, keys=worker_of("keys", problem=CRASHING)), "WorkerFailing"),
        (stored_of(), replace(ALL, records=worker_of("records", problem=NO_NODE)), "PodsUnschedulable"),
    ],
)
def test_a_problem_that_somebody_must_fix_stalls_the_job_and_is_reported_once(
    stored: StoredJob, children: ChildrenView, reason: str
) -> None:
    view = view_of(stored, lag=Lag(38), children=children)
    done = planned(view)
    assert truths(done)["Stalled"] == reason
    assert reason in told(done)
    assert reason not in told(planned(after(view, done)))
    mended = replace(after(view, done), stored=stored_of(), children=ALL)
    assert "Stalled" not in truths(planned(mended))


EXPECTED = stored_of(
    spec_of(scaling={"lagThreshold": 10}),
    planned=False,
    published=False,
    progress=Progress(batches_left=0),
    batches_unplanned=2_000,
)
BEGUN = replace(EXPECTED, published=True, progress=Progress(batches_left=5))


@pytest.mark.parametrize(
    ("stored", "children", "lag"),
    [
        (EXPECTED, ALL, 0),
        (BEGUN, ALL, 2_005),
        (BEGUN, replace(ALL, records=worker_of("records", problem=REFUSED)), 5),
        (BEGUN, replace(ALL, keys=worker_of("keys", problem=CRASHING)), 5),
        (
            BEGUN,
            replace(ALL, records=worker_of("records", problem=Ailment(Cause.NOT_MADE, since=NOW))),
            2_005,
        ),
    ],
    ids=["none planned", "some planned", "records refused", "keys crash", "records only just asked for"],
)
def test_batches_that_are_expected_count_while_the_workers_that_bring_them_work(
    stored: StoredJob, children: ChildrenView, lag: int
) -> None:
    children = replace(children, signing=SignersView(replicas=0, ready=0))
    done = planned(
        view_of(
            stored, lag=Lag(stored.progress.batches_left or 0), children=children, job=job_of(stored.spec)
        )
    )
    assert done.status.lag == lag
    assert replicas_of(done) == min(-(-lag // 10), 50)  # before: 50, one for each key


@pytest.mark.parametrize("problem", [NO_NODE, REFUSED])
def test_a_blocked_scale_up_does_not_stall_a_job_that_makes_progress(problem: Ailment) -> None:
    view = view_of(stored_of(), lag=Lag(38), children=replace(ALL, signing=SignersView(4, 1, problem)))
    done = planned(view)
    assert "Stalled" not in truths(done)
    (told_of,) = [said for said in done.events if said.reason == truths(done)["Reconciling"]]
    assert (told_of.event_type, problem.words in told_of.message) == ("Warning", True)
    assert told(planned(after(view, done))) == []


def test_a_temporary_problem_is_reported_only_after_a_while() -> None:
    pending = replace(NO_NODE, since=NOW)
    view = view_of(stored_of(), lag=Lag(38), children=replace(ALL, signing=SignersView(4, 0, pending)))
    first = planned(view)
    assert ("Stalled" in truths(first), first.requeue_after) == (False, 1.0)
    later = planned(after(view, first), NOW + timedelta(seconds=6))
    assert truths(later)["Stalled"] == "PodsUnschedulable"
    assert told(later) == ["PodsUnschedulable"]


def test_a_worker_of_an_earlier_operator_ends_before_its_replacement_starts() -> None:
    former = worker_of("records", template="of an earlier image")
    view = view_of(stored_of(), lag=Lag(38), children=replace(ALL, records=former))
    done = planned(view)
    assert (done.delete, kinds_of(done)) == (("records",), ["Deployment/receipts-signing"])
    assert "WorkersReplaced" in told(done)
    waiting = planned(after(view, done))  # its pod finishes what it is about
    assert kinds_of(waiting) == ["Deployment/receipts-signing"]
    assert "WorkersReplaced" not in told(waiting)
    gone = replace(after(view, done), children=replace(ALL, records=None))
    assert kinds_of(planned(gone)) == ["Job/receipts-records", "Deployment/receipts-signing"]


def test_no_change_of_the_spec_replaces_the_keys_and_records_workers() -> None:
    spec = spec_of(scaling={"maxReplicaCount": 3}, signer={"concurrency": 2, "nodeSelector": {"disk": "ssd"}})
    done = planned(view_of(stored_of(spec), lag=Lag(38), children=ALL, job=job_of(spec)))
    assert done.delete == ()


@pytest.mark.parametrize("stored", [None, stored_of(spec_of(signer={"priorityClassName": "high"}))])
def test_a_spec_that_is_not_allowed_stalls_the_job_and_makes_nothing(stored: StoredJob | None) -> None:
    spec = spec_of(signer={"priorityClassName": "high"})
    view = view_of(stored, lag=Lag(38), job=job_of(spec), children=ALL if stored else None)
    done = planned(view)
    assert truths(done)["Stalled"] == "SpecNotAllowed"
    assert (done.apply, done.delete, done.store) == ((), (), None)
    assert told(planned(after(view, done))) == []


def test_a_job_whose_spec_is_no_longer_allowed_can_be_suspended_and_deleted() -> None:
    fields = {"signer": {"priorityClassName": "high"}}
    suspended = spec_of(suspend=True, **fields)
    drained = planned(view_of(stored_of(suspended), children=ALL, job=job_of(suspended)))
    assert (replicas_of(drained), drained.store) == (0, StoreAction.SUSPEND)
    deleted = planned(view_of(stored_of(), job=job_of(spec_of(**fields), deleting=True)))
    assert deleted.store is StoreAction.DELETE


def test_an_outage_is_written_once() -> None:
    since, still = NOW.timestamp() - 5, Progress(records_left=19_000, batches_left=38, planned=True)
    views = [
        view_of(
            stored_of(progress=still),
            lag=LagUnknown(Reason.NATS_UNREACHABLE, since, failures),
            children=ALL,
        )
        for failures in (2, 3, 40)
    ]
    first = planned(views[0])
    assert "since 2027-01-15T07:59:55Z" in first.status.model_dump_json()
    for minutes, view in enumerate(views[1:], start=1):
        again = planned(replace(view, job=after(views[0], first).job), NOW + timedelta(minutes=minutes))
        assert again.status.dump() == first.status.dump()


def test_an_outage_of_postgres_is_written_once() -> None:
    view = view_of(trouble_of(JobReason.POSTGRES_UNREACHABLE, passing=True), children=ALL)
    first = planned(view)
    later = trouble_of(JobReason.POSTGRES_UNREACHABLE, passing=True, failures=9)
    again = planned(replace(after(view, first), stored=later), NOW + timedelta(minutes=3))
    assert again.status.dump() == first.status.dump()


def test_a_refused_child_does_not_repeat_the_events_of_the_job() -> None:
    view = view_of(stored_of(), lag=Lag(38), children=ALL)
    done = planned(view)
    refused = [
        c.model_copy(update={"reason": "ChildRefused", "status": "True" if c.type == "Stalled" else c.status})
        for c in done.status.conditions
    ]
    status = done.status.model_copy(update={"conditions": tuple(refused)})
    assert told(planned(replace(view, job=job_of(status=status)))) == []


@pytest.mark.parametrize(
    ("children", "roles"),
    [
        (ALL, ()),
        (replace(ALL, signing=replace(SIGNING, problem=REFUSED)), ("signing",)),
        (replace(ALL, signing=replace(SIGNING, problem=NO_NODE)), ()),
        (replace(ALL, keys=worker_of(KEYS, active=0, problem=UNMADE)), ("keys",)),
        (replace(ALL, keys=worker_of(KEYS, active=0, problem=replace(UNMADE, since=NOW))), ()),
    ],
)
def test_refused_pods_are_tried_again_soon(children: ChildrenView, roles: tuple[str, ...]) -> None:
    spec = spec_of(scaling={"pollingInterval": 300})
    done = planned(view_of(stored_of(spec), lag=Lag(40), children=children, job=job_of(spec)))
    assert done.nudge == roles
    assert not roles or done.requeue_after == NUDGE_SECONDS
