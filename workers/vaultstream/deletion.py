"""Deletes a job everywhere: its messages in JetStream, then the job in Postgres."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaultstream.bus.keys import KeysStream
from vaultstream.bus.records import RecordsStream
from vaultstream.store import jobs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from vaultstream.bus.connection import Bus
    from vaultstream.store.database import Connection
    from vaultstream.store.jobs import Job


async def remove_messages(bus: Bus, token: str, tenant: str | None) -> None:
    """Removes a job's keys, batches and consumer from JetStream, as the operator. Missing data is not an error."""
    reached = bus.of_tenant(tenant)
    await RecordsStream(reached).remove(token)
    await KeysStream(reached).remove(token)


async def delete_with_messages(
    connection: Connection, job: Job, policy: str, *, remove: Callable[[str, str | None], Awaitable[None]]
) -> None:
    """Deletes a job. Interrupted at any point, it can be repeated.

    JetStream comes first: once the job is gone from Postgres, nobody would come back for its messages.

    Args:
        connection: to Postgres.
        job: the job; one that was deleted with Retain can be deleted with Delete later.
        policy: Retain or Delete; `functions/delete_job.sql` describes what each keeps.
        remove: removes the messages of the job with a given token and tenant, as `remove_messages` does.
    """
    await remove(job.token, job.tenant)
    await jobs.delete_job(connection, job.job_no, policy)
