"""The status of a job in one line: what it waits for, and no rate of a time in which nobody worked on it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from support.stored import RUNNING, UNSTARTED
from vaultstream.local.status import JobOverview, lag_status
from vaultstream.store.keys import KeyCounts
from vaultstream.store.sessions import WorkerSession
from vaultstream_cli.commands.status import describe_overview

pytestmark = pytest.mark.unit

PROGRESS = replace(
    UNSTARTED, records=100, signed=50, planned=True, records_left=50, settled_lately=50, window_seconds=5.0
)
STOPPED = JobOverview(
    RUNNING,
    PROGRESS,
    KeyCounts(made=1, active=1, retired=0, revoked=0, leased=0),
    datetime(2026, 1, 2, tzinfo=UTC),
    lag=lag_status(None, reachable=True, unpublished=0),
    workers=[],
)


def test_a_job_that_nobody_works_on_shows_no_rate_and_no_end() -> None:
    shown = describe_overview(STOPPED)
    assert "Interrupted" in shown
    assert "records/s" not in shown
    assert "ETA" not in shown
    at_work = describe_overview(replace(STOPPED, workers=[WorkerSession("signing", 1, "here", 1, 1, "sign")]))
    assert "10 records/s" in at_work


def test_a_status_that_is_read_from_a_standby_says_so_and_not_that_the_job_was_interrupted() -> None:
    """The sessions of workers are those of another server."""
    waiting = replace(STOPPED, refused="Postgres takes no writes: it is a standby.")
    assert "it is a standby" in describe_overview(waiting)
    assert "Interrupted" not in describe_overview(waiting)
