"""Runs a job to its end on this machine: keeps services and workers running, and reports progress."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Container
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vaultstream.api import JobState, changed_immutable_fields
from vaultstream.errors import InvalidJobError, UsageError
from vaultstream.local.pool import WorkerPool
from vaultstream.local.stalls import StallWatch
from vaultstream.records.source import inspect_source
from vaultstream.scaling.kept import MOST_KEPT
from vaultstream.store import jobs
from vaultstream.store.blockers import LOCKED_SECONDS, unless_blocked
from vaultstream.store.database import explain, is_misconfigured, is_passing, is_transient
from vaultstream.store.decisions import keep_decision
from vaultstream.store.jobs import Job
from vaultstream.store.progress import JobProgress, JobSnapshot, read_job, with_pauses
from vaultstream.store.serving import no_writes, replace_connections
from vaultstream.store.sessions import WorkerSession, list_worker_sessions
from vaultstream.store.source_pool import replaced

if TYPE_CHECKING:
    from vaultstream.api import SigningJobSpec
    from vaultstream.local.services import Services
    from vaultstream.scaling.kept import KeptDecision
    from vaultstream.store.database import Connection, Pool

POLL_SECONDS = 0.25
SERVICES_POLL_SECONDS = 1.0
"""Interval of the check that the services answer, while all is well: each check opens a connection to both."""


@dataclass(frozen=True)
class RunState:
    """What a display shows about a run.

    Attributes:
        rate: recent records per second; None while it is unknown.
        eta_seconds: until the end at that rate; None while it is unknown.
        trouble: why there is no progress, in words; None if all is well.
        why: why the pool has its size, in words; empty: unknown.
        others: workers of the job that this run has not started, such as those of another terminal.
    """

    job: Job
    progress: JobProgress
    signers: int
    rate: float | None
    eta_seconds: float | None
    trouble: str | None
    why: str = ""
    others: tuple[WorkerSession, ...] = ()


@dataclass(frozen=True)
class PoolState:
    """State of a run, from which the size of its pool is decided.

    Attributes:
        signers: signing processes that the pool keeps.
        ready: signing processes that are alive.
    """

    snapshot: JobSnapshot
    signers: int
    ready: int


@dataclass(frozen=True)
class PoolSize:
    """The number of signers for a pool.

    Attributes:
        signers: how many.
        why: why it was changed last, in a sentence; empty: it was not changed.
        news: the decision that gave it, if it is to be kept.
    """

    signers: int
    why: str = ""
    news: KeptDecision | None = None


Scale = Callable[[PoolState], PoolSize]
"""Decides the size of a pool, at each poll."""


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


async def open_job(connection: Connection, name: str, spec: SigningJobSpec) -> Job:
    """Returns the job of that name: a new job, or the existing one, to be resumed.

    Raises:
        InvalidJobError: a job of that name exists with other immutable fields.
        SourceError: its table or columns can't be used.
        UsageError: it belongs to an object of Kubernetes.
    """
    source = await inspect_source(connection, spec.records)
    job = await jobs.find_job(connection, name)
    if job is not None:
        require_ours(job, "kubectl apply -f FILE")
    if job is None:
        job = await jobs.create_job(connection, name, spec, id_type=source.id_type, source_oid=source.oid)
    elif changed := changed_immutable_fields(job.spec, spec):
        raise InvalidJobError(
            f"A job named {name!r} already exists with a different {', '.join(changed)}, which can't be changed.",
            hint=f"Give the new job another name, or run `vaultstream delete {name}` first.",
        )
    elif not job.ended and job.source_oid not in {None, source.oid}:
        raise replaced(source.relation)
    elif job.spec != spec:
        await jobs.update_spec(connection, job.job_no, spec)
    await jobs.set_suspended(connection, job.job_no, suspended=spec.suspend)
    return await jobs.get_job(connection, job.token)


async def run_job(
    services: Services,
    pool: Pool,
    job: Job,
    *,
    scale: Scale,
    show: Callable[[RunState], None],
) -> Job:
    """Runs a job until it has ended or is suspended, and returns its last state.

    Cancellation drains the workers: they finish their batches and release their keys. A later run resumes from there.

    Args:
        services: kept running while the job runs.
        pool: of connections to Postgres.
        job: the job.
        scale: decides how many signers run.
        show: called with the state of the run at each poll.

    Raises:
        VaultStreamError: somebody has to fix something first; signatures are kept.
    """
    last: RunState | None = None
    others: tuple[WorkerSession, ...] = ()
    check_services_at = 0.0
    begin: JobSnapshot | None = None
    stall = StallWatch()
    unkept: deque[KeptDecision] = deque(maxlen=MOST_KEPT)
    async with WorkerPool(services, job) as workers:
        while True:
            trouble = workers.trouble
            try:
                if due := bool(trouble) or time.monotonic() >= check_services_at:
                    services = await services.ensure_running()
                    await workers.move(services)
                    check_services_at = time.monotonic() + SERVICES_POLL_SECONDS
                snapshot, refused = await _read(pool, services, job.token)
                job = snapshot.job
                begin = snapshot if begin is None or not _settled_since(begin, snapshot) else begin
                snapshot = _without_pause(snapshot, begin)
                if due:
                    others = await _others(pool, job, workers.started)
                trouble = refused or await stall.obstacle(services, _progressed(snapshot)) or trouble
            except Exception as error:
                if not is_passing(error):
                    raise
                trouble = explain(error).message
                check_services_at = 0.0
            else:
                last = replace(_run_state(snapshot, workers.signers), others=others)
                if job.ended or job.state is JobState.SUSPENDED:
                    show(last)
                    return job
                size = scale(PoolState(snapshot, workers.signers, workers.signers_alive))
                await _keep(pool, job, unkept, size.news)
                if size.signers != workers.signers:
                    await workers.scale(size.signers)
                show(replace(last, signers=workers.signers, why=size.why))
            if trouble and last:
                show(replace(last, rate=None, eta_seconds=None, trouble=trouble))
            await workers.tend()
            await asyncio.sleep(POLL_SECONDS)


async def _read(pool: Pool, services: Services, token: str) -> tuple[JobSnapshot, str | None]:
    """Returns the job as it is now, and why the connection takes no writes; such a connection is not used again."""
    async with (
        pool.acquire(timeout=5) as connection,
        unless_blocked(connection, services.database_url, patience=LOCKED_SECONDS),
    ):
        snapshot = await with_pauses(connection, await read_job(connection, token))  # of a job that has ended
        if refused := no_writes(connection):
            await replace_connections(pool, connection)
        return snapshot, refused


async def _keep(pool: Pool, job: Job, unkept: deque[KeptDecision], news: KeptDecision | None = None) -> None:
    """Adds a decision to the list, stores what is in it, and removes what is stored. While Postgres takes none, the work goes on without."""
    if news is not None:
        unkept.append(news)
    if not unkept:
        return
    try:
        async with pool.acquire(timeout=5) as connection:
            while unkept:
                await keep_decision(connection, job.job_no, unkept[0])
                unkept.popleft()
    except Exception as error:
        if not (is_transient(error) or is_misconfigured(error)):
            raise


async def _others(pool: Pool, job: Job, ours: Container[int]) -> tuple[WorkerSession, ...]:
    """Returns the workers of a job that this process has not started."""
    async with pool.acquire(timeout=5) as connection:
        found = await list_worker_sessions(connection, job.job_no)
    return tuple(each for each in found if each.pid not in ours)


def _progressed(snapshot: JobSnapshot) -> object:
    progress = snapshot.progress
    return progress.settled, progress.batches, progress.batches_done, snapshot.job.planned, snapshot.job.state


def _settled_since(begin: JobSnapshot, snapshot: JobSnapshot) -> bool:
    return snapshot.progress.settled != begin.progress.settled


def _without_pause(snapshot: JobSnapshot, begin: JobSnapshot) -> JobSnapshot:
    """Returns a snapshot whose rate does not count the time before this run, in which nobody may have worked on the job."""
    seconds = (snapshot.read_at - begin.read_at).total_seconds()
    return replace(snapshot, progress=snapshot.progress.since(begin.progress, seconds))


def _run_state(snapshot: JobSnapshot, signers: int) -> RunState:
    job, progress = snapshot.job, snapshot.progress
    return RunState(
        job=job,
        progress=progress,
        signers=signers,
        rate=progress.rate,
        eta_seconds=progress.eta_seconds,
        trouble=job.message or progress.last_error,
    )
