"""Plans the next step for a SigningJob: a pure function of its observed state, called whenever something changes.

deleting      delete the children; have the deletion sealed; delete the data in Postgres and JetStream, then the finalizer
ended         delete the children, keep the status; delete the object after its time to live
new           add the finalizer, create the job in Postgres, then its workers
in trouble    change only the status; workers keep running
lost          the namespace can't be worked in: change only the status, until it is found again
suspended     suspend the job in Postgres; delete its workers, after the signers have drained
running       keep the workers as they should be, and scale the signers
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from math import inf
from typing import Final

from vaultstream.api import JobState, SigningJobSpec
from vaultstream.api.signingjob import IMMUTABLE
from vaultstream.scaling.decision import Decision
from vaultstream.scaling.workload import wait_for_records
from vaultstream_operator.api import conditions
from vaultstream_operator.api.reasons import JobReason, Statement, say
from vaultstream_operator.api.status import ConditionType, JobStatus
from vaultstream_operator.core import children, pod_policy, replicas, standing
from vaultstream_operator.core.children import Manifest, WorkerOptions
from vaultstream_operator.core.memory import ScalingMemory
from vaultstream_operator.core.report import Report, end_of
from vaultstream_operator.core.view import FINALIZER, StoredJob, Trouble, View, WorkerJobView

SHORTLY = 1.0
"""Seconds until the next reconcile of something in progress."""
LATER = 5.0
"""Seconds until the next reconcile of something that a person has to fix."""
DELETION_SEAL_SECONDS = 60.0
"""How long a deletion waits for its seal: no missing or wrong seal key keeps a namespace from being removed."""
NUDGE_SECONDS = 10.0
"""Interval at which Kubernetes is made to try again to create pods that were refused. By itself, it waits twice as long each time."""
LOST_MOMENT_SECONDS = 5.0
"""How long a deletion waits for a lost namespace, whose workers may run: a RoleBinding that is replaced is missing for a moment."""


class StoreAction(StrEnum):
    """An action on the job in Postgres and JetStream."""

    CREATE = "create"
    REMOVE_FORMER = "remove-former"
    ADOPT = "adopt"
    """Gives the job to the tenant that its namespace has become."""
    UPDATE_SPEC = "update-spec"
    SUSPEND = "suspend"
    RESUME = "resume"
    FAIL = "fail"
    MARK_DELETED = "mark-deleted"
    """Deletes its keys and frees its name, and keeps the rows that are sealed once more."""
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Plan:
    """Actions in the order in which they are carried out. Each is safe to repeat.

    Attributes:
        add_finalizer, remove_finalizer: change the finalizer of the object.
        store: the action in Postgres and JetStream, followed by another reconcile.
        mark_idle: mark pods that hold no key to be deleted first, before the number of signers is lowered.
        apply: manifests for server-side apply.
        delete: roles whose child to delete.
        nudge: roles whose pods were refused and are to be tried again.
        status: the whole status.
        events: the Events to record.
        delete_object: delete the SigningJob, because its time to live is over; last, after its Events.
        decision: the scaling decision, if one was made.
        memory: what scaling remembers after it; None: nothing is known of it, or the job is being deleted.
        requeue_after: seconds until the next reconcile, unless a change comes first; None: only after a change.
    """

    status: JobStatus
    add_finalizer: bool = False
    remove_finalizer: bool = False
    store: StoreAction | None = None
    apply: tuple[Manifest, ...] = ()
    mark_idle: bool = False
    nudge: tuple[str, ...] = ()
    delete: tuple[str, ...] = ()
    delete_object: bool = False
    events: tuple[Statement, ...] = ()
    decision: Decision | None = None
    memory: ScalingMemory | None = None
    requeue_after: float | None = None


_ENDS: Final = frozenset({JobState.COMPLETE, JobState.FAILED})


@dataclass(frozen=True, slots=True)
class _Case:
    """The inputs of the phases; `report` starts from the previous status."""

    view: View
    report: Report
    options: WorkerOptions
    now: datetime


def plan(view: View, options: WorkerOptions, now: datetime) -> Plan:
    """Returns the plan for a job in the state that was observed."""
    case = _Case(view, Report.on(view, now), options, now)
    if view.job.deleting:
        return _deleting(case)
    if conditions.ended_by(view.job.status.conditions) is not None:
        if not _goes_on(view.stored):
            return _ended(case)
        # Whoever wrote that it has ended: Postgres is the authority.
        case = replace(case, report=case.report.not_ended())
    if view.lost:
        return _lost(case)
    if view.job.spec is None:  # without a finalizer if it has none: nothing was made that needs to be removed
        reason = JobReason.TOO_LARGE if view.job.too_large else JobReason.SPEC_NOT_UNDERSTOOD
        return _saying(case.report.stalled(say(reason, problem=view.job.problem)))
    if FINALIZER not in view.job.finalizers:
        return replace(
            _saying(case.report.trying(say(JobReason.STARTING))), add_finalizer=True, requeue_after=0.0
        )
    return _alive(case, view.job.spec)


def _goes_on(stored: StoredJob | Trouble | None) -> bool:
    """Returns whether Postgres knows that a job has not ended."""
    return isinstance(stored, StoredJob) and stored.ours and stored.state not in _ENDS


def _alive(case: _Case, spec: SigningJobSpec) -> Plan:
    match case.view.stored:
        case Trouble() as trouble:
            return _in_trouble(case, trouble, spec)
        case StoredJob(ours=True) as stored:
            return _going(case, stored, spec)
        case stored:
            if forbidden := _forbidden(case, spec):
                return replace(_saying(case.report.stalled(forbidden)), requeue_after=LATER)
            action = StoreAction.CREATE if stored is None else StoreAction.REMOVE_FORMER
            return replace(
                _saying(case.report.trying(say(JobReason.STARTING))), store=action, requeue_after=0.0
            )


def _deleting(case: _Case) -> Plan:
    job, stored = case.view.job, case.view.stored
    if FINALIZER not in job.finalizers:
        return _saying(case.report)
    policy = job.spec.deletion_policy if job.spec else "Retain"
    what = "all of its data" if policy == "Delete" else "all of its data except its signatures"
    report = case.report.but(state=JobState.DELETING)
    deleting = report
    if JobReason.CLEANUP_BLOCKED not in report.standing:
        deleting = report.on_the_way(say(JobReason.DELETING, what=what))
    if case.view.lost and case.view.lost_for < LOST_MOMENT_SECONDS:
        return replace(_saying(deleting), requeue_after=SHORTLY)
    sealer = _sealer(case, stored)
    if going := tuple(role for role in _roles(case.view) if not _seals(case.view, role, sealer)):
        return replace(_saying(deleting), delete=going, requeue_after=SHORTLY)
    if isinstance(stored, Trouble) and stored.reason is not JobReason.TABLE_UNUSABLE:
        blocked = say(JobReason.CLEANUP_BLOCKED, problem=stored.problem, finalizer=FINALIZER)
        report = report.on_the_way(blocked) if stored.passing else report.stalled(blocked)
        return replace(_saying(report), requeue_after=_patience(stored))
    deleted = report.on_the_way(say(JobReason.DELETED, what=what))
    if isinstance(stored, StoredJob) and stored.ours:
        return _removing(case, stored, policy, deleting, deleted)
    return replace(_saying(deleted), remove_finalizer=True)


def _removing(case: _Case, stored: StoredJob, policy: str, deleting: Report, deleted: Report) -> Plan:
    """Removes the job from Postgres. One that has a seal keeps its rows until another one says that it was deleted."""
    if stored.seal is not None and stored.deleted_at is None and case.view.job.status.token == stored.token:
        return replace(_saying(deleting), store=StoreAction.MARK_DELETED, requeue_after=0.0)
    if sealer := _sealer(case, stored):
        apply = () if case.view.lost or case.view.children.records else (sealer,)
        return replace(_saying(deleting), apply=apply, requeue_after=SHORTLY)
    if stored.seal is not None and not stored.deletion_sealed:
        seconds = f"{DELETION_SEAL_SECONDS:g}"
        unsealed = say(JobReason.DELETION_UNSEALED, token=stored.token, seconds=seconds)
        deleting, deleted = deleting.with_events(unsealed), deleted.with_events(unsealed)
    if policy == "Delete" or stored.deleted_at is None:
        return replace(_saying(deleting), store=StoreAction.DELETE, requeue_after=0.0)
    return replace(_saying(deleted), remove_finalizer=True)


def _sealer(case: _Case, stored: StoredJob | Trouble | None) -> Manifest | None:
    """Returns the worker that seals the deletion of a sealed job; None if there is nothing to seal, or no time left."""
    if not isinstance(stored, StoredJob) or not stored.ours or stored.deletion_sealed:
        return None
    if stored.seal is None or stored.deleted_at is None:
        return None
    if (stored.read_at - stored.deleted_at).total_seconds() > DELETION_SEAL_SECONDS:
        return None
    return children.deletion_job(case.view.job.owner, stored.token, stored.spec, case.options)


def _seals(view: View, role: str, sealer: Manifest | None) -> bool:
    """Whether the child of a role is the worker that seals the deletion, and has not exited."""
    child = view.children.records
    if role != children.RECORDS or child is None or sealer is None:
        return False
    return not child.over and child.template == children.template_of(sealer)


def _ended(case: _Case) -> Plan:
    """Keeps the final status; deletes the children and, after its time to live, the object."""
    job, report = case.view.job, replicas.drained(case.view, case.report)
    if case.view.lost:
        return _saying(report)
    if isinstance(case.view.stored, Trouble):  # nothing is deleted before it is known that the job has ended
        return replace(_saying(report), requeue_after=_patience(case.view.stored))
    if case.view.children.any:
        return replace(_saying(report), delete=_roles(case.view), requeue_after=SHORTLY)
    ttl = job.spec.ttl_seconds_after_finished if job.spec else None
    stored = case.view.stored
    known = stored.finished_at if isinstance(stored, StoredJob) and stored.ours else None
    finished_at = known or report.status.completion_time
    if ttl is None or finished_at is None:
        return _saying(report)
    left = (finished_at + timedelta(seconds=ttl) - case.now).total_seconds()
    if left > 0:
        return replace(_saying(report), requeue_after=max(left, SHORTLY))
    over = say(JobReason.TIME_TO_LIVE_OVER, seconds=f"{ttl:g}")
    report = (report if report.said(over) else report.with_events(over)).but(message=over.message)
    return replace(_saying(report), delete_object=True, requeue_after=LATER)


def _lost(case: _Case) -> Plan:
    """Reports that the operator can't work in the namespace, and what Postgres knows of the job. Workers may still run."""
    view, report = case.view, case.report
    if isinstance(view.stored, StoredJob) and view.stored.ours:
        report = report.counted(view.stored)
        if view.stored.state in _ENDS:
            return _saying(replicas.ended(view, report.ended(end_of(view.stored), view.stored), view.stored))
    lost = say(JobReason.NAMESPACE_LOST, namespace=view.job.owner.namespace, problem=view.lost)
    return replace(_saying(report.stalled(lost)), requeue_after=LATER)


