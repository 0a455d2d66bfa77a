"""Pure functions on lists of conditions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, Literal

from vaultstream_operator.api.status import Condition, ConditionType

TERMINAL: Final = (ConditionType.COMPLETE, ConditionType.FAILED)
"""Conditions that end a job. Once one is True, it stays True, and the other never becomes True."""

Conditions = tuple[Condition, ...]

_WORDS: Final[dict[bool | None, Literal["True", "False", "Unknown"]]] = {
    True: "True",
    False: "False",
    None: "Unknown",
}


States = Mapping[ConditionType, bool]

PROGRESSING: Final[States] = {ConditionType.RECONCILING: True, ConditionType.STALLED: False}
"""A job that does not match its spec yet. kstatus: InProgress."""
STALLED: Final[States] = {ConditionType.RECONCILING: False, ConditionType.STALLED: True}
"""A job that is blocked until a problem is fixed. kstatus: Failed."""
SETTLED: Final[States] = {ConditionType.RECONCILING: False, ConditionType.STALLED: False}
"""A job that matches its spec. kstatus: Current."""
COMPLETED: Final[States] = {**SETTLED, ConditionType.FAILED: False, ConditionType.COMPLETE: True}
FAILED: Final[States] = {**STALLED, ConditionType.COMPLETE: False, ConditionType.FAILED: True}


def find_condition(conditions: Sequence[Condition], kind: str) -> Condition | None:
    """Returns the condition of type `kind`; None if there is none."""
    return next((condition for condition in conditions if condition.type == kind), None)


def is_true(conditions: Sequence[Condition], kind: str) -> bool:
    """Returns whether the condition of type `kind` exists and is True."""
    found = find_condition(conditions, kind)
    return found is not None and found.status == "True"


def ended_by(conditions: Sequence[Condition]) -> Condition | None:
    """Returns the condition that ended the job, Complete or Failed; None if the job has not ended."""
    return next((c for c in conditions if c.type in TERMINAL and c.status == "True"), None)


def set_condition(
    conditions: Sequence[Condition],
    kind: str,
    status: bool | None,
    *,
    reason: str,
    message: str,
    generation: int,
    now: datetime,
) -> Conditions:
    """Returns `conditions` with the one of type `kind` set: replaced in its place, or appended.

    The time of the last transition is kept while the status stays the same. Once the job has ended, Complete and
    Failed no longer change.

    Args:
        conditions: the current conditions.
        kind: the type to set.
        status: None means Unknown.
        reason: one word, see `vaultstream_operator.api.reasons`.
        message: a sentence for people.
        generation: the generation of the spec that the condition is about.
        now: the time of the transition, if the status changes.
    """
    if kind in TERMINAL and ended_by(conditions):
        return tuple(conditions)
    before = find_condition(conditions, kind)
    word = _WORDS[status]
    after = Condition(
        type=str(kind),
        status=word,
        reason=str(reason),
        message=message,
        last_transition_time=before.last_transition_time if before and before.status == word else now,
        observed_generation=generation,
    )
    if before is None:
        return (*conditions, after)
    return tuple(after if condition.type == kind else condition for condition in conditions)


def drop_condition(conditions: Sequence[Condition], kind: str) -> Conditions:
    """Returns `conditions` without the one of type `kind`. A condition that ended the job is kept."""
    ended = ended_by(conditions)
    return tuple(c for c in conditions if c.type != kind or c is ended)


def set_conditions(
    conditions: Sequence[Condition],
    states: States,
    *,
    reason: str,
    message: str,
    generation: int,
    now: datetime,
) -> Conditions:
    """Returns `conditions` with all those of `states` set, as `set_condition` does. A job that had ended does not end again."""
    if ended_by(conditions) and not states.keys().isdisjoint(TERMINAL):
        return tuple(conditions)
    for kind, status in states.items():
        conditions = set_condition(
            conditions, kind, status, reason=reason, message=message, generation=generation, now=now
        )
    return tuple(conditions)
