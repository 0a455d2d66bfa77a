"""Dead letters: records that could not be signed, each with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vaultstream.store.sql import query

if TYPE_CHECKING:
    from datetime import datetime

    from vaultstream.store.database import Connection


@dataclass(frozen=True)
class DeadLetter:
    """A record that could not be signed, and why."""

    record_id: str
    batch_no: int
    reason: str
    """One word; see `vaultstream.records.reasons`."""
    message: str
    died_at: datetime


async def list_dead_letters(
    connection: Connection, job_no: int, *, limit: int | None = None
) -> list[DeadLetter]:
    """Returns dead letters of a job in the order of their batches, at most `limit`."""
    rows = await connection.fetch(query("list_dead_letters"), job_no, limit)
    return [DeadLetter(**dict(row)) for row in rows]


@dataclass(frozen=True)
class ClearedDeadLetter(DeadLetter):
    """A dead letter that a retry cleared: when, and which login it was."""

    cleared_at: datetime
    cleared_by: str


async def list_cleared(
    connection: Connection, job_no: int, *, limit: int | None = None
) -> list[ClearedDeadLetter]:
    """Returns dead letters of a job that retries cleared, the latest first, at most `limit`."""
    rows = await connection.fetch(query("list_cleared_dead_letters"), job_no, limit)
    return [ClearedDeadLetter(**dict(row)) for row in rows]


async def count_cleared(connection: Connection, job_no: int) -> int:
    """Returns how many dead letters of a job retries have cleared."""
    return int(await connection.fetchval(query("count_cleared_dead_letters"), job_no))


async def was_retried(connection: Connection, job_no: int) -> bool:
    """Whether dead letters of a job were put back in the queue. Of a login that may not know, such as the operator's, it is assumed."""
    may_know = await connection.fetchval(query("may_read_retries"))
    return not may_know or await count_cleared(connection, job_no) > 0


async def count_dead_letters(connection: Connection, job_no: int) -> int:
    """Returns how many dead letters a job has."""
    return int(await connection.fetchval(query("count_dead_letters"), job_no))
