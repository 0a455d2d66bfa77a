from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from vaultstream.api import JobState, RecordsSpec, SigningJobSpec
from vaultstream.bus.records import Lag
from vaultstream.local.status import eta, lag_status, overall_rate
from vaultstream.store.jobs import Job, Progress

pytestmark = pytest.mark.unit

START = datetime(2026, 1, 1, tzinfo=UTC)


def job(state: JobState = JobState.RUNNING, *, planned: bool = True, seconds: float | None = None) -> Job:
    return Job(
        job_no=1,
        token="j-12345678",
        name="j",
        owner_uid=None,
        spec=SigningJobSpec(records=RecordsSpec(table="t")),
        id_type="bigint",
        state=state,
        message=None,
        created_at=START,
        started_at=START,
        finished_at=START + timedelta(seconds=seconds) if seconds else None,
        deleted_at=None,
        upper_id="9",
        planned_id="9",
        planned=planned,
        next_batch_no=3,
        published_through=2,
    )


def progress(*, records: int = 100, signed: int = 0, dead: int = 0) -> Progress:
    return Progress(
        records=records,
        signed=signed,
        dead=dead,
        batches=2,
        batches_done=1,
        batches_pending=1,
        records_pending=records - signed - dead,
        batches_failing=0,
        last_error=None,
    )


def test_the_lag_counts_batches_waiting_in_hand_and_not_published_yet() -> None:
    assert lag_status(Lag(pending=3, ack_pending=2), reachable=True, unpublished=5).batches == 10


@pytest.mark.parametrize(("reachable", "state"), [(True, "no consumer"), (False, "NATS does not answer")])
def test_a_lag_that_is_not_known_says_why_and_is_not_zero(reachable: bool, state: str) -> None:
    status = lag_status(None, reachable=reachable, unpublished=0)

    assert (status.state, status.batches) == (state, None)


def test_the_eta_is_what_is_left_at_the_rate() -> None:
    assert eta(job(), progress(signed=40, dead=10), 25.0) == 2.0


def test_the_eta_is_unknown_without_a_rate_or_before_all_is_planned() -> None:
    assert eta(job(), progress(), 0.0) is None
    assert eta(job(planned=False), progress(), 10.0) is None


def test_an_ended_job_has_nothing_left() -> None:
    assert eta(job(JobState.COMPLETE, seconds=4), progress(signed=100), 0.0) == 0


def test_the_rate_over_the_whole_counts_dead_letters_as_settled() -> None:
    assert overall_rate(job(JobState.COMPLETE, seconds=4), progress(signed=90, dead=10)) == 25
    assert overall_rate(job(), progress(signed=90)) is None
