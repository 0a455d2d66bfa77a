"""Deletes a job everywhere: in Postgres by its policy, in JetStream all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaultstream.bus.connection import BUS_ERRORS, connect_bus
from vaultstream.bus.keys import KeysStream
from vaultstream.bus.records import RecordsStream
from vaultstream.errors import BusError, UsageError
from vaultstream.store import jobs
from vaultstream.store.sessions import list_worker_sessions

if TYPE_CHECKING:
    from vaultstream.local.services import Services
    from vaultstream.store.database import Connection, Pool
    from vaultstream.store.jobs import Job


async def require_idle(connection: Connection, job: Job) -> None:
    """Passes a job that nobody works on.

    Raises:
        UsageError: workers of the job are connected; the message names their processes.
    """
    sessions = await list_worker_sessions(connection, job.job_no)
    if sessions:
        workers = ", ".join(f"{s.role} {s.host}:{s.pid}" for s in sessions)
        raise UsageError(
            f"Job {job.name} has workers at work: {workers}.",
            hint="End the command that runs it first (Ctrl-C drains), or delete it with --force: its workers then leave "
            "by themselves, and drop the batches in hand.",
        )


async def delete_everywhere(services: Services, pool: Pool, job: Job, *, policy: str, force: bool) -> bool:
    """Deletes a job; see `functions/delete_job.sql` for what its policy keeps.

    Args:
        services: where NATS is.
        pool: of connections to Postgres.
        job: which job; one that was deleted with Retain before can be deleted with Delete.
        policy: Retain or Delete.
        force: delete it also while workers are connected, or with NATS away.

    Returns:
        Whether JetStream was cleared of it; False only with `force`.

    Raises:
        UsageError: workers of the job are connected.
        BusError: NATS can't be reached.
    """
    async with pool.acquire() as connection:
        if not force:
            await require_idle(connection, job)
    address = services.bus_address
    try:
        async with connect_bus(address, role="operator", attempts=1) as bus:
            await _delete(pool, job, policy)
            await RecordsStream(bus).remove(job.token)
            await KeysStream(bus).remove(job.token)
    except (BusError, *BUS_ERRORS):
        if not force:
            raise
        await _delete(pool, job, policy)
        return False
    return True


async def _delete(pool: Pool, job: Job, policy: str) -> None:
    async with pool.acquire() as connection:
        await jobs.delete_job(connection, job.job_no, policy)
