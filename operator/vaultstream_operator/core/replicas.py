"""The number of a job's signers: observed, decided, and recorded in its status."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from vaultstream.api import SigningJobSpec
from vaultstream.scaling.decide import decide, decide_next
from vaultstream.scaling.decision import Decision
from vaultstream.scaling.forecast import finish_at
from vaultstream.scaling.history import Change, History
from vaultstream.scaling.observation import (
    Lag,
    LagUnknown,
    Observation,
    Pause,
    Progress,
    Replicas,
    Timing,
    moment_text,
)
from vaultstream.scaling.reasons import LimitName, Reason
from vaultstream.scaling.workload import POD_DRAIN_SECONDS, POD_STARTUP_SECONDS, whole_lag
from vaultstream_operator.api.reasons import JobReason, Statement, say
from vaultstream_operator.api.status import (
    MOST_CHANGES_SHOWN,
    ConditionType,
    ScalingChange,
    ScalingStatus,
    progress_or_more,
    rate_to_show,
)
from vaultstream_operator.core.memory import ScalingMemory
from vaultstream_operator.core.report import Report
from vaultstream_operator.core.view import StoredJob, Trouble, View

ENDED = "Ended"
_PAUSES = (Reason.PAUSED, Reason.PAUSED_REPLICAS)


def decided(view: View, report: Report, stored: StoredJob, spec: SigningJobSpec) -> tuple[Decision, Report]:
    """Decides the number of signers of a running job, and reports the decision with the history that the next one needs."""
    if _planning_stopped(view, report.now):
        stored = replace(stored, batches_unplanned=0)
    observation = _observation(view, spec, lag_of(view.lag, stored), stored.started_at)
    observation = replace(
        observation,
        progress=stored.progress,
        keys_active=stored.keys_active,
        keys_asked=spec.keys.count,
        connections_left=stored.connections_left,
    )
    moment = report.now.timestamp()
    observation = stored.prior.applied(observation, moment)
    memory = report.memory or ScalingMemory()
    history = memory.history
    if memory.generation == _generation(view):
        history = history.without_unmade_change(observation.replicas.current)
    history = history.beginning_with(observation.replicas.current, moment)
    decision, history = decide_next(spec.scaling, observation, history, moment)
    if decision.changes_count:
        up = decision.desired > decision.current
        report = report.with_events(
            say(JobReason.SCALED_OUT if up else JobReason.SCALED_IN, decision=decision.explain())
        )
    report = report.remembering(memory.but(history, _generation(view)))
    report = _reported(report, decision, observation, history)
    report = _activity(report, decision, observation.pause)
    return decision, _deadline(report, decision, observation)


def held(
    view: View, report: Report, trouble: Trouble, spec: SigningJobSpec
) -> tuple[Decision | None, Report]:
    """Reports that the number of signers is held while Postgres is unreachable. Returns no decision if there are no signers.

    The fallback does not apply, because no signer can work without Postgres.
    """
    if view.children.signing is None:
        return None, report
    unknown = LagUnknown(Reason.POSTGRES_UNREACHABLE, trouble.since, trouble.failures)
    lag = view.lag if isinstance(view.lag, LagUnknown) else unknown
    observation = _observation(view, spec, lag, view.job.status.start_time)
    observation = replace(observation, pause=Pause())
    scaling = spec.scaling.model_copy(update={"fallback": None})
    decision = decide(scaling, observation, History(), report.now.timestamp())
    if decision.changes_count:  # the maximum was lowered: that waits too
        return None, report
    report = _reported(report, decision, observation, None)
    return decision, _activity(report, decision, observation.pause)


def unseen(view: View, report: Report) -> Report:
    """Reports a job of which Postgres says nothing now: the signers that its Deployment has, and no rate, lag or estimate from before."""
    report = report.but(
        records_per_second=None, eta=None, lag=None, progress=progress_or_more(report.status.progress)
    )
    scaling, signing = report.status.scaling, view.children.signing
    if scaling is None:
        return report
    current, ready = (signing.replicas, signing.ready) if signing else (0, 0)
    counted = scaling.model_copy(update={"replicas": current, "ready": ready})
    return report.but(scaling=counted, signers=f"{ready}/{scaling.desired}")


def stopped(view: View, report: Report, stored: StoredJob, statement: Statement) -> Report:
    """Reports that no signer is wanted because the job is suspended."""
    report = report.without(ConditionType.SCALING_ACTIVE, ConditionType.DEADLINE_AT_RISK)
    signing = view.children.signing
    report = report.but(
        eta=None, signers=f"{signing.ready if signing else 0}/0", lag=stored.progress.batches_left
    )
    return _at_zero(view, report, JobReason.SUSPENDED.value, "suspend = true", statement.message)


def ended(view: View, report: Report, stored: StoredJob) -> Report:
    """Reports that no signer is wanted because the job has ended."""
    return _at_zero(view, report, ENDED, f"state = {stored.state}", report.status.message)


def drained(view: View, report: Report) -> Report:
    """Reports how many signers of a job that has ended are still ready."""
    scaling, signing = report.status.scaling, view.children.signing
    if scaling is None or view.lost:
        return report
    return report.but(scaling=scaling.model_copy(update={"ready": signing.ready if signing else 0}))


def _at_zero(view: View, report: Report, reason: str, formula: str, message: str) -> Report:
    """Reports a count of zero that is not a scaling decision, and records the change to it once."""
    before = report.status.scaling
    if before is None:
        return report
    signing = view.children.signing
    current, ready = (signing.replicas, signing.ready) if signing else (0, 0)
    memory = report.memory or ScalingMemory()
    history = memory.history
    latest = history.changes[-1] if history.changes else None
    if current and not (latest and latest.reason == reason and latest.before == current):
        history = history.changed(current, 0, reason=reason, now=report.now.timestamp())
    # Also without a change: how long the job took to end is known only now.
    report = report.remembering(memory.but(history, _generation(view)))
    stopped_at_zero = {
        "replicas": current,
        "desired": 0,
        "ready": ready,
        "reason": reason,
        "limit": None,
        "formula": formula,
        "inputs": {},
        "hold": False,
        "message": message,
        "changes": _shown(history),
    }
    return report.but(scaling=before.model_copy(update=stopped_at_zero))


def lag_of(lag: Lag | LagUnknown | None, stored: StoredJob) -> Lag | LagUnknown:
    """Returns the lag including the batches that are not published to JetStream yet; see `whole_lag`."""
    return whole_lag(
        lag,
        batches_left=stored.progress.batches_left,
        unpublished=stored.batches_unpublished,
        published=stored.published,
        unplanned=stored.batches_unplanned,
    )


def _planning_stopped(view: View, now: datetime) -> bool:
    """Returns whether a worker without which no batch is planned and signed has a problem: what is expected may never come."""
    workers = (view.children.keys, view.children.records)
    return any(
        child is not None and child.problem is not None and child.problem.ripe(now) for child in workers
    )


def _observation(
    view: View, spec: SigningJobSpec, lag: Lag | LagUnknown, started_at: datetime | None
) -> Observation:
    signing = view.children.signing
    started = started_at.timestamp() if started_at else None
    return Observation(
        lag=lag,
        replicas=Replicas(signing.replicas, signing.ready, unplaced=signing.unplaced)
        if signing
        else Replicas(0),
        timing=Timing(
            created_at=view.job.created_at.timestamp(),
            finish_at=finish_at(spec.finish_by, spec.finish_within, started),
            startup_seconds=POD_STARTUP_SECONDS,
            drain_seconds=POD_DRAIN_SECONDS,
        ),
        progress=Progress(),
        pause=Pause.read(view.job.annotations),
    )


def _generation(view: View) -> int:
    signing = view.children.signing
    return signing.generation if signing else 0


def _shown(history: History) -> tuple[ScalingChange, ...]:
    """Returns the latest changes of the count, as the status shows them."""
    shown = (_change(change) for change in history.changes[-MOST_CHANGES_SHOWN:])
    return tuple(change for change in shown if change is not None)


def _change(change: Change) -> ScalingChange | None:
    try:
        at = datetime.fromtimestamp(change.at, UTC)
    except (OverflowError, ValueError, OSError):  # outside the calendar
        return None
    return ScalingChange(
        at=at, before=change.before, after=change.after, reason=change.reason, limit=change.limit
    )


def _reported(
    report: Report, decision: Decision, observation: Observation, history: History | None
) -> Report:
    before, dumped = report.status.scaling, decision.dump()
    known = before.changes if before else ()
    fields: Mapping[str, object] = {
        **dumped,
        "inputs": {name: _rounded(value) for name, value in dumped["inputs"].items()},
        "ready": observation.replicas.ready,
        "changes": known if history is None else _shown(history),
    }
    eta = None
    if decision.eta_seconds is not None:
        eta = (report.now + timedelta(seconds=decision.eta_seconds)).replace(microsecond=0)
    return report.but(
        scaling=ScalingStatus.model_validate(fields),
        eta=eta,
        lag=observation.lag.total if isinstance(observation.lag, Lag) else None,
        signers=f"{observation.replicas.ready}/{decision.desired}",
    )


def _rounded(value: object) -> object:
    return rate_to_show(value) if isinstance(value, float) else value


def _activity(report: Report, decision: Decision, pause: Pause) -> Report:
    """Reports whether the number of signers follows the lag. An annotation that can't be read is reported once."""
    if pause.problems:
        statement = say(JobReason.ANNOTATION_UNREADABLE, problem="; ".join(pause.problems) + ".")
    elif decision.hold or decision.reason in _PAUSES:
        statement = say(JobReason.SCALING_HELD, decision=decision.explain())
    elif decision.reason is Reason.FALLBACK:
        statement = say(JobReason.SCALING_FALLS_BACK, decision=decision.explain())
    else:
        statement = say(JobReason.SCALING_FOLLOWS_LAG, decision=decision.explain())
    follows = statement.reason is JobReason.SCALING_FOLLOWS_LAG
    before = _found(report, ConditionType.SCALING_ACTIVE)
    if pause.problems and before != (statement.reason, statement.message):
        report = report.with_events(statement)
    return report.condition(
        ConditionType.SCALING_ACTIVE, holds=follows, reason=statement.reason, message=statement.message
    )


