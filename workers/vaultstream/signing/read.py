"""Step 3, read: the payloads of a batch, and the records of it that can't be signed."""

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
    from collections.abc import Iterable

    from vaultstream.records.source import Source
    from vaultstream.store.database import Pool
    from vaultstream.store.leases import BatchRow


@dataclass(frozen=True)
class BatchRecords:
    """A batch's records: ids and payloads in parallel, and those that are dead."""

    ids: list[Any]
    payloads: list[bytes]
    dead: list[DeadRecord]


async def read(pool: Pool, source: Source, row: BatchRow, *, max_payload_bytes: int) -> BatchRecords:
    """Reads exactly the records that were planned into the batch, whatever was inserted or deleted since."""
    limit = max_payload_bytes
    planned: Iterable[Any]
    async with pool.acquire() as connection:
        if row.ids is None:
            planned = range(int(row.first_id), int(row.last_id) + 1)
            found = await connection.fetch(
                source.read_sql(ranged=True), limit, int(row.first_id), int(row.last_id)
            )
        else:
            planned = [source.parse_id(text) for text in row.ids]
            found = await connection.fetch(source.read_sql(ranged=False), limit, planned)
    return sort_out(planned, found, limit=limit)


def sort_out(planned: Iterable[Any], found: Iterable[Any], *, limit: int) -> BatchRecords:
    """Sorts the rows found into those to sign and those that are dead, in the order planned.

    Args:
        planned: the ids of the batch.
        found: rows of id, payload (None: NULL or too large) and its size in bytes (None: NULL).
        limit: the largest payload allowed, in bytes.
    """
    payloads: dict[Any, bytes | None] = {}
    sizes: dict[Any, int | None] = {}
    doubled = set()
    for record_id, payload, size in found:
        if record_id in payloads:
            doubled.add(record_id)
        payloads[record_id] = payload
        if payload is None:
            sizes[record_id] = size
    records = BatchRecords([], [], [])
    for record_id in planned:
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
