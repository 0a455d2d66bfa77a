"""Batches in Postgres: planned from the source, read for publishing, failed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from vaultstream.errors import SourceError
from vaultstream.store.database import fetch_one
from vaultstream.store.sql import arguments, query

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg

    from vaultstream.store.database import Connection
    from vaultstream.store.jobs import Job
    from vaultstream.store.leases import Lease

PAGE_RECORDS = 50_000
"""About how many records one planning transaction covers. It locks the job's row meanwhile."""


class SqlSource(Protocol):
    """What planning needs to know about a source. Each part is ready to stand in SQL."""

    @property
    def relation(self) -> str: ...
    @property
    def id_sql(self) -> str: ...
    @property
    def id_type(self) -> str: ...


@dataclass(frozen=True)
class PlannedPage:
    """What one page of planning added."""

    records: int
    batches: int
    finished: bool


async def highest_id(connection: Connection, source: SqlSource) -> str | None:
    """Returns the highest id of a source as text; None if it is empty.

    Raises:
        SourceError: a row has no id.
    """
    if await connection.fetchval(query("has_null_id", relation=source.relation, id=source.id_sql)):
        raise SourceError(
            f"spec.records.idColumn: {source.relation} has rows whose {source.id_sql} is NULL.",
            hint="Give these rows an id, or name a view without them.",
        )
    highest = await connection.fetchval(query("highest_id", relation=source.relation, id=source.id_sql))
    return None if highest is None else str(highest)


async def plan_page(connection: Connection, job: Job, source: SqlSource) -> PlannedPage:
    """Divides the next page of a job's records into batches and moves its checkpoint, in one transaction.

    Raises:
        SourceError: an id occurs twice; nothing was planned.
    """
    size = job.spec.batch_size
    rows = max(1, PAGE_RECORDS // size) * size
    async with connection.transaction():
        checkpoint = await fetch_one(connection, query("lock_checkpoint"), job.job_no)
        if checkpoint["planned"]:
            return PlannedPage(records=0, batches=0, finished=True)
        after = checkpoint["planned_id"]
        arguments = (job.job_no, after, checkpoint["upper_id"], rows, size, checkpoint["next_batch_no"])
        page = await _cut_page(connection, source, arguments, first=after is None)
        if page["duplicate"] is not None:
            raise SourceError(
                f"spec.records.idColumn: {source.relation} has more than one row whose {source.id_sql} "
                f"is {page['duplicate']!r}.",
                hint="Each record needs its own id: name a unique column, or a view without duplicates.",
            )
        finished = page["records"] < rows
        await connection.execute(
            query("move_checkpoint"), job.job_no, page["last_id"], finished, page["batches"]
        )
    return PlannedPage(records=page["records"], batches=page["batches"], finished=finished)


async def _cut_page(
    connection: Connection, source: SqlSource, arguments: Sequence[object], *, first: bool
) -> asyncpg.Record:
    if source.id_type == "bigint":
        page = await fetch_one(connection, _plan_sql("plan_dense", source, first=first), *arguments)
        if page["dense"]:
            return page
    return await fetch_one(connection, _plan_sql("plan_page", source, first=first), *arguments)


def _plan_sql(name: str, source: SqlSource, *, first: bool) -> str:
    cast = f"$2::text::{source.id_type}"
    dense = "ids[records]::numeric - ids[1]::numeric + 1 = records" if source.id_type == "bigint" else "false"
    return query(
        name,
        relation=source.relation,
        id=source.id_sql,
        id_type=source.id_type,
        after="true" if first else f"s.{source.id_sql} > {cast}",
        dense=dense,
    )


async def pending_after(connection: Connection, job_no: int, batch_no: int, *, limit: int) -> list[int]:
    """Returns the numbers of pending batches above `batch_no`, in order."""
    rows = await connection.fetch(query("pending_batches"), job_no, batch_no, limit)
    return [row["batch_no"] for row in rows]


async def count_pending_through(connection: Connection, job_no: int, batch_no: int) -> int:
    """Returns how many batches up to `batch_no` are pending. JetStream must have a message for each."""
    return int(await connection.fetchval(query("count_pending_through"), job_no, batch_no))


async def move_published(connection: Connection, job_no: int, batch_no: int) -> None:
    """Moves the publisher's checkpoint forward, never back."""
    await connection.execute(query("move_published"), job_no, batch_no)


@dataclass(frozen=True)
class Failure:
    """Outcome of a failed batch (retry, split, dead, settled or fenced), and its number of attempts."""

    outcome: str
    attempt: int


async def fail_batch(
    connection: Connection, job_no: int, holder: str, batch_no: int, lease: Lease, *, error: str
) -> Failure:
    """Counts a failed attempt of a batch under its lease, which ends with it; see `functions/fail_batch.sql`.

    The job's row says how many attempts a batch has.
    """
    text = query("fail_batch")
    values = arguments(
        text,
        job_no=job_no,
        holder=holder,
        batch_no=batch_no,
        key_no=lease.key_no,
        epoch=lease.epoch,
        error=_storable(error),
    )
    row = await fetch_one(connection, text, *values)
    return Failure(outcome=row["outcome"], attempt=row["attempt"])


def _storable(error: str) -> str:
    """Returns an error's text, limited to 1,000 characters, without characters that Postgres can't store."""
    return error[:1000].replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()
