"""What was left in Postgres and costs its disk is named, with how to end it."""

from __future__ import annotations

import pytest

from vaultstream.doctor.findings import Level
from vaultstream.doctor.held_back import IdleSlot, LeftPrepared, OldSnapshot, judge_held_back

pytestmark = pytest.mark.unit

SNAPSHOT = OldSnapshot(7, "app", application="psql\x1b", seconds=7200.0, transactions=12)


def test_nothing_is_held_back() -> None:
    assert [finding.level for finding in judge_held_back([], [], [])] == [Level.OK]


def test_an_old_snapshot_is_named_with_its_session_and_its_end() -> None:
    [finding] = judge_held_back([SNAPSHOT], [], [])
    assert finding.level is Level.WARNING
    assert "process 7 of the user app (psql\\x1b), for 7,200 s" in finding.message
    assert "pg_terminate_backend(7)" in (finding.hint or "")


def test_the_age_of_a_snapshot_whose_time_is_hidden_is_in_transactions() -> None:
    [finding] = judge_held_back([OldSnapshot(7, "app", transactions=6_000_000)], [], [])
    assert "for 6,000,000 transactions" in finding.message


def test_a_prepared_transaction_that_was_left_is_named_with_its_end() -> None:
    [finding] = judge_held_back([], [LeftPrepared(None, "app", "it's", seconds=700.0)], [])
    assert "of the user app, for 700 s" in finding.message
    assert "ROLLBACK PREPARED 'it''s'" in (finding.hint or "")


def test_slots_that_nobody_reads_are_named_three_at_most() -> None:
    [finding] = judge_held_back([], [], [IdleSlot(f"s{n}", (n + 1) << 30) for n in range(5)])
    assert "s0 (1.0 GiB); s1 (2.0 GiB); s2 (3.0 GiB) and 2 more" in finding.message
    assert "pg_drop_replication_slot" in (finding.hint or "")
