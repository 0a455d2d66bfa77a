"""How far a job is: the counts of its records, batches and keys, its rate, and the time that is left."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from vaultstream.errors import UnknownJobError
from vaultstream.scaling.forecast import time_left
from vaultstream.scaling.workload import RATE_WINDOW_SECONDS, Counts
from vaultstream.store import schema
from vaultstream.store.database import fetch_one
from vaultstream.store.jobs import Job, job_from_row
from vaultstream.store.keys import KeyCounts
from vaultstream.store.sql import query

if TYPE_CHECKING:
    from datetime import datetime

    import asyncpg

    from vaultstream.store.database import Connection


LEAST_PAUSE_SECONDS = 1.0
"""Time without a leased key from which on nobody works on a job: signers that are fed hold keys all the time."""
PAUSES_SECONDS = 2.0
"""How long the pauses of a job are looked for: a million leases take about one second."""
_COMPUTED = {"ended", "seconds", "paused_seconds"}


@dataclass(frozen=True, kw_only=True)
class JobProgress(Counts):
    """Counts of one job at one moment: those of `Counts`, which a scaling decision uses, and further ones.

    Attributes:
        records: found so far; all of them once `planned`.
        batches: all except those that were split.
        batches_done: settled.
        batches_failing: pending, after at least one failed attempt.
        batches_unpublished: pending, and not published to JetStream yet.
        last_error: of a failing batch.
        ended: whether nothing is left to do.
        seconds: from the start of the job to its end, or until now. None: it never started, or was deleted before its end.
        paused_seconds: of these, while nobody worked on it: interrupted, suspended, or until a retry. Only read of an ended job.
    """

    records: int
    batches: int
    batches_done: int
    batches_failing: int
    batches_unpublished: int
    last_error: str | None
    ended: bool
    seconds: float | None
    paused_seconds: float = 0.0

    @property
    def overall_rate(self) -> float | None:
        """Records settled per second of work over a whole job that has ended; None before."""
        return self.settled / self.working_seconds if self.ended and self.working_seconds else None

    @property
    def working_seconds(self) -> float | None:
        """Seconds from the start of the job to its end, or until now, without those in which nobody worked on it."""
        return None if self.seconds is None else max(0.0, self.seconds - self.paused_seconds)

    @property
    def rate(self) -> float | None:
        """Records settled per second: recently, or over the whole job once it has ended. None: unknown, see `Counts`."""
        return self.overall_rate if self.ended else self.recent_rate

    def since(self, begin: JobProgress, seconds: float) -> JobProgress:
        """Returns this progress with a rate of what was settled since an earlier one of the same job, if the window began before that.

        Nobody may have worked on the job before.

        Args:
            begin: the earlier progress.
            seconds: that have passed since.
        """
        if self.window_seconds is None or self.window_seconds <= seconds:
            return self
        return replace(self, settled_lately=max(0, self.settled - begin.settled), window_seconds=seconds)

    @property
    def eta_seconds(self) -> float | None:
        """Seconds until the end at the present rate; 0 once the job has ended, None while they are unknown."""
        if self.ended:
            return 0.0
        return time_left(self.records_left if self.planned else None, self.rate)


@dataclass(frozen=True)
class JobSnapshot:
    """A job, its progress and its keys at one moment, by the clock of Postgres."""

    job: Job
    progress: JobProgress
    keys: KeyCounts
    read_at: datetime

    @property
    def keys_active(self) -> int | None:
        """Keys that may be leased; None while keys are being created."""
        return self.keys.active if self.keys.made >= self.job.spec.keys.count else None


def progress_statement() -> str:
    """Returns the query that reads a job by its name or token ($1), its progress and its keys; $2: `RATE_WINDOW_SECONDS`."""
    parts = {"job": query("find_job"), "kept": query("kept_counts"), "counted": query("count_batches")}
    return query("read_job", **parts, keys=query("count_keys", job_no="j.job_no"))


async def find_snapshot(connection: Connection, name: str) -> JobSnapshot | None:
    """Reads a job, its progress and its keys in one round trip; returns None if there is no such job.

    Args:
        connection: to Postgres.
        name: name or token of the job.

    Raises:
        SchemaVersionError: this program does not work with the schema of the database.
    """
    row = await fetch_one(connection, progress_statement(), name, RATE_WINDOW_SECONDS)
    if row["schema_version"] != schema.current_version():
        await schema.require_current(connection)
    if row["job_no"] is None:
        return None
    job = job_from_row(row)
    progress = JobProgress(
        **_part(JobProgress, row), ended=job.ended, seconds=job.seconds_until(row["read_at"])
    )
    return JobSnapshot(job, progress, KeyCounts(**_part(KeyCounts, row)), row["read_at"])


async def read_job(connection: Connection, name: str) -> JobSnapshot:
    """Returns a job, its progress and its keys, read in one round trip.

    Raises:
        UnknownJobError: there is no such job.
        SchemaVersionError: this program does not work with the schema of the database.
    """
    snapshot = await find_snapshot(connection, name)
    if snapshot is None:
        raise UnknownJobError(name)
    return snapshot


async def with_pauses(connection: Connection, snapshot: JobSnapshot) -> JobSnapshot:
    """Returns a snapshot with the pauses of its job, if that has ended: each time of more than a second without a leased key.

    It reads the history of leases, so it is not for a poll. A login that may not have that read, such as a signer's, knows of no pauses; nor
    does anybody of a job whose history is too long to be read in `PAUSES_SECONDS`.
    """
    if not snapshot.job.ended or not await connection.fetchval(query("may_read_pauses")):
        return snapshot
    arguments = snapshot.job.job_no, LEAST_PAUSE_SECONDS
    try:
        paused = await connection.fetchval(query("read_pauses"), *arguments, timeout=PAUSES_SECONDS)
    except TimeoutError:
        return snapshot
    return replace(snapshot, progress=replace(snapshot.progress, paused_seconds=paused))


def _part(kind: type[JobProgress | KeyCounts], row: asyncpg.Record) -> dict[str, Any]:
    return {field.name: row[field.name] for field in fields(kind) if field.name not in _COMPUTED}
