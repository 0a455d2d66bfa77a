"""What was done to jobs, and by whom: written by the functions of the schema, read here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncpg

from vaultstream.errors import DatabaseError, UnknownJobError
from vaultstream.store.sql import query

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from vaultstream.store.database import Connection


@dataclass(frozen=True)
class AuditedJob:
    """A job that has events; it may have been deleted."""

    job_no: int
    token: str
    name: str
    tenant: str | None


@dataclass(frozen=True)
class AuditEvent:
    """What somebody did to a job."""

    number: int | None
    """From 1 in each job, without a gap; None: the next event, or the next seal, numbers it."""
    action: str
    login: str
    """To Postgres."""
    at: datetime
    arguments: Mapping[str, str]


async def get_audited_job(connection: Connection, name: str) -> AuditedJob:
    """Returns the job of that name or token. One that was deleted is found too: by its name, unless a later job has it.

    Raises:
        UnknownJobError: there is none.
    """
    row = await connection.fetchrow(query("find_audited_job"), name)
    if row is None:
        raise UnknownJobError(name)
    return AuditedJob(**dict(row))


async def list_audit_events(
    connection: Connection, job_no: int, *, limit: int | None = None
) -> list[AuditEvent]:
    """Returns what was done to a job, in the order of the numbers: the latest `limit` events."""
    rows = await connection.fetch(query("list_audit_events"), job_no, limit)
    return [AuditEvent(**dict(row)) for row in rows]


async def count_audit_events(connection: Connection, job_no: int) -> int:
    """Returns how many events a job has."""
    return int(await connection.fetchval(query("count_audit_events"), job_no))


async def audit_events_after(
    connection: Connection, job_no: int, number: int, *, limit: int | None = None
) -> list[AuditEvent]:
    """Returns the numbered events of a job after a number, in their order; at most `limit`."""
    rows = await connection.fetch(query("list_audit_events_after"), job_no, number, limit)
    return [AuditEvent(**dict(row)) for row in rows]


async def newest_event_number(connection: Connection, job_no: int) -> int:
    """Returns the number of the last event of a job that has one; 0 if none has."""
    return int(await connection.fetchval(query("newest_event_number"), job_no))


async def number_audit_events(connection: Connection, job_no: int) -> int | None:
    """Numbers the events of a job that have no number yet, and returns the last number.

    None: another transaction is numbering them, or this one is not READ COMMITTED; what is left gets its numbers later.
    """
    last: int | None = await connection.fetchval(query("number_audit_events"), job_no)
    return last


async def record_export(connection: Connection, job_no: int, arguments: Mapping[str, str]) -> bool:
    """Records that this login exports a job; returns False if it has no right to record that.

    Raises:
        DatabaseError: it can't be recorded.
    """
    try:
        async with connection.transaction(isolation="read_committed"):
            await connection.execute(query("record_export"), job_no, dict(arguments))
    except asyncpg.InsufficientPrivilegeError:
        return False
    except asyncpg.ReadOnlySQLTransactionError:
        raise DatabaseError(
            "The export can't be recorded: the database is read-only.",
            hint="Export from the primary, where the audit events of the job are written.",
        ) from None
    except asyncpg.ConfigurationLimitExceededError as error:
        raise DatabaseError(
            f"The export can't be recorded: {error}.",
            hint="Wait, or export several records at once by repeating --records.",
        ) from None
    return True
