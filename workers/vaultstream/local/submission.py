"""Jobs of this machine before and between runs: created, suspended, resumed. As on Kubernetes, a field of the spec says which."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vaultstream.errors import UsageError
from vaultstream.local.runner import open_job
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
    """A job as it is in the database, and whether it was not there before."""

    job: Job
    created: bool


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
            if before is not None:
                require_ours(before, "kubectl apply -f FILE")
            job = await open_job(connection, manifest.metadata.name, manifest.spec)
            submitted.append(Submitted(job, created=before is None))
    return submitted


async def change_suspension(connection: Connection, name: str, *, suspended: bool) -> tuple[Job, bool]:
    """Sets a job's `spec.suspend`, and suspends or resumes it; returns the job, and whether it was otherwise before.

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
        await jobs.set_suspended(connection, job.job_no, suspended=suspended)
    changed = await jobs.get_job(connection, job.token)
    return changed, (changed.state, changed.spec.suspend) != (job.state, job.spec.suspend)


def require_ours(job: Job, instead: str) -> None:
    """Checks that a job is not one of the operator's, which would undo a change.

    Args:
        job: the job.
        instead: the command that makes the change on Kubernetes.

    Raises:
        UsageError: the job belongs to an object of Kubernetes.
    """
    if job.owner_uid is not None:
        raise UsageError(
            f"Job {job.name} belongs to a SigningJob on Kubernetes, whose operator would undo the change.",
            hint=f"Change the object: {instead}",
        )


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
