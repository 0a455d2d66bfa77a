"""Conditions: when they count as changed, and that the end of a job is final."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from vaultstream_operator.api.conditions import (
    COMPLETED,
    FAILED,
    PROGRESSING,
    SETTLED,
    STALLED,
    Conditions,
    States,
    drop_condition,
    ended_by,
    find_condition,
    is_true,
    set_condition,
    set_conditions,
)
from vaultstream_operator.api.status import MOST_CHARACTERS, Condition, ConditionType

pytestmark = pytest.mark.unit

NOW = datetime(2030, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(seconds=90)
AT_FIRST: dict[str, Any] = {"reason": "Starting", "message": "It starts.", "generation": 1, "now": NOW}
AFTERWARDS: dict[str, Any] = {"reason": "Signing", "message": "It signs.", "generation": 2, "now": LATER}


def one(conditions: Conditions, kind: ConditionType) -> Condition:
    found = find_condition(conditions, kind)
    assert found is not None
    return found


def test_the_time_of_the_transition_stays_while_the_status_does() -> None:
    first = set_condition((), ConditionType.RECONCILING, True, **AT_FIRST)
    again = set_condition(first, ConditionType.RECONCILING, True, **AFTERWARDS)
    condition = one(again, ConditionType.RECONCILING)
    assert condition.last_transition_time == NOW
    assert (condition.reason, condition.message, condition.observed_generation) == ("Signing", "It signs.", 2)


@pytest.mark.parametrize("status", [False, None])
def test_the_time_of_the_transition_is_now_when_the_status_changes(status: bool | None) -> None:
    first = set_condition((), ConditionType.RECONCILING, True, **AT_FIRST)
    condition = one(
        set_condition(first, ConditionType.RECONCILING, status, **AFTERWARDS), ConditionType.RECONCILING
    )
    assert condition.last_transition_time == LATER
    assert condition.status == ("False" if status is False else "Unknown")


def test_the_same_again_changes_nothing() -> None:
    first = set_conditions((), PROGRESSING, **AT_FIRST)
    assert set_conditions(first, PROGRESSING, **AT_FIRST | {"now": LATER}) == first


def test_a_condition_keeps_its_place_and_there_is_one_of_each_type() -> None:
    conditions = set_conditions((), PROGRESSING, **AT_FIRST)
    conditions = set_condition(conditions, ConditionType.SUSPENDED, True, **AT_FIRST)
    conditions = set_conditions(conditions, STALLED, **AFTERWARDS)
    assert [condition.type for condition in conditions] == ["Reconciling", "Stalled", "Suspended"]


@pytest.mark.parametrize(("end", "kind"), [(COMPLETED, "Complete"), (FAILED, "Failed")])
@pytest.mark.parametrize("other_end", [COMPLETED, FAILED])
def test_the_end_of_a_job_is_final(end: States, kind: str, other_end: States) -> None:
    at_end = set_conditions(set_conditions((), PROGRESSING, **AT_FIRST), end, **AT_FIRST)
    assert set_conditions(at_end, other_end, **AFTERWARDS) == at_end
    for terminal in (ConditionType.COMPLETE, ConditionType.FAILED):
        for status in (True, False, None):
            assert set_condition(at_end, terminal, status, **AFTERWARDS) == at_end
    ended = ended_by(at_end)
    assert ended is not None
    assert ended.type == kind
    assert ended_by(drop_condition(at_end, kind)) == ended


def test_a_job_that_has_not_ended_has_no_end() -> None:
    assert ended_by(set_conditions((), STALLED, **AT_FIRST)) is None
    assert ended_by(set_condition((), ConditionType.COMPLETE, False, **AT_FIRST)) is None


def test_a_job_that_failed_before_it_ended_may_still_complete() -> None:
    conditions = set_condition((), ConditionType.FAILED, False, **AT_FIRST)
    assert is_true(set_conditions(conditions, COMPLETED, **AFTERWARDS), ConditionType.COMPLETE)


@pytest.mark.parametrize(
    ("states", "reconciling", "is_stalled"),
    [
        (PROGRESSING, True, False),
        (STALLED, False, True),
        (SETTLED, False, False),
        (COMPLETED, False, False),
        (FAILED, False, True),
    ],
)
def test_a_job_is_on_its_way_or_stalled_or_neither(
    states: States, reconciling: bool, is_stalled: bool
) -> None:
    for before in ((), set_conditions((), PROGRESSING, **AT_FIRST), set_conditions((), STALLED, **AT_FIRST)):
        conditions = set_conditions(before, states, **AFTERWARDS)
        assert is_true(conditions, ConditionType.RECONCILING) is reconciling
        assert is_true(conditions, ConditionType.STALLED) is is_stalled
        assert {condition.observed_generation for condition in conditions} == {2}


def test_a_condition_is_dropped() -> None:
    conditions = set_condition((), ConditionType.DEADLINE_AT_RISK, True, **AT_FIRST)
    assert drop_condition(conditions, ConditionType.DEADLINE_AT_RISK) == ()


def test_a_long_message_is_cut_rather_than_refused() -> None:
    condition = one(
        set_conditions((), STALLED, **AT_FIRST | {"message": "x" * 10_000}), ConditionType.STALLED
    )
    assert len(condition.message) == MOST_CHARACTERS
    assert condition.message.endswith("…")


def test_a_time_is_written_in_utc_to_the_second() -> None:
    moment = datetime.fromisoformat("2030-01-01T02:00:00.5+02:00")
    condition = one(set_conditions((), STALLED, **AT_FIRST | {"now": moment}), ConditionType.STALLED)
    assert condition.model_dump(mode="json", by_alias=True)["lastTransitionTime"] == "2030-01-01T00:00:00Z"
