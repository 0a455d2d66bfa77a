"""Conditions as pure functions: a list goes in with what is known now, and a list comes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, Literal, Protocol

from vaultstream_operator.api.status import Condition, ConditionType

TERMINAL: Final = (ConditionType.COMPLETE, ConditionType.FAILED)
"""The ends of a job. Once one of them is True, it stays so, and the other never becomes so."""

Conditions = tuple[Condition, ...]

_WORDS: Final[dict[bool | None, Literal["True", "False", "Unknown"]]] = {
    True: "True",
    False: "False",
    None: "Unknown",
}


class Setter(Protocol):
    """One of the functions below that set what kstatus reads, all at once."""

    def __call__(
        self, conditions: Sequence[Condition], *, reason: str, message: str, generation: int, now: datetime
    ) -> Conditions: ...


def find_condition(conditions: Sequence[Condition], kind: str) -> Condition | None:
    """Returns the condition of type `kind`, if there is one."""
    return next((condition for condition in conditions if condition.type == kind), None)


def is_true(conditions: Sequence[Condition], kind: str) -> bool:
    """Whether there is a condition of type `kind`, and its status is True."""
    found = find_condition(conditions, kind)
    return found is not None and found.status == "True"


def ended_by(conditions: Sequence[Condition]) -> Condition | None:
    """Returns the condition that tells of the job's end, Complete or Failed; None: it has not ended."""
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
    """Returns `conditions` with that of type `kind` set, in its place or at the end.

    The time of the last transition is kept as long as the status is the same. Once the job has ended, Complete and
    Failed stay exactly as they are.

    Args:
        conditions: as they were.
        kind: the type to set.
        status: None means Unknown.
        reason: one word, see `vaultstream_operator.api.reasons`.
        message: a sentence for people.
        generation: of the spec that this is about.
        now: the time of the transition, if there is one.
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
    """Returns `conditions` without that of type `kind`; the end of a job is not dropped."""
    ended = ended_by(conditions)
    return tuple(c for c in conditions if c.type != kind or c is ended)


def progressing(
    conditions: Sequence[Condition], *, reason: str, message: str, generation: int, now: datetime
) -> Conditions:
    """Returns `conditions` of a job on its way to what its spec asks for: kstatus calls it InProgress."""
    states = {ConditionType.RECONCILING: True, ConditionType.STALLED: False}
    return _set_all(conditions, states, reason=reason, message=message, generation=generation, now=now)


def stalled(
    conditions: Sequence[Condition], *, reason: str, message: str, generation: int, now: datetime
) -> Conditions:
    """Returns `conditions` of a job that can't go on until something is mended: kstatus calls it Failed."""
    states = {ConditionType.RECONCILING: False, ConditionType.STALLED: True}
    return _set_all(conditions, states, reason=reason, message=message, generation=generation, now=now)


def settled(
    conditions: Sequence[Condition], *, reason: str, message: str, generation: int, now: datetime
) -> Conditions:
    """Returns `conditions` of a job that is as its spec asks for: kstatus calls it Current."""
    states = {ConditionType.RECONCILING: False, ConditionType.STALLED: False}
    return _set_all(conditions, states, reason=reason, message=message, generation=generation, now=now)


def completed(
    conditions: Sequence[Condition], *, reason: str, message: str, generation: int, now: datetime
) -> Conditions:
    """Returns `conditions` of a job that has ended as it should; those of one that had ended before stay."""
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
    """Returns `conditions` of a job that was given up; those of one that had ended before stay."""
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
