"""Jobs of this machine before and between runs: created, suspended, resumed. As on Kubernetes, a field of the spec says which."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vaultstream.api import JobState
from vaultstream.errors import UsageError
from vaultstream.local.runner import open_job, require_ours
from vaultstream.store import jobs
from vaultstream.store.sessions import list_worker_sessions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vaultstream.api import SigningJob
    from vaultstream.store.database import Connection, Pool
    from vaultstream.store.jobs import Job

_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Submitted:
    """A job as it is in the database, whether it was not there before, and whether it was suspended before and is not now."""

    job: Job
    created: bool
    resumed: bool = False


async def submit_jobs(connection: Connection, manifests: Sequence[SigningJob]) -> list[Submitted]:
    """Creates jobs, or updates those that are there, all or none.

    Raises:
        InvalidJobError: a job of that name exists with other immutable fields.
        SourceError: a table or its columns can't be used.
        UsageError: a job of that name belongs to an object of Kubernetes.
    """
    submitted = []
    async with connection.transaction():
        for manifest in manifests:
            before = await jobs.find_job(connection, manifest.metadata.name)
            job = await open_job(connection, manifest.metadata.name, manifest.spec)
            was_suspended = before is not None and before.state is JobState.SUSPENDED
            resumed = was_suspended and job.state is not JobState.SUSPENDED
            submitted.append(Submitted(job, created=before is None, resumed=resumed))
    return submitted


async def change_suspension(
    connection: Connection, name: str, *, suspended: bool, why: str | None = None
) -> tuple[Job, bool]:
    """Sets a job's `spec.suspend`, and suspends or resumes it; returns the job, and whether it was otherwise before.

    Args:
        connection: to Postgres.
        name: name or token of the job.
        suspended: whether it is suspended from now on.
        why: its message while it is suspended; None: none of its own.

    Raises:
        UnknownJobError: there is no such job.
        UsageError: it has ended, or belongs to an object of Kubernetes.
    """
    job = await jobs.get_job(connection, name)
    wanted = str(suspended).lower()
    require_ours(
        job, f'kubectl patch signingjob {job.name} --type merge -p \'{{"spec":{{"suspend":{wanted}}}}}\''
    )
    if job.ended:
        what = "was deleted" if job.deleted_at else f"has ended ({job.state})"
        raise UsageError(
            f"Job {job.name} {what}, so it can't be {'suspended' if suspended else 'resumed'}.",
            hint=f"`vaultstream status {job.token}` shows it.",
        )
    async with connection.transaction():
        if job.spec.suspend is not suspended:
            await jobs.update_spec(connection, job.job_no, job.spec.model_copy(update={"suspend": suspended}))
        await jobs.set_suspended(connection, job.job_no, suspended=suspended, why=why)
    changed = await jobs.get_job(connection, job.token)
    return changed, (changed.state, changed.spec.suspend) != (job.state, job.spec.suspend)


async def workers_left(pool: Pool, job: Job, *, seconds: float) -> bool:
    """Waits until no worker of a suspended job is connected, at most `seconds`; returns whether none is."""
    until = asyncio.get_running_loop().time() + seconds
    while True:
        async with pool.acquire() as connection:
            if not await list_worker_sessions(connection, job.job_no):
                return True
        if asyncio.get_running_loop().time() >= until:
            return False
        await asyncio.sleep(_POLL_SECONDS)
