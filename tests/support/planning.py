"""SigningJobs as the operator sees them, as input for plans."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from vaultstream.api import JobState, SigningJobSpec
from vaultstream.scaling.observation import Lag, LagUnknown, Progress
from vaultstream_operator.api.reasons import JobReason
from vaultstream_operator.api.status import JobStatus
from vaultstream_operator.core.children import KEYS, RECORDS, Owner, template_of, worker_job
from vaultstream_operator.core.plan import Plan, plan
from vaultstream_operator.core.pod_problems import Ailment, Cause
from vaultstream_operator.core.view import (
    FINALIZER,
    ChildrenView,
    ObjectView,
    SignersView,
    StoredJob,
    Trouble,
    View,
    WorkerJobView,
)
from vaultstream_operator.settings import WorkerSettings

NOW = datetime(2027, 1, 15, 8, 0, 0, tzinfo=UTC)
OPTIONS = WorkerSettings()
OWNER = Owner("shop", "receipts", "0f8fad5b-d9cb-469f-a165-70867728950e")
TOKEN = "receipts-0011aabb"


def spec_of(**fields: Any) -> SigningJobSpec:
    scaling = {"lagThreshold": 10, **fields.pop("scaling", {})}
    return SigningJobSpec.model_validate(
        {"records": {"table": "receipts"}, "keys": {"count": 50}, "scaling": scaling, **fields}
    )


def worker_of(role: str, **fields: Any) -> WorkerJobView:
    """A worker's Kubernetes Job as the operator now creates it, with one running pod."""
    template = template_of(worker_job(OWNER, role, TOKEN, spec_of(), OPTIONS))
    return replace(WorkerJobView(active=1, failed=0, succeeded=0, template=template), **fields)


KEYS_RUN, RECORDS_RUN = worker_of(KEYS), worker_of(RECORDS)
DONE = worker_of(KEYS, active=0, succeeded=1)
ALL = ChildrenView(KEYS_RUN, RECORDS_RUN, SignersView(replicas=4, ready=4))
CRASHING = Ailment(Cause.CRASHING, "it left with exit code 5. Postgres does not answer.", exit_code=5)
NO_IMAGE = Ailment(Cause.IMAGE, "ErrImagePull: no such image.")
NO_NODE = Ailment(Cause.NO_NODE, "0/3 nodes are available.", since=NOW - timedelta(minutes=1))
REFUSED = Ailment(Cause.REFUSED, "exceeded quota: few.")


def job_of(
    spec: SigningJobSpec | None = None,
    *,
    status: JobStatus | None = None,
    finalizers: tuple[str, ...] = (FINALIZER,),
    deleting: bool = False,
    annotations: dict[str, str] | None = None,
    problem: str = "",
) -> ObjectView:
    return ObjectView(
        owner=OWNER,
        generation=3,
        resource_version="17",
        created_at=NOW - timedelta(minutes=10),
        deleting=deleting,
        finalizers=finalizers,
        annotations=annotations or {},
        spec=None if problem else spec or spec_of(),
        problem=problem,
        status=status or JobStatus(),
    )


def stored_of(spec: SigningJobSpec | None = None, **fields: Any) -> StoredJob:
    """A running job: 1,000 of 20,000 records signed, 38 of 40 batches left."""
    stored = StoredJob(
        token=TOKEN,
        state=JobState.RUNNING,
        message="",
        ours=True,
        spec=spec or spec_of(),
        started_at=NOW - timedelta(minutes=5),
        finished_at=None,
        planned=True,
        records=20_000,
        signed=1_000,
        dead=0,
        progress=Progress(records_left=19_000, batches_left=38, planned=True, records_per_second=500.0),
        keys_active=50,
        keys_made=50,
        records_per_second=500.0,
        read_at=NOW,
        published=True,
    )
    return replace(stored, **fields)


def view_of(
    stored: StoredJob | Trouble | None = None,
    *,
    lag: Lag | LagUnknown | None = None,
    children: ChildrenView | None = None,
    job: ObjectView | None = None,
) -> View:
    return View(job=job or job_of(), stored=stored, lag=lag, children=children or ChildrenView())


def planned(view: View, now: datetime = NOW) -> Plan:
    return plan(view, OPTIONS, now)


def trouble_of(reason: JobReason, *, passing: bool, failures: int = 1) -> Trouble:
    return Trouble(reason, "it says so.", passing, since=NOW.timestamp() - 5.0, failures=failures)


def after(view: View, done: Plan) -> View:
    """The view after the plan's status and memory were written and the deletion of workers was requested."""
    there = view.children
    leaving = {
        role: replace(child, leaving=True)
        for role, child in ((KEYS, there.keys), (RECORDS, there.records))
        if child is not None and role in done.delete
    }
    job = replace(view.job, status=JobStatus.model_validate(done.status.dump()))
    stored = view.stored
    if isinstance(stored, StoredJob) and done.memory is not None:
        stored = replace(stored, memory=done.memory)
    return replace(view, job=job, stored=stored, children=replace(there, **leaving))


def truths(done: Plan) -> dict[str, str]:
    """The reasons of all conditions that are True."""
    return {c.type: c.reason for c in done.status.conditions if c.status == "True"}


def told(done: Plan) -> list[str]:
    return [str(statement.reason) for statement in done.events]


def replicas_of(done: Plan) -> int | None:
    """The replicas of the Deployment that is applied; None: none is applied."""
    return next((m["spec"]["replicas"] for m in done.apply if m["kind"] == "Deployment"), None)


def kinds_of(done: Plan) -> list[str]:
    return [f"{m['kind']}/{m['metadata']['name']}" for m in done.apply]
