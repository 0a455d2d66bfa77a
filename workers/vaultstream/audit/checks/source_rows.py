"""Compares the rows that the source has now with the records of a job: which of them does no batch cover?

A batch covers what planning saw. A row with a lower id that committed after planning had passed it belongs to no batch, as does one
that was inserted since: their ids do not tell them apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vaultstream.audit.checks.queries import job_query
from vaultstream.audit.report import MAX_EXAMPLES, AuditFinding, Tally
from vaultstream.store.batches import ID_BYTES
from vaultstream.store.source_errors import errors_of_source
from vaultstream.store.sql import query

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    import asyncpg

    from vaultstream.audit.checks.queries import RecordId
    from vaultstream.records.source import Source
    from vaultstream.store.database import Connection
    from vaultstream.store.jobs import Job

ROWS = 10_000
"""Rows read at a time."""
UNSETTLED_ROWS = 100_000
"""Rows that have neither a signature nor a dead letter, compared with the batches at a time."""


async def check_source_rows(
    connection: Connection, reading: Connection, job: Job, source: Source, tally: Tally
) -> int | None:
    """Finds rows of the source that no batch covers.

    Args:
        connection: of ours, in the transaction with the snapshot.
        reading: a source connection, in a transaction with the same snapshot.
        job: the job.
        source: its source.
        tally: the findings are added to it.

    Returns:
        How many rows have a higher id than the job reaches; None: its records are still to be planned.
    """
    upper = job.upper_id if job.planned else job.planned_id
    unsettled: list[RecordId] = []
    async for rows in _rows(reading, source, upper):
        ids = [row["id"] for row in rows if row["id"] is not None]
        for row in rows:
            if row["id"] is None:
                _find_unplannable(row["beginning"], tally)
        unsettled += await _of_job(connection, job, "audit_unsettled", ids)
        if len(unsettled) >= UNSETTLED_ROWS:
            await _find_uncovered(connection, job, unsettled, tally)
            unsettled.clear()
    await _find_uncovered(connection, job, unsettled, tally)
    return await _count_since(reading, source, job.upper_id) if job.planned else None


def _find_unplannable(beginning: str | None, tally: Tally) -> None:
    reason = "a row of the source has no id"
    if beginning is not None:
        reason = (
            f"a row of the source has an id of more than {ID_BYTES:,} bytes, which begins with {beginning!r}"
        )
    tally.find(AuditFinding.UNCOVERED, None, reason)


async def _find_uncovered(connection: Connection, job: Job, ids: Sequence[RecordId], tally: Tally) -> None:
    if not ids:
        return
    uncovered = await _of_job(connection, job, "audit_uncovered", ids)
    reason = "its row is in the source, and no batch covers it: it committed late, or was inserted since"
    for record in uncovered[:MAX_EXAMPLES]:
        tally.find(AuditFinding.UNCOVERED, str(record), reason, number=0)
    tally.add(AuditFinding.UNCOVERED, len(uncovered))


async def _of_job(connection: Connection, job: Job, name: str, ids: Sequence[RecordId]) -> list[Any]:
    return [row["id"] for row in await connection.fetch(job_query(name, job), job.job_no, ids)]


async def _rows(
    reading: Connection, source: Source, upper: str | None
) -> AsyncIterator[list[asyncpg.Record]]:
    """Yields the rows up to an id, some at a time; those without an id too."""
    with errors_of_source(reading, source.relation):
        await reading.execute(query("restore_session", lift_timeouts=query("lift_timeouts")))
        cursor = await reading.cursor(source.fill("audit_source_rows"), upper, ID_BYTES)
    while True:
        with errors_of_source(reading, source.relation):
            rows = await cursor.fetch(ROWS)
        if not rows:
            return
        yield rows


async def _count_since(reading: Connection, source: Source, upper: str | None) -> int:
    with errors_of_source(reading, source.relation):
        await reading.execute(query("restore_session", lift_timeouts=query("lift_timeouts")))
        return int(await reading.fetchval(source.fill("audit_source_rows_since"), upper))
