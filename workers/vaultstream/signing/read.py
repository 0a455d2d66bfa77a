"""Step 3, read: payloads of batches, and which of their records can't be signed. `reader` decides how many at a time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vaultstream.errors import VaultStreamError
from vaultstream.records.composed import finished
from vaultstream.records.reasons import (
    ID_NOT_UNIQUE,
    PAYLOAD_NOT_CANONICAL,
    PAYLOAD_NULL,
    PAYLOAD_TOO_LARGE,
    RECORD_GONE,
    SENTENCES,
)
from vaultstream.store.batches import listed_ids
from vaultstream.store.leases import DeadRecord
from vaultstream.store.source_pool import altered

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from vaultstream.records.source import Source
    from vaultstream.store.leases import BatchRow
    from vaultstream.store.source_pool import SourcePool, SourceState

FINISH_BYTES = 2**20
"""Payloads brought into canonical form between two looks at whether anybody still wants them."""


@dataclass
class BatchRecords:
    """What a read found of a batch: ids and payloads to sign, in parallel lists, and the dead ones."""

    ids: list[Any]
    payloads: list[bytes]
    dead: list[DeadRecord]
    long: list[tuple[Any, int]] = field(default_factory=list)
    """Ids and sizes in bytes of payloads that are allowed, but longer than this read returns."""
    state: SourceState | None = None
    """Of which relation they are, if that is still in this state; whoever uses them finds out."""


async def read(
    sources: SourcePool, source: Source, wanted: Sequence[Sequence[Any]], *, cap: int, limit: int
) -> list[BatchRecords]:
    """Reads exactly the records that were planned into batches, in that order, as long as no payload exceeds `cap`.

    Records inserted or deleted since planning do not change what a batch covers.

    Args:
        sources: connections for reading the source.
        source: the table or view.
        wanted: ids of each batch; a range is read as a range.
        cap: payloads longer than this many bytes stay in the database: only their sizes are returned.
        limit: the largest payload allowed, in bytes.

    Raises:
        VaultStreamError: the source returns so many rows for an id that they are not read to the end.
        SourceAlteredError: the source was altered meanwhile.
    """
    runs = join_runs((ids[0], ids[-1]) for ids in wanted if isinstance(ids, range))
    listed = [record_id for ids in wanted if not isinstance(ids, range) for record_id in ids]
    found: list[Any] = []
    states: set[SourceState] = set()

    async def fetch(sql: str, *ids: object) -> None:
        rows, state = await sources.fetch(source, sql, cap, *ids)
        found.extend(rows)
        states.add(state)

    if len(runs) == 1:
        await fetch(source.read_range_sql(), *runs[0])
    elif runs:
        bounds = (listed_ids(each, source.id_type) for each in zip(*runs, strict=True))
        await fetch(source.read_sql(ranged=True), *bounds)
    if listed:
        await fetch(source.read_sql(ranged=False), listed_ids(listed, source.id_type))
    if len(states) > 1:
        raise altered(source.relation)
    if len(found) > 2 * sum(map(len, wanted)):
        await sources.confirm(*states)
        raise VaultStreamError(f"{source.relation} returns more than two rows for each id.")
    if source.unfinished:
        found = await finish(found, limit)
    null = PAYLOAD_NOT_CANONICAL if source.composed else PAYLOAD_NULL
    records = sort_out(wanted, found, limit=limit, null=null)
    state = next(iter(states), None)
    for each in records:
        each.state = state
    return records


async def finish(rows: Sequence[Any], limit: int) -> list[tuple[Any, bytes | None, int | None]]:
    """Brings payloads into canonical form, in a thread: 16 MiB can take seconds, in which leases are to be renewed.

    Args:
        rows: id, payload and size, as `sort_out` takes them.
        limit: the largest payload allowed, in bytes.
    """
    done: list[tuple[Any, bytes | None, int | None]] = []

    def finish_some() -> None:
        size = 0
        while len(done) < len(rows) and size < FINISH_BYTES:
            record_id, payload, before = rows[len(done)]
            done.append((record_id, *finished(payload, before, limit)))
            size += len(payload or b"")

    while len(done) < len(rows):
        await asyncio.to_thread(finish_some)
    return done


def planned_ids(source: Source, row: BatchRow) -> Sequence[Any]:
    """Returns the ids that a batch covers, in the driver's type."""
    if row.ids is None:
        return range(int(row.first_id), int(row.last_id) + 1)
    return [source.parse_id(text) for text in row.ids]


def join_runs(runs: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Returns the same integers in as few runs (first, last) as possible; no integer is in two of them."""
    joined: list[tuple[int, int]] = []
    for first, last in sorted(runs):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(joined[-1][1], last))
        else:
            joined.append((first, last))
    return joined


def sort_out(
    planned: Sequence[Sequence[Any]], found: Sequence[Any], *, limit: int, null: str = PAYLOAD_NULL
) -> list[BatchRecords]:
    """Sorts the rows found into records to sign, long ones and dead ones, batch by batch, in the order planned.

    Args:
        planned: the ids of each batch.
        found: rows of id, payload (None: NULL, or longer than was to be returned) and its size in bytes (None: NULL).
        limit: the largest payload allowed, in bytes.
        null: the reason of a record whose payload is NULL.
    """
    payloads = {record_id: payload for record_id, payload, _ in found}
    doubled: set[Any] = set()
    if len(payloads) < len(found):
        seen: set[Any] = set()
        doubled = {row[0] for row in found if row[0] in seen or seen.add(row[0])}  # type: ignore[func-returns-value]
    faulty = bool(doubled) or None in payloads.values()
    sizes = {record_id: size for record_id, payload, size in found if payload is None} if faulty else {}
    batches = []
    for ids in planned:
        records = None if faulty else _all_in_order(ids, payloads)
        batches.append(records or _each(ids, payloads, sizes, doubled, limit=limit, null=null))
    return batches


def _all_in_order(ids: Sequence[Any], payloads: dict[Any, bytes]) -> BatchRecords | None:
    """Returns the records of a batch; None if one is missing."""
    try:
        return BatchRecords(list(ids), [payloads[record_id] for record_id in ids], [])
    except KeyError:
        return None


def _each(
    ids: Sequence[Any],
    payloads: dict[Any, bytes | None],
    sizes: dict[Any, int | None],
    doubled: set[Any],
    *,
    limit: int,
    null: str,
) -> BatchRecords:
    records = BatchRecords([], [], [])
    for record_id in ids:
        payload = payloads.get(record_id)
        if payload is not None and record_id not in doubled:
            records.ids.append(record_id)
            records.payloads.append(payload)
        elif record_id in doubled:
            records.dead.append(DeadRecord(record_id, ID_NOT_UNIQUE, SENTENCES[ID_NOT_UNIQUE]))
        elif record_id not in payloads:
            records.dead.append(DeadRecord(record_id, RECORD_GONE, SENTENCES[RECORD_GONE]))
        elif (size := sizes[record_id]) is None:
            records.dead.append(DeadRecord(record_id, null, SENTENCES[null]))
        elif size <= limit:
            records.long.append((record_id, size))
        else:
            sentence = SENTENCES[PAYLOAD_TOO_LARGE].format(size=size, limit=limit)
            records.dead.append(DeadRecord(record_id, PAYLOAD_TOO_LARGE, sentence))
    return records