def _in_trouble(case: _Case, trouble: Trouble, spec: SigningJobSpec) -> Plan:
    statement = say(trouble.reason, problem=trouble.problem)
    report, decision = replicas.unseen(case.view, case.report), None
    if not trouble.passing:
        return replace(_saying(report.stalled(statement)), requeue_after=_patience(trouble))
    report = report.on_the_way(statement)
    if trouble.reason is JobReason.POSTGRES_UNREACHABLE:
        decision, report = replicas.held(case.view, report, trouble, spec)
    return replace(_saying(report), decision=decision, requeue_after=_patience(trouble))


def _patience(trouble: Trouble) -> float:
    """An unreachable service is retried soon, then less often, because many jobs may depend on it."""
    return min(LATER, SHORTLY * trouble.failures) if trouble.passing else LATER


def _going(case: _Case, stored: StoredJob, spec: SigningJobSpec) -> Plan:  # noqa: PLR0911 - a phase each
    report = case.report.counted(stored)
    if stored.state in _ENDS:
        report = replicas.ended(case.view, report.ended(end_of(stored), stored), stored)
        return _ended(replace(case, report=report))
    if stored.orphan:
        return replace(_saying(report), store=StoreAction.ADOPT, requeue_after=0.0)
    if spec.suspend:
        return _suspended(case, report, stored, spec)
    resumed = report.without(ConditionType.SUSPENDED)
    if stored.state == JobState.SUSPENDED:
        return replace(
            _saying(resumed.trying(say(JobReason.RESUMED))), store=StoreAction.RESUME, requeue_after=0.0
        )
    if spec.overdue(stored.started_at, case.now):
        return replace(_saying(report), store=StoreAction.FAIL, requeue_after=0.0)
    if changed := changed_fields(stored.spec, spec):
        statement = say(JobReason.SPEC_CHANGED, fields=", ".join(changed))
        return replace(_saying(resumed.trying(statement)), store=StoreAction.UPDATE_SPEC, requeue_after=0.0)
    if forbidden := _forbidden(case, spec):
        return replace(_saying(resumed.stalled(forbidden)), requeue_after=LATER)
    return _running(case, resumed, stored, spec)