def _deadline(report: Report, decision: Decision, observation: Observation) -> Report:
    """Reports whether the job can end by its finishing time, once that is known, and each change of that forecast."""
    finish = observation.timing.finish_at
    if finish is None:
        return report.without(ConditionType.DEADLINE_AT_RISK)
    unknown = decision.eta_seconds is None or observation.progress.settling
    if unknown and not decision.deadline_at_risk:
        return report
    when = moment_text(finish)
    if decision.deadline_at_risk:
        bounds = [decision.inputs.get(name) for name in ("max", "keysActive", "keysAsked")]
        if decision.limit is not None and decision.limit.name is LimitName.DATABASE_CONNECTIONS:
            bounds.append(decision.limit.value)
        most = min(int(bound) for bound in bounds if bound is not None)
        shortfall = (
            decision.shortfall.clause() if decision.shortfall else "not all records are signed in time"
        )
        statement = say(JobReason.DEADLINE_AT_RISK, finish_at=when, most=most, shortfall=shortfall)
    else:
        statement = say(JobReason.DEADLINE_ON_TRACK, finish_at=when)
    before = _found(report, ConditionType.DEADLINE_AT_RISK)
    turned = statement.reason != (before[0] if before else JobReason.DEADLINE_ON_TRACK)
    if turned:
        report = report.with_events(statement)
    return report.condition(
        ConditionType.DEADLINE_AT_RISK,
        holds=decision.deadline_at_risk,
        reason=statement.reason,
        message=statement.message,
    )


def _found(report: Report, kind: ConditionType) -> tuple[str, str] | None:
    """Returns reason and message of a condition in the current status; None if it is not there."""
    return next(((c.reason, c.message) for c in report.before.conditions if c.type == kind), None)
