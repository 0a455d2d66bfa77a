"""Pure functions on lists of conditions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, Literal, Protocol

from vaultstream_operator.api.status import Condition, ConditionType

TERMINAL: Final = (ConditionType.COMPLETE, ConditionType.FAILED)
"""Conditions that end a job. Once one is True, it stays True, and the other never becomes True."""

Conditions = tuple[Condition, ...]

_WORDS: Final[dict[bool | None, Literal["True", "False", "Unknown"]]] = {
    True: "True",
    False: "False",
    None: "Unknown",
}


class Setter(Protocol):
    """A function below that sets all conditions that kstatus reads."""

    def __call__(
        self, conditions: Sequence[Condition], *, reason: str, message: str, generation: int, now: datetime
    ) -> Conditions: ...


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


def progressing(
    conditions: Sequence[Condition], *, reason: str, message: str, generation: int, now: datetime
) -> Conditions:
    """Returns the conditions of a job that does not match its spec yet. kstatus: InProgress."""
    states = {ConditionType.RECONCILING: True, ConditionType.STALLED: False}
    return _set_all(conditions, states, reason=reason, message=message, generation=generation, now=now)


def stalled(
    conditions: Sequence[Condition], *, reason: str, message: str, generation: int, now: datetime
) -> Conditions:
    """Returns the conditions of a job that is blocked until a problem is fixed. kstatus: Failed."""
    states = {ConditionType.RECONCILING: False, ConditionType.STALLED: True}
    return _set_all(conditions, states, reason=reason, message=message, generation=generation, now=now)


def settled(
    conditions: Sequence[Condition], *, reason: str, message: str, generation: int, now: datetime
) -> Conditions:
    """Returns the conditions of a job that matches its spec. kstatus: Current."""
    states = {ConditionType.RECONCILING: False, ConditionType.STALLED: False}
    return _set_all(conditions, states, reason=reason, message=message, generation=generation, now=now)


def completed(
    conditions: Sequence[Condition], *, reason: str, message: str, generation: int, now: datetime
) -> Conditions:
    """Returns the conditions of a job that is complete. If it had already ended, they are unchanged."""
    if ended_by(conditions):
        return tuple(conditions)
    states = {
        ConditionType.RECONCILING: False,
        ConditionType.STALLED: False,
        ConditionType.FAILED: False,
        ConditionType.COMPLETE: True,
    }
    return _set_all(conditions, states, reason=reason, message=message, generation=generation, now=now)


def failed(
    conditions: Sequence[Condition], *, reason: str, message: str, generation: int, now: datetime
) -> Conditions:
    """Returns the conditions of a job that failed. If it had already ended, they are unchanged."""
    if ended_by(conditions):
        return tuple(conditions)
    states = {
        ConditionType.RECONCILING: False,
        ConditionType.STALLED: True,
        ConditionType.COMPLETE: False,
        ConditionType.FAILED: True,
    }
    return _set_all(conditions, states, reason=reason, message=message, generation=generation, now=now)


def _set_all(
    conditions: Sequence[Condition],
    states: Mapping[ConditionType, bool],
    *,
    reason: str,
    message: str,
    generation: int,
    now: datetime,
) -> Conditions:
    for kind, status in states.items():
        conditions = set_condition(
            conditions, kind, status, reason=reason, message=message, generation=generation, now=now
        )
    return tuple(conditions)
