"""Batches in Postgres: planned from the source, read for publishing, failed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from vaultstream.errors import SourceError
from vaultstream.proof.planned import PlannedBatch
from vaultstream.store.database import fetch_one
from vaultstream.store.lockers import changing
from vaultstream.store.source_pool import PinnedRelation
from vaultstream.store.sql import arguments, query

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from vaultstream.store.database import Connection
    from vaultstream.store.jobs import Job
    from vaultstream.store.leases import Lease
    from vaultstream.store.source_pool import SourcePool

PAGE_RECORDS = 50_000
"""About how many records one planning transaction covers."""
PAGE_BYTES = 8 * 1024 * 1024
"""A page has fewer records, but at least one batch, if the text of its ids is longer than this."""
BATCH_BYTES = 8 * 1024 * 1024
"""A batch has fewer records than the job's batch size, but at least one, if the text of its ids would be longer than this. A worker has the
ids of a few batches in memory, several times, and its pod has 256 MiB by default."""


ID_BYTES = 2_500
"""The longest id of a record, as text. The primary key of a table of signatures has room for little more."""


def listed_type(id_type: str) -> str:
    """Returns the type, in SQL, of each of many ids that `listed_ids` has written: its array is the parameter's type.

    Of arrays, the driver knows those of text alone. To find out about another one takes 10 ms, in each session that needs it.
    """
    return {"bigint": "text::bigint", "uuid": "text[]::uuid"}.get(id_type, id_type)


def listed_ids(ids: Iterable[object], id_type: str) -> object:
    """Returns ids as a query takes them. Of integers, that is a text: to make an array of them costs the driver 1 µs for each."""
    return f"{{{','.join(map(str, ids))}}}" if id_type == "bigint" else list(map(str, ids))


class SqlSource(PinnedRelation, Protocol):
    """What planning needs to know about a source. Each part is ready to stand in SQL."""

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
    after: str | None = None
    """The last id that was planned before."""
    cut: tuple[PlannedBatch, ...] = ()
    """The batches, as they were cut here and not as Postgres has them."""


@dataclass(frozen=True)
class _Page:
    """The next records of a source: their number, and their ids as text."""

    records: int
    first: str | None
    last: str | None
    ids: list[str] | None
    """None: the integers from first to last."""
    rows: int
    """How many records would be a full page."""


async def highest_id(sources: SourcePool, source: SqlSource) -> str | None:
    """Returns the highest id of a source as text; None if it is empty.

    Raises:
        SourceError: a row has no id.
    """
    parts = {"relation": source.relation, "id": source.id_sql}
    async with sources.read(source) as connection:
        if await connection.fetchval(query("has_null_id", **parts)):
            raise SourceError(
                f"spec.records.idColumn: {source.relation} has rows whose {source.id_sql} is NULL.",
                hint="Give these rows an id, or name a view without them.",
            )
    async with sources.read(
        source
    ) as connection:  # code that ran in the first read may have set another search path
        highest = await connection.fetchrow(query("highest_id", **parts), ID_BYTES)
    if highest is None:
        return None
    if highest["id"] is None:
        raise _too_long(source, highest["beginning"])
    return str(highest["id"])


def _too_long(source: SqlSource, beginning: str) -> SourceError:
    return SourceError(
        f"spec.records.idColumn: {source.relation} has an id of more than {ID_BYTES:,} bytes, which begins with {beginning!r}.",
        hint="Name a column with shorter ids, or a view without such rows.",
    )


async def plan_page(connection: Connection, sources: SourcePool, job: Job, source: SqlSource) -> PlannedPage:
    """Divides the next page of a job's records into batches and moves its checkpoint, in one transaction.

    The source is read before: code of its owner, however slow, holds up nobody who suspends or deletes the job. If the
    checkpoint has moved meanwhile, nothing is planned.

    Args:
        connection: of ours.
        sources: connections for reading the source.
        job: the job.
        source: its source.

    Raises:
        SourceError: an id occurs twice; nothing was planned.
        LockedError: another transaction holds the job's row; the message names it.
    """
    size = job.spec.batch_size
    checkpoint = await connection.fetchrow(query("checkpoint"), job.job_no)
    if checkpoint is None or checkpoint["planned"]:
        return PlannedPage(records=0, batches=0, finished=True)
    page = await _read_page(
        sources, source, after=checkpoint["planned_id"], upper=checkpoint["upper_id"], size=size
    )
    async with changing(connection, ["jobs"]):
        if await connection.fetchrow(query("lock_checkpoint"), job.job_no) != checkpoint:
            return PlannedPage(records=0, batches=0, finished=False)
        start = checkpoint["next_batch_no"]
        if page.ids is None:
            added = query("add_dense_batches")
            batches = await connection.fetchval(added, job.job_no, start, size, page.first, page.records)
        else:
            added = query("add_listed_batches", dense=_DENSE[source.id_type == "bigint"])
            batches = await connection.fetchval(added, job.job_no, start, size, page.ids)
        finished = page.records < page.rows
        await connection.execute(query("move_checkpoint"), job.job_no, page.last, finished, batches)
    return PlannedPage(
        records=page.records,
        batches=batches,
        finished=finished,
        after=checkpoint["planned_id"],
        cut=tuple(_cut(page, start, size, dense=source.id_type == "bigint")),
    )


def _cut(page: _Page, start: int, size: int, *, dense: bool) -> Iterator[PlannedBatch]:
    """Yields the batches of a page, as `add_dense_batches` and `add_listed_batches` add them."""
    for number, at in enumerate(range(0, page.records, size), start=start):
        if page.ids is None:
            first, records = int(page.first or 0) + at, min(size, page.records - at)
            yield PlannedBatch(
                number=number, first_id=str(first), last_id=str(first + records - 1), records=records
            )
            continue
        ids = page.ids[at : at + size]
        consecutive = dense and int(ids[-1]) - int(ids[0]) + 1 == len(ids)
        yield PlannedBatch(
            number=number,
            first_id=ids[0],
            last_id=ids[-1],
            records=len(ids),
            ids=None if consecutive else tuple(ids),
        )


_DENSE = {True: "ids[records]::numeric - ids[1]::numeric + 1 = records", False: "false"}
"""Whether a batch needs only its first and last id, by whether its ids are integers."""


async def _read_page(
    sources: SourcePool, source: SqlSource, *, after: str | None, upper: str, size: int
) -> _Page:
    """Reads the ids of the next page; fewer records if their ids are so long that the worker's memory is at stake.

    Each query has a transaction of its own: code of the source's owner may have set another search path in the one before.
    """
    full = rows = max(1, PAGE_RECORDS // size) * size
    if source.id_type == "bigint":
        async with sources.read(source) as reading:
            dense = await fetch_one(reading, _page_sql("dense_page", source, after), after, upper, rows)
        if dense["dense"]:
            return _Page(dense["records"], dense["first"], dense["last"], None, rows)
    rows = usual = _rows_of_a_batch(after, size, full)
    while True:
        sql = _page_sql("listed_page", source, after)
        limit = PAGE_BYTES if rows > size else BATCH_BYTES if rows > 1 else None
        async with sources.read(source) as reading:
            page = await fetch_one(reading, sql, after, upper, rows, limit, ID_BYTES)
        if page["long"] is not None:
            raise _too_long(source, page["long"])
        if page["duplicate"] is not None:
            raise SourceError(
                f"spec.records.idColumn: {source.relation} has more than one row whose {source.id_sql} "
                f"is {page['duplicate']!r}.",
                hint="Each record needs its own id: name a unique column, or a view without duplicates.",
            )
        if page["ids"] is not None:
            ids = page["ids"]
            if rows == usual < size and len(ids) == rows and 2 * sum(map(len, ids)) < BATCH_BYTES:
                rows, usual = full, 0  # the id before was longer than these
                continue
            return _Page(len(ids), ids[0] if ids else None, ids[-1] if ids else None, ids, rows)
        rows = _fewer(rows, size, page["fits"])


def _rows_of_a_batch(after: str | None, size: int, full: int) -> int:
    """Returns how many records to try first: those of a page, or fewer than a batch has if ids are as long as the one before."""
    fits = BATCH_BYTES // max(1, len(after or ""))
    return full if fits >= size else max(1, fits)


def _fewer(rows: int, size: int, fits: int) -> int:
    """Returns how many records to try next, where the ids of the first `fits` of `rows` fit: whole batches, or a part of the only one."""
    return max(1, fits // size) * size if rows > size else max(1, fits)


def _page_sql(name: str, source: SqlSource, after: str | None) -> str:
    return query(
        name,
        relation=source.relation,
        id=source.id_sql,
        id_type=source.id_type,
        after="true" if after is None else f"s.{source.id_sql} > $1::text::{source.id_type}",
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
