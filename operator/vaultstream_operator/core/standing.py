"""What a running job is doing, or what blocks it."""

from __future__ import annotations

from datetime import datetime

from vaultstream.api.signingjob import NOT_SEALED
from vaultstream.scaling.observation import LagUnknown
from vaultstream.scaling.reasons import Reason
from vaultstream_operator.api.reasons import JobReason, Statement, say
from vaultstream_operator.core import children, pod_problems, replicas
from vaultstream_operator.core.children import WorkerOptions
from vaultstream_operator.core.pod_problems import Ailment, Cause
from vaultstream_operator.core.report import Report
from vaultstream_operator.core.view import StoredJob, View


def reported(view: View, report: Report, stored: StoredJob, options: WorkerOptions, now: datetime) -> Report:
    """Reports what blocks the job, or else what it is doing."""
    if stored.message.startswith(NOT_SEALED):
        return report.stalled(say(JobReason.NOT_SEALED, problem=stored.message.removeprefix(NOT_SEALED)))
    if stored.message:
        return report.stalled(say(JobReason.TABLE_UNUSABLE, problem=stored.message))
    for role, worker in ((children.KEYS, view.children.keys), (children.RECORDS, view.children.records)):
        if worker is not None and (ailment := _reportable(now, worker.problem)):
            return report.stalled(pod_problems.statement(ailment, role, 1, view.job.owner, options))
    if stored.keys_active == 0:
        return report.stalled(say(JobReason.NO_ACTIVE_KEY, count=stored.keys_made, token=stored.token))
    signing = view.children.signing
    if signing is not None and (ailment := _reportable(now, signing.problem)):
        pods = max(1, signing.replicas - signing.ready)
        statement = pod_problems.statement(ailment, children.SIGNING, pods, view.job.owner, options)
        stops = ailment.stops(signing.ready)
        return report.stalled(statement) if stops else report.on_the_way(statement)
    return report.on_the_way(_doing(view, stored))


def _reportable(now: datetime, ailment: Ailment | None) -> Ailment | None:
    return ailment if ailment is not None and ailment.ripe(now) else None


def ripening(view: View, now: datetime) -> bool:
    """Returns whether a problem may soon have to be reported without a change that triggers a reconcile."""
    there = view.children
    found = [child.problem for child in (there.keys, there.records, there.signing) if child is not None]
    return any(ailment is not None and not ailment.ripe(now) for ailment in found)


def roles_refused(view: View, now: datetime) -> tuple[str, ...]:
    """Returns the roles whose pods Kubernetes refuses to create. Nothing announces that it would now allow them."""
    there = view.children
    roles = (
        (children.KEYS, there.keys),
        (children.RECORDS, there.records),
        (children.SIGNING, there.signing),
    )
    return tuple(
        role
        for role, child in roles
        if child is not None
        and (ailment := _reportable(now, child.problem))
        and ailment.cause in (Cause.REFUSED, Cause.NOT_MADE)
    )


def _doing(view: View, stored: StoredJob) -> Statement:
    """What the job does, or waits for without anyone having to do something."""
    spec = stored.spec
    lag = replicas.lag_of(view.lag, stored)
    if isinstance(lag, LagUnknown) and lag.state is Reason.NATS_UNREACHABLE:
        return say(JobReason.NATS_UNREACHABLE, problem="the lag of its consumer can't be read.")
    if isinstance(lag, LagUnknown) and lag.state is Reason.CONSUMER_MISSING:
        return say(JobReason.CONSUMER_MISSING)
    if stored.keys_made < spec.keys.count:
        return say(JobReason.MAKING_KEYS, made=stored.keys_made, count=spec.keys.count)
    if not stored.planned:
        return say(JobReason.PLANNING, table=spec.records.table, records=stored.records)
    return say(JobReason.SIGNING)
