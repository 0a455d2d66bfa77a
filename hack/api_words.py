"""The sections of the API reference on states, conditions, reasons and scaling decisions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from markdown import cell, prose, table
from vaultstream.api import JobState
from vaultstream.scaling.reasons import LimitName, limit_clause, reason_clause
from vaultstream.scaling.reasons import Reason as ScalingReason
from vaultstream_operator.api.reasons import JobReason, Statement, say
from vaultstream_operator.api.status import ConditionType

CONDITIONS: Final[Mapping[ConditionType, str]] = {
    ConditionType.COMPLETE: "The job has ended, and every record is signed or a dead letter. Final.",
    ConditionType.FAILED: "The job did not end within `activeDeadlineSeconds`. Its signatures are kept. Final.",
    ConditionType.SUSPENDED: "`spec.suspend` is true: signers are exiting (`Suspending`) or have exited "
    "(`Suspended`). Absent while it is false.",
    ConditionType.RECONCILING: "The job does not match its spec yet. True as long as the job runs. Used by kstatus.",
    ConditionType.STALLED: "The job is blocked until somebody fixes the problem in the message, or it has failed. Used by kstatus.",
    ConditionType.SCALING_ACTIVE: "The number of signers follows the lag. False while it is held, paused or set by the fallback. Its "
    "message is the latest decision. Absent while the job is suspended and once it has ended.",
    ConditionType.DEADLINE_AT_RISK: "The job will miss `finishBy` or `finishWithin`, even with the maximum number of "
    "signers. Absent if neither is set.",
}

STATES: Final[Mapping[JobState, str]] = {
    JobState.PENDING: "Created and not started: the records worker is starting.",
    JobState.RUNNING: "Its records are being planned and signed.",
    JobState.SUSPENDED: "`spec.suspend` is true.",
    JobState.COMPLETE: "Ended: every record is signed or a dead letter.",
    JobState.FAILED: "Ended: the job exceeded `activeDeadlineSeconds`.",
    JobState.DELETING: "Being deleted: its data in Postgres and JetStream is being removed.",
}

_PROGRESS, _END, _PROBLEM, _OUTAGE, _SCALING = (
    "Progress",
    "End of a job",
    "Problems to fix",
    "Outages that need no action",
    "Scaling",
)
_GROUPS: Final[Mapping[str, frozenset[str]]] = {
    _PROGRESS: frozenset(),
    _END: frozenset(
        {
            "AllSigned",
            "DeadLetters",
            "DeadlineExceeded",
            "TimeToLiveOver",
            "Deleting",
            "Deleted",
            "DeletionUnsealed",
        }
    ),
    _PROBLEM: frozenset(),
    _OUTAGE: frozenset({"PostgresUnreachable", "NatsUnreachable", "ConsumerMissing"}),
    _SCALING: frozenset(
        {
            *("ScaledOut", "ScaledIn", "ScalingFollowsLag", "ScalingFallsBack", "ScalingHeld"),
            *("DeadlineAtRisk", "DeadlineOnTrack", "AnnotationUnreadable"),
        }
    ),
}
"""The reasons of each group. Of the others, warnings are problems, and the rest is progress."""

_CARRIERS: Final[Mapping[str, str]] = {
    "MakingKeys": "Reconciling",
    "Planning": "Reconciling",
    "Signing": "Reconciling",
    "Suspending": "Suspended, Reconciling",
    "Suspended": "Suspended",
    "AllSigned": "Complete",
    "DeadLetters": "Complete",
    "DeadlineExceeded": "Failed, Stalled",
    "Deleting": "Reconciling",
    "CleanupBlocked": "Stalled, or Reconciling while a service is unreachable",
    "PostgresUnreachable": "Reconciling",
    "NatsUnreachable": "Reconciling",
    "ConsumerMissing": "Reconciling",
    "ScalingFollowsLag": "ScalingActive",
    "ScalingFallsBack": "ScalingActive (False)",
    "ScalingHeld": "ScalingActive (False)",
    "AnnotationUnreadable": "ScalingActive (False)",
    "DeadlineAtRisk": "DeadlineAtRisk",
    "DeadlineOnTrack": "DeadlineAtRisk (False)",
}
"""The conditions with each reason. Of the others, warnings are reasons of Stalled, and the rest of none."""

_NO_EVENT: Final = {"ScalingFollowsLag", "ScalingFallsBack", "ScalingHeld"}


class _Blank(str):
    """A placeholder for a value, in any format; a noun in the format is in the plural."""

    __slots__ = ()

    def __format__(self, spec: str) -> str:
        noun, _, plural = spec.partition("|")
        if len(noun) > 1 and noun.replace(" ", "").isalpha():
            return f"*{self!s}* {plural or noun + 's'}"
        return f"*{self!s}*"


class _Blanks(dict[str, Any]):
    def __missing__(self, name: str) -> _Blank:
        return _Blank(name)


def states() -> list[str]:
    rows = [(f"`{state}`", STATES[state]) for state in JobState]
    return [
        "### States\n",
        "The values of `status.state` and of the column State.\n",
        *table(("State", "Meaning"), rows),
        "",
    ]


def conditions() -> list[str]:
    rows = [(f"`{kind}`", CONDITIONS[kind]) for kind in ConditionType]
    return [
        "## Conditions\n",
        prose(
            "`kubectl wait --for=condition=Complete sj/NAME` waits for a condition. Each condition has the generation of the spec "
            "that it is about, a reason for programs, and a message for people. `Reconciling` and `Stalled` follow kstatus: tools "
            "such as Flux and Helm use them to find out whether an object is in progress, current or failed."
        ),
        *table(("Condition", "Meaning while it is True"), rows),
        "",
    ]


def reasons() -> list[str]:
    """Returns every `JobReason`, with its message and its condition."""
    said = [_said(reason) for reason in JobReason]
    parts = [
        "## Reasons\n",
        prose(
            "A reason is one word for programs, in conditions and Events. Its meaning never changes. In the messages, *italics* "
            "are values, and *decision* is the message of a [scaling decision](#scaling-decisions). A reason without a condition "
            "appears only in Events. [Operations](operations.md#when-a-job-cant-go-on) tells what to do about each."
        ),
    ]
    for group in _GROUPS:
        rows = [_reason_row(statement) for statement in said if _group(statement) == group]
        parts += [f"### {group}\n", *table(("Reason", "Condition", "Event", "Message"), rows), ""]
    return parts


def _group(statement: Statement) -> str:
    named = next((group for group, reasons in _GROUPS.items() if statement.reason in reasons), None)
    return named or (_PROBLEM if statement.event_type == "Warning" else _PROGRESS)


def _reason_row(statement: Statement) -> tuple[str, ...]:
    usual = "Stalled" if statement.event_type == "Warning" else ""
    event = "none" if statement.reason in _NO_EVENT else statement.event_type
    carrier = _CARRIERS.get(statement.reason, usual)
    return f"`{statement.reason}`", carrier, event, cell(statement.message)


def _said(reason: JobReason) -> Statement:
    """Returns a reason's message, with the names of its values as placeholders."""
    values: dict[str, object] = {}
    while True:
        try:
            return say(reason, **values)
        except KeyError as missing:
            values[missing.args[0]] = _Blank(missing.args[0])


def decisions() -> list[str]:
    rules = [(f"`{reason}`", cell(reason_clause(reason, _Blanks()))) for reason in ScalingReason]
    limits = [(f"`{name}`", cell(_limit(name))) for name in LimitName]
    return [
        "## Scaling decisions\n",
        prose(
            "`status.scaling.reason` is the rule that determined the count; `status.scaling.limit.name` is the limit that changed "
            "the count that the rule recommended. [Scaling](scaling.md) explains each of them and their order."
        ),
        *table(("Reason", "In the decision's message"), rules),
        "",
        *table(("Limit", "In the decision's message"), limits),
        "",
    ]


def _limit(name: LimitName) -> str:
    mark = 987_654_321  # a number that occurs nowhere else in the clause
    return limit_clause(name, mark).replace(str(mark), "*value*")
