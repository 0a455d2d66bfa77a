"""The rules stand in one order: in the code, in its docstring, and in docs/scaling.md."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from support.scaling import NOW, seen
from vaultstream.api import Fallback, ScalingSpec
from vaultstream.scaling import decide as scaling_decide
from vaultstream.scaling.decide import decide
from vaultstream.scaling.history import History
from vaultstream.scaling.observation import Lag, LagUnknown, Observation, Pause, Progress, Timing
from vaultstream.scaling.reasons import Reason

pytestmark = pytest.mark.unit

SCALING = Path(__file__).parents[3] / "docs" / "scaling.md"
REDUCED = {Reason.JOB_ENDS_FIRST, Reason.DATABASE_IS_THE_LIMIT}
"""Reasons of rules 11 and 13 with fewer signers, not of rules of their own."""


Row = tuple[str, ...]


def rules_in(text: str) -> list[Row]:
    """The rows of the first table of rules in a text: number, reason, when, signers."""
    rows = re.findall(r"^\| (\d+) \| (.*?) \| (.*?) \| (.*?) \|", text, flags=re.MULTILINE)
    assert [row[0] for row in rows] == [str(number) for number in range(1, len(rows) + 1)]
    return rows


RULES = rules_in(scaling_decide.__doc__ or "")


def test_the_documentation_lists_the_rules_as_they_are() -> None:
    section = SCALING.read_text("utf-8").split("### First, one rule sets the number")[1]
    assert len(RULES) == 16
    assert rules_in(section.split("*Rest* is")[0]) == RULES


def test_every_reason_has_one_rule_in_the_order_of_the_enum() -> None:
    listed = [reason for _, cell, *_ in RULES for reason in re.findall(r"`(\w+)`", cell)]
    assert listed == [reason for reason in Reason if reason not in REDUCED]


SPEC = ScalingSpec(
    lag_threshold=10,
    activation_lag_threshold=60,
    cooldown_period=60,
    fallback=Fallback(failure_threshold=2, replicas=1),
)
UNREADABLE = LagUnknown(Reason.NATS_UNREACHABLE, since=NOW - 60, failures=9)
DONE = Progress(records_left=0, batches_left=0, planned=True, records_per_second=0.0)
WORK = Progress(records_left=5000, batches_left=50, planned=True, records_per_second=0.0)
QUIET, RECENT = History(), History(last_active_at=NOW - 10)
EVERYTHING = replace(
    seen(0, 5, progress=DONE, pause=Pause(paused=True, replicas=3), timing=Timing(NOW - 9999, NOW + 3600)),
    lag=UNREADABLE,
)


def test_the_first_rule_that_applies_decides() -> None:
    """From an observation to which almost every rule applies, the rules are made not to apply one after the other."""
    moving = replace(WORK, records_per_second=100.0, planned=False)
    unpaused = replace(EVERYTHING, pause=Pause())
    steps: list[tuple[Reason, Observation, History]] = [
        (Reason.PAUSED_REPLICAS, EVERYTHING, QUIET),
        (Reason.PAUSED, replace(EVERYTHING, pause=Pause(paused=True)), QUIET),
        (Reason.JOB_DONE, unpaused, QUIET),
        (Reason.FALLBACK, replace(unpaused, progress=WORK), QUIET),
        (
            Reason.NATS_UNREACHABLE,
            replace(unpaused, progress=WORK, lag=replace(UNREADABLE, failures=2)),
            QUIET,
        ),
        (Reason.NOTHING_SIGNED, replace(unpaused, progress=WORK, lag=Lag(50)), QUIET),
        (Reason.COOLDOWN_OVER, replace(unpaused, progress=moving, lag=Lag(50)), QUIET),
        (Reason.COOLING_DOWN, replace(unpaused, progress=moving, lag=Lag(50)), RECENT),
        (Reason.DEADLINE, replace(unpaused, progress=moving, lag=Lag(70)), RECENT),
    ]
    later = replace(unpaused, progress=moving, timing=Timing(NOW - 9999))
    fewer = replace(later.replicas, current=7, ready=7)
    steps += [
        (Reason.WITHIN_TOLERANCE, replace(later, lag=Lag(74), replicas=fewer), RECENT),
        (Reason.LAG, replace(later, lag=Lag(95), replicas=fewer), RECENT),
    ]
    assert [decide(SPEC, observation, history, NOW).reason for _, observation, history in steps] == [
        reason for reason, _, _ in steps
    ]
    idle = replace(
        unpaused, progress=moving, lag=Lag(50), replicas=replace(unpaused.replicas, current=0, ready=0)
    )
    assert decide(SPEC, idle, QUIET, NOW).reason is Reason.IDLE
