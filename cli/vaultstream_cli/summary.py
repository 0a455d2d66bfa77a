"""The summary of a job that has ended."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from vaultstream.api import JobState
from vaultstream.errors import AuditError, NotAllSignedError, VaultStreamError
from vaultstream.plurals import counted
from vaultstream.store.jobs import Job
from vaultstream.store.keys import KeyUse, get_key_use
from vaultstream.store.progress import LEAST_PAUSE_SECONDS, read_job, with_pauses
from vaultstream_cli.display import duration
from vaultstream_cli.output import print_table

if TYPE_CHECKING:
    from vaultstream.local.scaler import Taken
    from vaultstream.store.database import Pool
    from vaultstream.store.progress import JobProgress


FAILED_HINT = (
    "A failed job can't be resumed. Its signatures are kept; sign the rest with a new job under another name."
)


@dataclass(frozen=True)
class Summary:
    """The result of a run."""

    job: Job
    progress: JobProgress
    keys: KeyUse
    decisions: tuple[Taken, ...] = ()
    """This run's decisions that changed the number of signers, oldest first."""

    def to_json(self) -> dict[str, Any]:
        return {
            "job": self.job.name,
            "token": self.job.token,
            "state": self.job.state,
            "message": self.job.message,
            "records": self.progress.records,
            "signed": self.progress.signed,
            "dead": self.progress.dead,
            "batches": self.progress.batches,
            "batch_size": self.job.spec.batch_size,
            "algorithm": self.job.spec.keys.algorithm,
            "seconds": self.job.seconds,
            "working_seconds": self.progress.working_seconds if self.job.ended else None,
            "records_per_second": self.progress.overall_rate,
            "keys": asdict(self.keys),
            "decisions": [taken.to_json() for taken in self.decisions],
        }


async def get_summary(pool: Pool, token: str) -> Summary:
    async with pool.acquire() as connection:
        snapshot = await with_pauses(connection, await read_job(connection, token))
        keys = await get_key_use(connection, snapshot.job.job_no)
    return Summary(snapshot.job, snapshot.progress, keys)


def print_summary(summary: Summary) -> None:
    """Prints a summary for people."""
    progress, keys, rate = summary.progress, summary.keys, summary.progress.overall_rate
    print_table(
        ("job", summary.job.name),
        [
            ("state", summary.job.state.value),
            ("records", f"{progress.records:,}"),
            ("signed", f"{progress.signed:,}"),
            ("dead letters", f"{progress.dead:,}"),
            ("batches", f"{progress.batches:,}, of {counted(summary.job.spec.batch_size, 'record')} each"),
            ("time", _time(summary)),
            ("rate", f"{rate:,.0f} records/s" if rate else "-"),
            ("keys used", f"{keys.used} of {keys.keys}, {_batches(keys.least, keys.most)} each"),
        ],
    )


def _time(summary: Summary) -> str:
    progress = summary.progress
    if not summary.job.ended or progress.paused_seconds < LEAST_PAUSE_SECONDS:
        return duration(summary.job.seconds)
    return f"{duration(progress.working_seconds)}, without {duration(progress.paused_seconds)} of pauses"


def _batches(least: int, most: int) -> str:
    return counted(most, "batch", "batches") if least == most else f"{least:,} to {most:,} batches"


def require_all_signed(summary: Summary) -> None:
    """Checks that every record of a job has a signature.

    Raises:
        NotAllSignedError: some records are dead letters.
        AuditError: the job is called complete, and is not.
        VaultStreamError: the job failed.
    """
    job, progress = summary.job, summary.progress
    left = progress.batches - progress.batches_done
    if job.state is JobState.COMPLETE and (left or not job.planned):
        what = (
            f"{left:,} of {counted(progress.batches, 'batch', 'batches')}" if left else "some of its records"
        )
        raise AuditError(
            f"Postgres calls job {job.name} Complete, but {what} {'is' if left == 1 else 'are'} still to be signed.",
            hint=f"The state of the job was altered in the database. `vaultstream verify {job.name}` shows what is missing.",
        )
    if job.state is JobState.FAILED:
        raise VaultStreamError(f"Job {job.name} failed: {job.message}", hint=FAILED_HINT)
    if progress.dead:
        raise NotAllSignedError(
            f"{progress.dead:,} of {counted(progress.records, 'record')} of job {job.name} {'is a dead letter' if progress.dead == 1 else 'are dead letters'}.",
            hint=f"`vaultstream dead {job.name}` shows why. Fix the cause, then run `vaultstream retry {job.name}`.",
        )