def changed_fields(old: SigningJobSpec, new: SigningJobSpec) -> list[str]:
    """Returns the mutable fields of the spec that differ, by their names in YAML.

    `suspend` is not among them: it has its own action.
    """
    before, after = old.dump(), new.dump()
    names = [*after, *(name for name in before if name not in after)]
    return [
        name for name in names if name not in {*IMMUTABLE, "suspend"} and before.get(name) != after.get(name)
    ]


def _suspended(case: _Case, report: Report, stored: StoredJob, spec: SigningJobSpec) -> Plan:
    view = case.view
    signing, roles = view.children.signing, _roles(view)
    asked, there = (signing.replicas, max(signing.ready, signing.pods)) if signing else (0, 0)
    leaving = asked > 0 or there > 0
    statement = say(JobReason.SUSPENDING, signers=max(asked, there)) if leaving else say(JobReason.SUSPENDED)
    report = report.but(state=JobState.SUSPENDED)
    report = report.on_the_way(statement) if leaving else report.settled(statement)
    report = report.condition(
        ConditionType.SUSPENDED, holds=True, reason=statement.reason, message=statement.message
    )
    report = replicas.stopped(view, report, stored, statement)
    apply = children.signing_deployment(view.job.owner, stored.token, spec, case.options, replicas=0)
    workers = tuple(role for role in roles if role != children.SIGNING)
    unknown = stored.state != JobState.SUSPENDED
    return replace(
        _saying(report),
        store=StoreAction.SUSPEND if unknown else None,
        apply=(apply,) if asked else (),
        delete=workers,
        requeue_after=SHORTLY if leaving or workers or unknown else None,
    )


