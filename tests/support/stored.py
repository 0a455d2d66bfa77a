"""A job and its progress, made up for tests."""

from datetime import UTC, datetime

from vaultstream.api import JobState, RecordsSpec, SigningJobSpec
from vaultstream.store.jobs import Job
from vaultstream.store.progress import JobProgress

UNSTARTED = JobProgress(
    records=0,
    signed=0,
    dead=0,
    records_left=0,
    batches=0,
    batches_done=0,
    batches_left=0,
    batches_failing=0,
    batches_unpublished=0,
    last_error=None,
    settled_lately=0,
    window_seconds=None,
    planned=False,
    ended=False,
    seconds=None,
)

RUNNING = Job(
    job_no=1,
    token="j-12345678",
    name="j",
    owner_uid=None,
    spec=SigningJobSpec(records=RecordsSpec(table="t")),
    id_type="bigint",
    state=JobState.RUNNING,
    message=None,
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
    started_at=datetime(2026, 1, 1, tzinfo=UTC),
    finished_at=None,
    deleted_at=None,
    upper_id="9",
    planned_id="9",
    planned=True,
    next_batch_no=3,
    published_through=2,
)
