"""Deletes a job of this machine, unless its workers are connected or NATS is unreachable."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from vaultstream.bus.connection import BUS_ERRORS, connect_bus
from vaultstream.crypto.seal_keys import load_seal_keys
from vaultstream.deletion import delete_with_messages, remove_messages
from vaultstream.errors import BusError, UsageError
from vaultstream.sealing.since import seal_since
from vaultstream.store.logs import newest_seal
from vaultstream.store.sessions import list_worker_sessions

if TYPE_CHECKING:
    from pathlib import Path

    from vaultstream.local.services import Services
    from vaultstream.store.database import Connection, Pool
    from vaultstream.store.jobs import Job


async def require_idle(connection: Connection, job: Job) -> None:
    """Checks that no worker of a job is connected.

    Raises:
        UsageError: workers of the job are connected; the message lists their processes.
    """
    sessions = await list_worker_sessions(connection, job.job_no)
    if sessions:
        workers = ", ".join(f"{s.role} {s.host}:{s.pid} (user {s.login})" for s in sessions)
        raise UsageError(
            f"Job {job.name} has connected workers: {workers}.",
            hint="Stop the command that runs it first (Ctrl-C drains its workers), or use --force: the workers then exit by "
            "themselves and discard the batches in flight.",
        )


async def delete_everywhere(services: Services, pool: Pool, job: Job, *, policy: str, force: bool) -> bool:
    """Deletes a job from JetStream and Postgres; see `vaultstream.deletion`.

    Args:
        services: where NATS is.
        pool: of connections to Postgres.
        job: the job; one that was deleted with Retain can be deleted with Delete later.
        policy: Retain or Delete.
        force: delete it even while workers are connected or NATS is unreachable.

    Returns:
        Whether its messages were removed from JetStream; False only with `force`.

    Raises:
        UsageError: workers of the job are connected.
        BusError: NATS is unreachable.
    """
    if not force:
        async with pool.acquire() as connection:
            await require_idle(connection, job)
    try:
        async with (
            connect_bus(services.bus_address, role="operator", attempts=1) as bus,
            pool.acquire() as connection,
        ):
            await delete_with_messages(connection, job, policy, remove=partial(remove_messages, bus))
            if force:  # workers that were connected may have published more in between
                await remove_messages(bus, job.token, job.tenant)
    except (BusError, *BUS_ERRORS):
        if not force:
            raise
        async with pool.acquire() as connection:
            await delete_with_messages(connection, job, policy, remove=_leave_messages)
        return False
    return True


async def is_sealed(connection: Connection, job: Job) -> bool:
    """Whether a job has a seal, so that a seal should say that it was deleted."""
    return await newest_seal(connection, job.job_no) is not None


async def seal_deletion(connection: Connection, job: Job, *, key_file: Path, folder: Path) -> None:
    """Seals that a job was deleted, while its row is there: the policy Retain leaves it.

    Raises:
        CustodyError: the seal key can't be read.
        ProofError: a log is not what was signed.
    """
    await seal_since(connection, load_seal_keys(key_file), folder, job.token, deletion=True)


async def _leave_messages(*_: object) -> None:
    """Removes nothing, because NATS is unreachable; `vaultstream doctor` finds what is left."""
