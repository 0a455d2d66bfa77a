"""Runs of quick-start: how they are named, which one is resumed, and which are finished.

A run is finished once it failed, was deleted, or was signed and verified completely. A file next to the logs of the job's
workers records that it was verified.
"""

from __future__ import annotations

import re
from itertools import count
from typing import TYPE_CHECKING

from vaultstream.api import JobState
from vaultstream.local.runner import open_job
from vaultstream.local.worker_logs import log_folder
from vaultstream.store.jobs import Job, list_jobs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from vaultstream.api import SigningJobSpec
    from vaultstream.store.database import Connection

_NAME = re.compile(r"^quick-start-\d+-batch-\d+(-run-\d+)?$")


def run_name(spec: SigningJobSpec, number: int) -> str:
    """Returns the name of the run of that number, 1 or more, among those with the same records and batch size."""
    table = spec.records.table.replace("quickstart", "quick-start").replace("_", "-")
    stem = f"{table}-batch-{spec.batch_size}"
    return stem if number == 1 else f"{stem}-run-{number}"


def choose_run(spec: SigningJobSpec, jobs: Mapping[str, Job], *, unfinished: Callable[[Job], bool]) -> str:
    """Returns the name of the run to open: an unfinished one with exactly this spec, or the next free name.

    Args:
        spec: what to sign, and how.
        jobs: every job that is not deleted, by its name.
        unfinished: whether a run is to be resumed.
    """
    names = (run_name(spec, number) for number in count(1))
    return next(
        name for name in names if (job := jobs.get(name)) is None or (job.spec == spec and unfinished(job))
    )


def is_unfinished(job: Job, *, verified: bool) -> bool:
    """Returns whether a run is to be resumed: it has not ended, or it is signed and was not yet verified."""
    return not job.ended or (job.state is JobState.COMPLETE and not verified)


class QuickStartRuns:
    """The runs in one database, with the marks of one data directory.

    Args:
        data_dir: holds the logs, and the marks of the runs that were verified.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir

    async def open(self, connection: Connection, spec: SigningJobSpec) -> Job:
        """Returns the interrupted run with this spec, or a new one under the next free name."""
        jobs = {job.name: job for job in await list_jobs(connection)}
        return await open_job(connection, choose_run(spec, jobs, unfinished=self._unfinished), spec)

    def mark_verified(self, job: Job) -> None:
        """Notes that all signatures of a run were checked."""
        mark = self._mark(job)
        mark.parent.mkdir(
            mode=0o700, parents=True, exist_ok=True
        )  # it may have been signed from another folder
        mark.touch()

    async def finished(self, connection: Connection, table: str) -> list[Job]:
        """Returns the runs over a table that were signed and verified, oldest first."""
        return [
            job
            for job in await list_jobs(connection)
            if _NAME.match(job.name)
            and job.spec.records.table == table
            and job.state is JobState.COMPLETE
            and not self._unfinished(job)
        ]

    def _unfinished(self, job: Job) -> bool:
        return is_unfinished(job, verified=self._mark(job).exists())

    def _mark(self, job: Job) -> Path:
        return log_folder(self._data_dir, job.token) / "verified"
