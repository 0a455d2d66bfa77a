"""The report of a plan: the status to write, and the Events to record with it.

Reporting the same thing twice changes nothing: the status shows what was reported, so no Event is recorded again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from vaultstream.api import JobState
from vaultstream_operator.api import conditions
from vaultstream_operator.api.reasons import JobReason, Statement, say
from vaultstream_operator.api.status import (
    ConditionType,
    JobStatus,
    SealStatus,
    progress_text,
    rate_to_show,
)
from vaultstream_operator.core.memory import ScalingMemory
from vaultstream_operator.core.view import StoredJob, View

_STANDING = (
    ConditionType.RECONCILING,
    ConditionType.STALLED,
    ConditionType.SUSPENDED,
    ConditionType.COMPLETE,
    ConditionType.FAILED,
)
"""Conditions whose reason was reported already while they are True."""

_KEPT_FROM: Final = frozenset({JobReason.POSTGRES_UNREACHABLE, JobReason.NATS_UNREACHABLE})
"""Problems that block a job but are not a stall, because they end without anyone's action."""

_REFUSED: Final = frozenset({JobReason.CHILD_REFUSED, JobReason.CHILD_NOT_OURS})


@dataclass(frozen=True, slots=True)
class Report:
    """A status that is being built.

    Attributes:
        status: the status to write.
        events: the Events to record.
        before: the current status of the SigningJob.
        generation: generation of the spec that the report is about.
        now: time of the report.
        memory: what scaling remembers after it; None: it is not known, or the job is being deleted.
    """

    status: JobStatus
    events: tuple[Statement, ...]
    before: JobStatus
    generation: int
    now: datetime
    memory: ScalingMemory | None = None

    @classmethod
    def on(cls, view: View, now: datetime) -> Report:
        """Returns a report that keeps the current status, for the current generation of the spec."""
        before, generation = view.job.status, view.job.generation
        status = before.model_copy(update={"observed_generation": generation})
        # Not of a job that is being deleted: it may be gone from Postgres when this is stored.
        stored = None if view.job.deleting else view.stored
        memory = stored.memory if isinstance(stored, StoredJob) and stored.ours else None
        return cls(status, (), before, generation, now, memory)

    def but(self, **fields: Any) -> Report:
        """Returns the report with these fields of the status changed."""
        return replace(self, status=self.status.model_copy(update=fields))

    def remembering(self, memory: ScalingMemory) -> Report:
        """Returns the report after a decision of which scaling remembers this."""
        return replace(self, memory=memory)

    def with_events(self, *statements: Statement) -> Report:
        """Returns the report with these Events added, whether or not they were reported before."""
        return replace(self, events=(*self.events, *statements))

    def condition(self, kind: ConditionType, *, holds: bool, reason: str, message: str) -> Report:
        """Returns the report with one condition set."""
        listed = conditions.set_condition(
            self.status.conditions,
            kind,
            holds,
            reason=reason,
            message=message,
            generation=self.generation,
            now=self.now,
        )
        return self.but(conditions=listed)

    def without(self, *kinds: ConditionType) -> Report:
        """Returns the report without conditions of these types; the end of a job is not dropped."""
        listed = self.status.conditions
        for kind in kinds:
            listed = conditions.drop_condition(listed, kind)
        return self.but(conditions=listed)

    def not_ended(self) -> Report:
        """Returns the report without the end that the current status states."""
        listed = tuple(c for c in self.status.conditions if c.type not in conditions.TERMINAL)
        return self.but(conditions=listed, completion_time=None)

    def on_the_way(self, statement: Statement) -> Report:
        """Returns the report of a job that makes progress, or will do so by itself."""
        return self.stating(conditions.PROGRESSING, statement)

    def trying(self, statement: Statement) -> Report:
        """Like `on_the_way`, but keeps the report of an earlier problem until the step has succeeded."""
        if self.standing & _KEPT_FROM or conditions.is_true(self.before.conditions, ConditionType.STALLED):
            return self
        return self.on_the_way(statement)

    def stalled(self, statement: Statement) -> Report:
        """Returns the report of a job that waits until a person fixes something."""
        return self.stating(conditions.STALLED, statement)

    def settled(self, statement: Statement) -> Report:
        """Returns the report of a job that matches its spec."""
        return self.stating(conditions.SETTLED, statement)

    def ended(self, statement: Statement, stored: StoredJob) -> Report:
        """Returns the report of a job that has ended. It is final."""
        complete = stored.state == JobState.COMPLETE
        report = self.without(
            ConditionType.SUSPENDED, ConditionType.SCALING_ACTIVE, ConditionType.DEADLINE_AT_RISK
        ).but(
            state=stored.state,
            completion_time=stored.finished_at or self.now,
            lag=0 if complete else self.status.lag,
            eta=None,
            signers="",
        )
        return report.stating(conditions.COMPLETED if complete else conditions.FAILED, statement)

    def counted(self, stored: StoredJob) -> Report:
        """Returns the report with the counts from Postgres."""
        rate = stored.records_per_second
        settled = stored.signed + stored.dead
        return self.but(
            token=stored.token,
            records=stored.records,
            planned=stored.planned,
            signed=stored.signed,
            dead=stored.dead,
            progress=progress_text(settled=settled, records=stored.records, planned=stored.planned),
            records_per_second=None if rate is None else rate_to_show(rate),
            start_time=stored.started_at,
            seal=newer_seal(self.before.seal, stored.seal),
        )

    @property
    def standing(self) -> set[str]:
        """Reasons of the conditions that are True in the current status."""
        return {c.reason for c in self.before.conditions if c.status == "True" and c.type in _STANDING}

    def said(self, statement: Statement) -> bool:
        """Returns whether the current status already reports this."""
        return statement.reason in self.standing or self.before.message == statement.message

    def stating(self, states: conditions.States, statement: Statement) -> Report:
        """Returns the report with the statement as message and in the conditions, and with an Event if it is new."""
        listed = conditions.set_conditions(
            self.status.conditions,
            states,
            reason=statement.reason,
            message=statement.message,
            generation=self.generation,
            now=self.now,
        )
        report = self.but(conditions=listed, message=statement.message)
        refused = statement.event_type == "Normal" and self.standing & _REFUSED  # and may be refused again
        return report if refused or self.said(statement) else report.with_events(statement)


def newer_seal(before: SealStatus | None, found: SealStatus | None) -> SealStatus | None:
    """Returns which of two seals the status shows: that of the larger log, or the one that was found if the log is another.

    So the copy of a checkpoint outlives a database that was rolled back.
    """
    if before is None or found is None:
        return found or before
    return before if before.origin == found.origin and before.size > found.size else found


def end_of(stored: StoredJob) -> Statement:
    """Returns how a job ended, from its counts in Postgres."""
    table, seconds = stored.spec.records.table, stored.spec.active_deadline_seconds
    if stored.state == JobState.FAILED and seconds is not None:
        left = max(0, stored.records - stored.signed - stored.dead)
        return say(JobReason.DEADLINE_EXCEEDED, seconds=seconds, signed=stored.signed, left=left)
    if stored.state == JobState.FAILED:
        return Statement(JobReason.DEADLINE_EXCEEDED, stored.message, "Warning")
    if stored.dead:
        return say(
            JobReason.DEAD_LETTERS,
            signed=stored.signed,
            records=stored.records,
            dead=stored.dead,
            table=table,
            token=stored.token,
        )
    return say(JobReason.ALL_SIGNED, records=stored.records, table=table)
