"""Reads groups of batches in portions, and the next portion while one is signed, within the process's budget of bytes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vaultstream.records.portions import PORTION_BYTES, PayloadSizes, Unread
from vaultstream.signing.budget import ByteBudget
from vaultstream.signing.read import planned_ids, read

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from vaultstream.records.source import Source
    from vaultstream.signing.batch import Batch
    from vaultstream.signing.read import BatchRecords
    from vaultstream.store.source_pool import SourcePool
    from vaultstream.telemetry.metrics import SigningMetrics

PORTIONS = 2
"""Portions in memory at a time: one is read while one is signed."""


@dataclass(frozen=True)
class GroupPart:
    """What one read found of a group of batches."""

    records: dict[Batch, BatchRecords]
    payload_bytes: int
    last: bool
    """Whether this completes the group."""


class PartReader:
    """Reads for one signer.

    Args:
        sources: connections for reading the source.
        source: the table or view.
        limit: the largest payload allowed, in bytes.
        metrics: where the times of reads are counted.
    """

    def __init__(self, sources: SourcePool, source: Source, *, limit: int, metrics: SigningMetrics) -> None:
        self._sources = sources
        self._source = source
        self._limit = limit
        self._metrics = metrics
        self._reading = asyncio.Semaphore(sources.size)
        self._budget = ByteBudget(max(PORTIONS * PORTION_BYTES, limit))
        self._sizes = PayloadSizes()

    async def parts(self, batches: Sequence[Batch]) -> AsyncGenerator[GroupPart]:
        """Yields all records of batches, part by part. The payloads of a part are dropped when the next one is asked for."""
        planned = [planned_ids(self._source, batch.row) for batch in batches]
        unread = Unread(planned, usual=self._sizes.usual, limit=self._limit)
        reading: asyncio.Task[GroupPart] | None = asyncio.create_task(self._read(batches, unread))
        try:
            while reading is not None:
                part = await reading
                reading = None if part.last else asyncio.create_task(self._read(batches, unread))
                try:
                    yield part
                finally:
                    for records in part.records.values():
                        records.payloads.clear()
                    self._budget.free(part.payload_bytes)
        finally:
            if reading is not None:
                await self._discard(reading)

    async def _read(self, batches: Sequence[Batch], unread: Unread) -> GroupPart:
        portion = unread.take()
        reserved = portion.most_bytes
        await self._budget.take(reserved)
        try:
            async with self._reading:
                with self._metrics.read_seconds.time():
                    found = await read(
                        self._sources,
                        self._source,
                        list(portion.wanted.values()),
                        cap=portion.cap,
                        limit=self._limit,
                    )
            total = sum(sum(map(len, records.payloads)) for records in found)
        except BaseException:
            self._budget.free(reserved)
            raise
        self._budget.free(reserved - total)
        self._note_sizes(found, total)
        for place, records in zip(portion.wanted, found, strict=True):
            unread.defer(place, records.long)
        parts = {batches[place]: records for place, records in zip(portion.wanted, found, strict=True)}
        return GroupPart(parts, total, last=not unread)

    def _note_sizes(self, found: Sequence[BatchRecords], total: int) -> None:
        long = [size for records in found for _, size in records.long]
        self._sizes.note(sum(len(records.payloads) for records in found) + len(long), total + sum(long))

    async def _discard(self, reading: asyncio.Task[GroupPart]) -> None:
        """Ends a read that nobody waits for any longer, and frees its bytes."""
        reading.cancel()
        [ended] = await asyncio.gather(reading, return_exceptions=True)
        if isinstance(ended, GroupPart):
            self._budget.free(ended.payload_bytes)
