"""Runs a job to its end on this machine, with the number of signers that the scaling decision gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaultstream.api import JobState
from vaultstream.bus.connection import connect_bus
from vaultstream.bus.dispatch import require_streams
from vaultstream.cores import usable_cores
from vaultstream.errors import InvalidJobError
from vaultstream.local.runner import RunState, run_job
from vaultstream.local.scaler import LocalScaler, Taken, estimate_batches
from vaultstream.store.jobs import Job
from vaultstream.store.priors import JobKind, dispensable, find_kind, find_prior, learn
from vaultstream.store.source_login import find_place
from vaultstream.store.source_pool import open_source_pool

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vaultstream.local.session import Session


CANCELED = "`vaultstream cancel` has stopped it."
"""The message of a job whose workers `cancel` waits for; if they don't end, the job stays suspended with it."""


async def run_to_end(
    session: Session,
    job: Job,
    *,
    max_signers: int | None = None,
    annotations: Mapping[str, str] | None = None,
    show: Callable[[RunState], None] = lambda _: None,
) -> tuple[Taken, ...]:
    """Runs a job until it has ended or is suspended. Starts nothing if it already is.

    Canceling drains the workers, and a later run resumes the job.

    Args:
        session: the services.
        job: the job, as it was read before.
        max_signers: maximum number of signing processes; None takes MAX_SIGNERS, or else one per processor core.
        annotations: the annotations of the job's manifest, which may pause scaling.
        show: called several times per second with the state of the run.

    Returns:
        The decisions that changed the number of signers, oldest first.

    Raises:
        InvalidJobError: the job was deleted or canceled while it ran.
        ServiceError: NATS refuses the login or a stream, or a service does not start.
    """
    taken: tuple[Taken, ...] = ()
    if not job.ended and job.state is not JobState.SUSPENDED:
        most = max_signers or session.settings.max_signers or usable_cores()
        scaler = LocalScaler(job.spec.scaling, most, annotations=annotations)
        async with connect_bus(session.services.bus_address, role="command") as bus:
            await require_streams(bus)  # reports what no worker could change, before any starts
        kind: JobKind | None = None
        async with dispensable(), session.pool.acquire(timeout=5) as connection:
            kind = await find_kind(connection, job, cores=usable_cores())
            scaler.begin_with(await find_prior(connection, kind))
        if not job.planned:
            async with session.pool.acquire() as connection:
                place = await find_place(connection)
            async with open_source_pool(
                session.source_database, place=place, ours=session.pool, role="command", size=1
            ) as sources:
                scaler.expect(await estimate_batches(sources, job))
        job = await run_job(session.services, session.pool, job, scale=scaler, show=show)
        async with dispensable(), session.pool.acquire(timeout=5) as connection:
            kind = kind or await find_kind(connection, job, cores=usable_cores())
            await learn(connection, kind, job.job_no, scaler.history)
        if job.message == CANCELED and not job.ended:
            raise InvalidJobError(f"Job {job.name} was canceled while it ran.")
        taken = tuple(scaler.taken)
    if job.deleted_at is not None:
        raise InvalidJobError(f"Job {job.name} was deleted while it ran.")
    return taken
