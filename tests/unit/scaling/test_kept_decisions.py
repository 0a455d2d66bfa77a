"""Decisions that are news are kept: another number or a hold at once, another reason for the same number now and then."""

from __future__ import annotations

from typing import Any

import pytest

from vaultstream.scaling.kept import QUIET_SECONDS, KeptDecision

pytestmark = pytest.mark.unit


def decided(at: float = 0.0, **other: Any) -> KeptDecision:
    shown = {
        "replicas": 4,
        "desired": 4,
        "reason": "Lag",
        "limit": None,
        "hold": False,
        "inputs": {"lag": 9},
        "formula": "⌈9 / 3⌉ = 3",
        "message": "Kept 4 signers",
    }
    return KeptDecision(at, {**shown, **other})


LIMIT = {"name": "MaxReplicaCount", "value": 4}


def test_the_first_decision_is_kept() -> None:
    assert decided().is_news(None)


def test_numbers_alone_are_no_news() -> None:
    later = decided(1e6, inputs={"lag": 2}, formula="⌈2 / 3⌉ = 1", message="Kept 4 signers: fewer are left")
    assert not later.is_news(decided())


@pytest.mark.parametrize("other", [{"desired": 5}, {"hold": True}])
def test_another_number_and_a_hold_are_kept_at_once(other: dict[str, Any]) -> None:
    assert decided(0.1, **other).is_news(decided())
    assert decided(0.1).is_news(decided(**other))


@pytest.mark.parametrize("other", [{"reason": "WithinTolerance"}, {"limit": LIMIT}, {"replicas": 3}])
def test_another_reason_for_the_same_number_is_kept_once_per_quiet_time(other: dict[str, Any]) -> None:
    """Two rules that take turns at each poll would fill the table."""
    assert not decided(QUIET_SECONDS - 1, **other).is_news(decided())
    assert decided(QUIET_SECONDS, **other).is_news(decided())


def test_a_clock_that_was_set_back_keeps_no_decision_from_being_kept() -> None:
    assert decided(100.0, reason="WithinTolerance").is_news(decided(1e9))


def test_a_change_that_is_planned_again_because_it_was_not_made_is_kept_once() -> None:
    change = decided(1.0, replicas=4, desired=6)
    assert change.is_news(decided())
    assert not decided(50.0, replicas=4, desired=6).is_news(change)
    assert change.changed
    assert not decided().changed
