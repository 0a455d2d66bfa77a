"""Compares the rows that the source has now with the records of a job: which of them does no batch cover?

A batch covers what planning saw. A row with a lower id that committed after planning had passed it belongs to no batch, as does one
that was inserted since: their ids do not tell them apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from vaultstream.audit.checks.queries import job_query, parse_record_id, require_id
from vaultstream.audit.report import MAX_EXAMPLES, AuditFinding, Tally
from vaultstream.store.batches import ID_BYTES
from vaultstream.store.source_errors import errors_of_source
from vaultstream.store.sql import query

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Container, Sequence

    import asyncpg

    from vaultstream.audit.checks.checker import Assignment
    from vaultstream.audit.checks.queries import RecordId
    from vaultstream.records.source import Source
    from vaultstream.store.database import Connection
    from vaultstream.store.jobs import Job

ROWS = 10_000
"""Rows read at a time."""
UNSETTLED_ROWS = 10_000
"""Rows of a run that have neither a signature nor a dead letter: they are compared with the batches once there are so many."""
COMPARED_ROWS = 100_000
"""Rows of all runs in one query, which reads the ids of all batches. No more are kept, but for those of a run per process."""


class SourceRange(NamedTuple):
    """Rows of the source, by their ids. Ranges that follow each other leave out no row up to the last one's end, whatever their ends are."""

    after: str | None
    """None: from the first row, and rows without an id."""
    up_to: str | None


async def source_ranges(connection: Connection, job: Job, lasts: Sequence[int]) -> list[SourceRange]:
    """Returns a range of the source for each run of batches, with those rows that its batches cover.

    Args:
        connection: of ours, in the transaction with the snapshot.
        job: the job.
        lasts: the last number of each run but the last one.

    Raises:
        AuditError: a batch's last id, or the job's, is of another type.
    """
    rows = await connection.fetch(query("audit_run_ends"), job.job_no, lasts)
    ends = [row[0] for row in rows]
    for end in [*ends, job.upper_id, job.planned_id]:
        require_id(end, job.id_type)
    return [*map(SourceRange, [None, *ends], [*ends, job.upper_id if job.planned else job.planned_id])]


async def check_source_range(
    connection: Connection,
    reading: Connection,
    job: Assignment,
    compared: tuple[SourceRange, Container[RecordId]],
    tally: Tally,
) -> None:
    """Finds rows of a range that neither a batch of the run covers nor a signature or dead letter is of; adds them to the tally.

    Args:
        connection: of ours, in the transaction with the snapshot.
        reading: a source connection, in a transaction with the same snapshot.
        job: the job.
        compared: the range, and the records of the planned batches of the run.
        tally: what was found is added to it; rows that may still be covered by another run, as `unsettled`.
    """
    assert job.source is not None  # noqa: S101 - asked for only then
    rows_of, covered = compared
    async for rows in _rows(reading, job.source, rows_of):
        for row in rows:
            if row["id"] is None:
                _find_unplannable(row["beginning"], tally)
        others = [row["id"] for row in rows if row["id"] is not None and row["id"] not in covered]
        if others:
            tally.unsettled += map(str, await _of_job(connection, job, "audit_unsettled", others))
        if len(tally.unsettled) >= UNSETTLED_ROWS:
            await find_uncovered(connection, job, tally)


async def relieve(connection: Connection, job: Job, tally: Tally) -> None:
    """Compares the unsettled rows of a tally once there are so many that memory would grow with the job."""
    if len(tally.unsettled) >= COMPARED_ROWS:
        await find_uncovered(connection, job, tally)


async def find_uncovered(connection: Connection, job: Job | Assignment, tally: Tally) -> None:
    """Takes the unsettled rows out of a tally, and adds a finding for each that no batch of the job covers."""
    reason = "its row is in the source, and no batch covers it: it committed late, or was inserted since"
    unsettled = list(dict.fromkeys(tally.unsettled))  # ranges can overlap if the ends of batches were altered
    tally.unsettled.clear()
    for start in range(0, len(unsettled), COMPARED_ROWS):
        ids = [parse_record_id(each, job.id_type) for each in unsettled[start : start + COMPARED_ROWS]]
        uncovered = await _of_job(connection, job, "audit_uncovered", ids)
        for record in uncovered[:MAX_EXAMPLES]:
            tally.find(AuditFinding.UNCOVERED, str(record), reason, number=0)
        tally.add(AuditFinding.UNCOVERED, len(uncovered))


def _find_unplannable(beginning: str | None, tally: Tally) -> None:
    reason = "a row of the source has no id"
    if beginning is not None:
        reason = (
            f"a row of the source has an id of more than {ID_BYTES:,} bytes, which begins with {beginning!r}"
        )
    tally.find(AuditFinding.UNCOVERED, None, reason)


async def _of_job(
    connection: Connection, job: Job | Assignment, name: str, ids: Sequence[RecordId]
) -> list[Any]:
    return [row["id"] for row in await connection.fetch(job_query(name, job), job.job_no, ids)]


async def _rows(
    reading: Connection, source: Source, rows_of: SourceRange
) -> AsyncIterator[list[asyncpg.Record]]:
    """Yields the rows of a range, some at a time."""
    with errors_of_source(reading, source.relation):
        await reading.execute(query("restore_session", lift_timeouts=query("lift_timeouts")))
        cursor = await reading.cursor(
            source.fill("audit_source_rows"), rows_of.up_to, ID_BYTES, rows_of.after
        )
    while True:
        with errors_of_source(reading, source.relation):
            rows = await cursor.fetch(ROWS)
        if not rows:
            return
        yield rows


async def count_rows_since(reading: Connection, source: Source, job: Job) -> int | None:
    """Returns how many rows have a higher id than the job reaches; None: its records are still to be planned."""
    if not job.planned:
        return None
    with errors_of_source(reading, source.relation):
        await reading.execute(query("restore_session", lift_timeouts=query("lift_timeouts")))
        return int(await reading.fetchval(source.fill("audit_source_rows_since"), job.upper_id))
