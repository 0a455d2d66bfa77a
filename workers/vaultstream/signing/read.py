"""Step 3, read: the payloads of batches, and which of their records can't be signed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vaultstream.records.reasons import (
    ID_NOT_UNIQUE,
    PAYLOAD_NULL,
    PAYLOAD_TOO_LARGE,
    RECORD_GONE,
    SENTENCES,
)
from vaultstream.store.leases import DeadRecord

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from vaultstream.records.source import Source
    from vaultstream.signing.batch import Batch
    from vaultstream.store.database import Pool
    from vaultstream.store.leases import BatchRow


@dataclass(frozen=True)
class BatchRecords:
    """A batch's records: the ids and payloads to sign, in parallel lists, and the dead ones."""

    ids: list[Any]
    payloads: list[bytes]
    dead: list[DeadRecord]


async def read(pool: Pool, source: Source, batches: Sequence[Batch], *, max_payload_bytes: int) -> None:
    """Reads exactly the records that were planned into batches, in that order; adds `records`.

    Records inserted or deleted since planning do not change what a batch covers.
    """
    rows = [batch.row for batch in batches]
    planned = [_planned(source, row) for row in rows]
    runs = join_runs((int(row.first_id), int(row.last_id)) for row in rows if row.ids is None)
    listed = [
        record_id for row, ids in zip(rows, planned, strict=True) if row.ids is not None for record_id in ids
    ]
    found: list[Any] = []
    async with pool.acquire() as connection:
        if runs:
            firsts, lasts = zip(*runs, strict=True)
            found += await connection.fetch(source.read_sql(ranged=True), max_payload_bytes, firsts, lasts)
        if listed:
            found += await connection.fetch(source.read_sql(ranged=False), max_payload_bytes, listed)
    for batch, records in zip(batches, sort_out(planned, found, limit=max_payload_bytes), strict=True):
        batch.records = records


def _planned(source: Source, row: BatchRow) -> Sequence[Any]:
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


def sort_out(planned: Sequence[Sequence[Any]], found: Sequence[Any], *, limit: int) -> list[BatchRecords]:
    """Sorts the rows found into records to sign and dead ones, batch by batch, in the order planned.

    Args:
        planned: the ids of each batch.
        found: rows of id, payload (None: NULL or too large) and its size in bytes (None: NULL).
        limit: the largest payload allowed, in bytes.
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
        batches.append(records or _each(ids, payloads, sizes, doubled, limit=limit))
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
        elif sizes[record_id] is None:
            records.dead.append(DeadRecord(record_id, PAYLOAD_NULL, SENTENCES[PAYLOAD_NULL]))
        else:
            sentence = SENTENCES[PAYLOAD_TOO_LARGE].format(size=sizes[record_id], limit=limit)
            records.dead.append(DeadRecord(record_id, PAYLOAD_TOO_LARGE, sentence))
    return records
