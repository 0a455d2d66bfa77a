"""Reads the current payloads of a job's records, in portions of limited size."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import asyncpg

from vaultstream.audit.checks.judgement import Absence
from vaultstream.errors import SourceError, SourceReadError, shown
from vaultstream.records.composed import finished
from vaultstream.records.portions import PORTION_BYTES
from vaultstream.records.source import Source, inspect_source, open_source
from vaultstream.store.batches import listed_ids
from vaultstream.store.source_errors import errors_of_source
from vaultstream.store.source_pool import relation_identity
from vaultstream.store.sql import query

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence

    from vaultstream.audit.checks.queries import RecordId
    from vaultstream.store.database import Connection
    from vaultstream.store.jobs import Job

SMALL_BYTES = 4096
"""Payloads up to this length are read by the first query; longer ones in portions."""


async def pinned(connection: Connection, job: Job) -> Job:
    """Returns a job with the relation to audit it on. For a job from before relations were stored, that is the one that has its
    name now; if there is none, the job stays as it is.

    Args:
        connection: a connection of ours.
        job: the job.
    """
    if job.source_oid is not None:
        return job
    with suppress(SourceError):
        source = await inspect_source(connection, job.spec.records, hints=False)
        return replace(job, source_oid=source.oid)
    return job


async def open_audited_source(
    connection: Connection, watching: Connection, job: Job
) -> tuple[Source | None, str | None]:
    """Finds a job's source and keeps it from being dropped or altered until the transaction ends.

    Args:
        connection: a source connection, in the transaction that has the snapshot.
        watching: a connection of ours outside the snapshot: it sees renames.
        job: the job.

    Returns:
        The source and None; or None and a sentence that says why it can't be read the way the job read it.
    """
    try:
        async with connection.transaction():
            source = await open_source(connection, job)
            await connection.execute(source.fill("audit_hold_source"))
            await relation_identity(watching, source)
    except SourceError as error:
        return None, error.message
    except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError) as error:
        return None, f"The source can't be read: {shown(error)}."
    return source, None


@asynccontextmanager
async def unchanged(watching: Connection, source: Source | None) -> AsyncIterator[None]:
    """Checks that what was read in between was the source, on whatever connections it was read.

    Args:
        watching: see `open_audited_source`.
        source: the source; None: it can't be read, and nothing is checked.

    Raises:
        SourceError: it or its schema was altered, or another relation has its name now.
    """
    if source is None:
        yield
        return
    before = await relation_identity(watching, source)
    yield
    if await relation_identity(watching, source) != before:
        raise SourceError(
            f"spec.records.table: {source.relation} or its schema was altered while it was read.",
            hint="Run the command again.",
        )


async def present_payloads(
    connection: Connection, source: Source | None, ids: Sequence[RecordId], *, max_bytes: int
) -> AsyncGenerator[tuple[RecordId, bytes | Absence]]:
    """Yields each record of `ids` once, with its current payload or why it has none; otherwise as `portions_of_payloads`."""
    async for portion in portions_of_payloads(connection, source, ids, max_bytes=max_bytes):
        for found in portion:
            yield found


async def portions_of_payloads(
    connection: Connection, source: Source | None, ids: Sequence[RecordId], *, max_bytes: int
) -> AsyncGenerator[list[tuple[RecordId, bytes | Absence]]]:
    """Yields each record of `ids` once, with its current payload or why it has none, in lists.

    Args:
        connection: a source connection, in the transaction that has the snapshot.
        source: where the records are; None: it can't be read.
        ids: ids of the records.
        max_bytes: longer payloads are not read: they can't be the ones that were signed.
    """
    if source is None:
        yield [(record, Absence.UNREADABLE) for record in ids]
        return

    statement = source.fill("audit_payloads")
    absent = set(ids)
    found: list[tuple[RecordId, bytes | Absence]] = []
    long: list[tuple[RecordId, int]] = []
    for record, size, payload in await _fetch(
        connection, source, statement, ids, min(SMALL_BYTES, max_bytes)
    ):
        if (
            record not in absent
        ):  # another row with the same id, or one that only the column's collation considers equal
            continue
        absent.remove(record)
        if payload is not None:
            found.append((record, payload))
        elif size is None:
            found.append((record, Absence.NULL))
        elif size > max_bytes:
            found.append((record, Absence.TOO_LONG))
        else:
            long.append((record, size))
    found += ((record, Absence.DELETED) for record in absent)
    yield found

    for portion in _portions(long):
        yield await _long_payloads(connection, source, portion, max_bytes)


async def _long_payloads(
    connection: Connection, source: Source, portion: Sequence[RecordId], max_bytes: int
) -> list[tuple[RecordId, bytes | Absence]]:
    """Returns each of these records once, as `portions_of_payloads` does."""
    found: list[tuple[RecordId, bytes | Absence]] = []
    waiting = set(portion)
    for record, _, payload in await _fetch(
        connection, source, source.fill("audit_payloads"), portion, max_bytes
    ):
        if record in waiting and payload is not None:
            waiting.remove(record)
            found.append((record, payload))
    found += ((record, Absence.UNSTEADY) for record in waiting)  # a view can answer each read as it likes
    return found


async def _fetch(
    connection: Connection, source: Source, statement: str, ids: Sequence[RecordId], max_bytes: int
) -> list[Any]:
    with errors_of_source(connection, source.relation):
        await connection.execute(query("restore_session", lift_timeouts=query("lift_timeouts")))
        rows = await connection.fetch(statement, max_bytes, listed_ids(ids, source.id_type))
    if len(rows) > 2 * len(ids):
        raise SourceReadError(
            f"spec.records.table: {source.relation} returns more than two rows for each id."
        )
    return [_finished(row, max_bytes) for row in rows] if source.unfinished else rows


def _finished(row: asyncpg.Record, max_bytes: int) -> tuple[Any, int | None, bytes | None]:
    record, size, payload = row
    payload, size = finished(payload, size, max_bytes)
    return record, size, payload


def _portions(sized: Sequence[tuple[RecordId, int]]) -> Iterator[list[RecordId]]:
    portion: list[RecordId] = []
    total = 0
    for record, size in sized:
        if portion and total + size > PORTION_BYTES:
            yield portion
            portion, total = [], 0
        portion.append(record)
        total += size
    if portion:
        yield portion