def _forbidden(case: _Case, spec: SigningJobSpec) -> Statement | None:
    problem = pod_policy.refused(spec, case.options)
    return say(JobReason.SPEC_NOT_ALLOWED, problem=problem) if problem else None


def _running(case: _Case, report: Report, stored: StoredJob, spec: SigningJobSpec) -> Plan:
    view, owner = case.view, case.view.job.owner
    decision, report = replicas.decided(view, report, stored, spec)
    report = report.but(state=JobState.RUNNING if stored.started_at else JobState.PENDING)
    report = standing.reported(view, report, stored, case.options, case.now)
    workers = {
        role: children.worker_job(owner, role, stored.token, spec, case.options)
        for role in (children.KEYS, children.RECORDS)
    }
    found: dict[str, WorkerJobView | None] = {
        children.KEYS: view.children.keys,
        children.RECORDS: view.children.records,
    }
    # A Job's pods can't be changed: an outdated one is deleted with its pods, and only then created again.
    outdated = [
        role
        for role, child in found.items()
        if child is not None and child.template != children.template_of(workers[role])
    ]
    if news := [role for role in outdated if (child := found[role]) is not None and not child.leaving]:
        named = f"{' and '.join(news)} worker{'s' if len(news) > 1 else ''}"
        report = report.with_events(say(JobReason.WORKERS_REPLACED, roles=named))
    going = tuple(
        role for role, child in found.items() if child is not None and (child.over or role in outdated)
    )
    missing = tuple(workers[role] for role, child in found.items() if child is None)
    signers = children.signing_deployment(owner, stored.token, spec, case.options, replicas=decision.desired)
    nudge = standing.roles_refused(view, case.now)
    interval = min(float(spec.scaling.polling_interval), NUDGE_SECONDS if nudge else inf)
    soon = (
        SHORTLY if going or decision.soon or standing.ripening(view, case.now) else _beginning(case, stored)
    )
    return replace(
        _saying(report),
        apply=(*missing, signers),
        mark_idle=decision.desired < decision.current,
        nudge=tuple(role for role in nudge if role not in going),
        delete=going,
        decision=decision,
        requeue_after=min(soon, interval),
    )


def _beginning(case: _Case, stored: StoredJob) -> float:
    """Seconds until the next reconcile of a job that may have its first records then, which only a reconcile can see."""
    if stored.started_at is not None and stored.records > 0:
        return inf
    return wait_for_records((case.now - case.view.job.created_at).total_seconds())


def _saying(report: Report) -> Plan:
    return Plan(report.status, events=report.events, memory=report.memory)


def _roles(view: View) -> tuple[str, ...]:
    present = (
        (children.SIGNING, view.children.signing),
        (children.RECORDS, view.children.records),
        (children.KEYS, view.children.keys),
    )
    return tuple(role for role, child in present if child is not None)
