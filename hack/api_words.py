"""What a SigningJob's status says in words: states, conditions, reasons, and the sentences of scaling decisions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from markdown import cell, prose, table
from vaultstream.scaling.reasons import LimitName, limit_clause, reason_clause
from vaultstream.scaling.reasons import Reason as ScalingReason
from vaultstream_operator.api.reasons import JobReason, Statement, say
from vaultstream_operator.api.status import ConditionType, State

CONDITIONS: Final[Mapping[ConditionType, str]] = {
    ConditionType.COMPLETE: "The job has ended, and every record has its signature or stands in the dead letters. "
    "Never taken back.",
    ConditionType.FAILED: "The job was given up: it ran for longer than `activeDeadlineSeconds`. What it signed stays. "
    "Never taken back.",
    ConditionType.SUSPENDED: "`spec.suspend` is true: signers leave (`Suspending`), or have left (`Suspended`). "
    "Absent while it is false.",
    ConditionType.RECONCILING: "The operator is on its way to what the spec asks for. True as long as the job runs. Of kstatus.",
    ConditionType.STALLED: "The job can't go on until somebody mends what the message names, or has failed. Of kstatus.",
    ConditionType.SCALING_ACTIVE: "The number of signers follows the lag, or the fallback. False while it is held or paused; its message is "
    "the latest decision. Absent once the job has ended or is suspended.",
    ConditionType.DEADLINE_AT_RISK: "The job will not end by `finishBy` or `finishWithin`, even with all the signers that it "
    "may have. Absent if there is no such time.",
}

STATES: Final[Mapping[State, str]] = {
    State.PENDING: "Made, not started yet: the records worker is on its way.",
    State.RUNNING: "Its records are being found and signed.",
    State.SUSPENDED: "`spec.suspend` is true.",
    State.COMPLETE: "Ended: each record has a signature or a dead letter.",
    State.FAILED: "Given up.",
    State.DELETING: "Its deletion was asked for; what it has in Postgres and JetStream is being dealt with.",
}

_ON_ITS_WAY, _END, _MEND, _AWAY, _SCALING = (
    "On its way",
    "Its end",
    "What somebody has to mend",
    "Services that come back by themselves",
    "Scaling",
)
_GROUPS: Final[Mapping[str, frozenset[str]]] = {
    _ON_ITS_WAY: frozenset(),
    _END: frozenset(
        {"AllSigned", "DeadLetters", "DeadlineExceeded", "TimeToLiveOver", "Deleting", "Deleted"}
    ),
    _MEND: frozenset(),
    _AWAY: frozenset({"PostgresUnreachable", "NatsUnreachable", "ConsumerMissing"}),
    _SCALING: frozenset(
        {
            *("ScaledOut", "ScaledIn", "ScalingFollowsLag", "ScalingFallsBack", "ScalingHeld"),
            *("DeadlineAtRisk", "DeadlineOnTrack", "AnnotationUnreadable"),
        }
    ),
}
"""The reasons of each group. Of the others, warnings are there for somebody to mend, and the rest is on its way."""

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
    "CleanupBlocked": "Stalled, or Reconciling while a service is away",
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
"""The conditions that carry a reason. Of the others, warnings are carried by Stalled, and the rest by none."""

_NO_EVENT: Final = {"ScalingFollowsLag", "ScalingFallsBack", "ScalingHeld"}


class _Blank(str):
    """Stands for a value in a sentence, whatever the sentence would format it as."""

    __slots__ = ()

    def __format__(self, spec: str) -> str:
        return "*" + self + "*"


class _Blanks(dict[str, Any]):
    def __missing__(self, name: str) -> _Blank:
        return _Blank(name)


def states() -> list[str]:
    rows = [(f"`{state}`", STATES[state]) for state in State]
    return [
        "### States\n",
        "What `status.state` and the column State say.\n",
        *table(("State", "Meaning"), rows),
        "",
    ]


def conditions() -> list[str]:
    rows = [(f"`{kind}`", CONDITIONS[kind]) for kind in ConditionType]
    return [
        "## Conditions\n",
        prose(
            "`kubectl wait --for=condition=Complete sj/NAME` waits for one of them. Each carries the generation of the spec that it is "
            "about, a reason for programs, and a message for people. `Reconciling` and `Stalled` are those of kstatus, by which "
            "tools such as Flux and Helm tell whether an object is in progress, current or failed."
        ),
        *table(("Condition", "Meaning while it is True"), rows),
        "",
    ]


def reasons() -> list[str]:
    """Every word of `JobReason` that the operator says, with its sentence and where it stands."""
    said = [_said(reason) for reason in JobReason]
    parts = [
        "## Reasons\n",
        prose(
            "One word for programs, in conditions and Events; a word never changes its meaning. In the sentences, *italics* stand for "
            "values, and *decision* for the sentence of a [scaling decision](#scaling-decisions). A reason without a condition is "
            "told by an Event alone. What to do about each is in [Operations](operations.md#when-a-job-cant-go-on)."
        ),
    ]
    for group in _GROUPS:
        rows = [_reason_row(statement) for statement in said if _group(statement) == group]
        parts += [f"### {group}\n", *table(("Reason", "Condition", "Event", "Message"), rows), ""]
    return parts


def _group(statement: Statement) -> str:
    named = next((group for group, reasons in _GROUPS.items() if statement.reason in reasons), None)
    return named or (_MEND if statement.event_type == "Warning" else _ON_ITS_WAY)


def _reason_row(statement: Statement) -> tuple[str, ...]:
    usual = "Stalled" if statement.event_type == "Warning" else ""
    event = "none" if statement.reason in _NO_EVENT else statement.event_type
    carrier = _CARRIERS.get(statement.reason, usual)
    return f"`{statement.reason}`", carrier, event, cell(statement.message)


def _said(reason: JobReason) -> Statement:
    """Returns a reason's sentence with the names of its values in their places."""
    values: dict[str, object] = {}
    while True:
        try:
            return say(reason, **values)
        except KeyError as missing:
            values[missing.args[0]] = _Blank(missing.args[0])


def decisions() -> list[str]:
    rules = [(f"`{reason}`", cell(f"because {reason_clause(reason, _Blanks())}")) for reason in ScalingReason]
    limits = [(f"`{name}`", cell(f"but {_limit(name)}")) for name in LimitName]
    return [
        "## Scaling decisions\n",
        prose(
            "`status.scaling.reason` is the rule that made the count; `status.scaling.limit.name` is what kept it from being the one "
            "that the rule asked for. [Scaling](scaling.md) tells how each works, and in which order they are asked."
        ),
        *table(("Reason", "In the decision's sentence"), rules),
        "",
        *table(("Limit", "In the decision's sentence"), limits),
        "",
    ]


def _limit(name: LimitName) -> str:
    mark = 987_654_321  # a limit's clause takes a number: one that occurs nowhere else
    return limit_clause(name, mark).replace(str(mark), "*value*")
