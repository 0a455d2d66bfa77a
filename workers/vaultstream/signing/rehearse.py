"""Step 0, rehearse: a signer's connections plan their statements before there is work.

Postgres plans what a claim and a commit do once per connection, in about 10 ms. A signer that waits for its first batches has the
time; one that has them does not: of a job of 100,000 records, four connections would take half a microsecond per record. Nor is the
first group to wait until connections to the source are opened.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from vaultstream.crypto.rows import HEAD_BYTES, Rows
from vaultstream.errors import shown
from vaultstream.store.leases import (
    DatabaseClock,
    Lease,
    SignedBatch,
    claim_batches,
    commit_batches,
    lease_clock,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from vaultstream.store.database import Connection, Pool
    from vaultstream.store.source_pool import SourcePool

log = logging.getLogger(__name__)

_NO_BATCH, _NO_KEY, _NO_EPOCH = 0, 0, 0
"""None has these numbers. Postgres takes a commit of batch 0 for a rehearsal: see `functions/commit_batches.sql`."""

_IDS: Mapping[str, Sequence[Sequence[Any]]] = {
    "bigint": ([0, 1], [0, 2]),  # consecutive ids are counted, others listed
    "uuid": ([UUID(int=0)],),
    "text": ([""],),
}


async def rehearse(
    pool: Pool,
    sources: SourcePool,
    job_no: int,
    holder: str,
    *,
    id_type: str,
    connections: int,
    expired: Callable[[int], object] = lambda _: None,
    dead: Callable[[int], object] = lambda _: None,
) -> None:
    """Lets each of a signer's connections claim and commit nothing, all of them at a time, and opens those to the source.

    A failure is for the first batch to meet. Like each claim, the first one ends the leases of the job that have expired.

    Args:
        pool: connections to the writer.
        sources: connections to the source.
        job_no: the job.
        holder: the name of the signer.
        id_type: the type of the job's record ids.
        connections: how many the pool has.
        expired: as of `claim_batches`.
        dead: as of `claim_batches`.
    """

    async def rehearsed(connection: Connection) -> None:
        now = lease_clock()
        await claim_batches(connection, job_no, holder, [], seconds=1.0, expired=expired, dead=dead)
        batches = [_fenced(ids, holder, now) for ids in _IDS[id_type]]
        await commit_batches(connection, job_no, holder, batches, id_type=id_type)

    failure: BaseException | None
    try:
        async with AsyncExitStack() as lent:
            each = [await lent.enter_async_context(pool.acquire()) for _ in range(connections)]
            # A connection that is still at work can't go back to the pool, so all of them end first.
            ended = await asyncio.gather(*map(rehearsed, each), return_exceptions=True)
        async with AsyncExitStack() as lent:
            for _ in range(sources.size):
                await lent.enter_async_context(sources.transaction())
        failure = next(filter(None, ended), None)
    except Exception as error:  # noqa: BLE001 - what is wrong, the first batch meets again
        failure = error
    if failure is not None:
        log.warning("claims, commits and reads were not rehearsed: %s", shown(failure))


def _fenced(ids: Sequence[Any], holder: str, now: float) -> SignedBatch:
    """Returns a batch that the fence refuses."""
    nothing = Rows(HEAD_BYTES, bytearray(HEAD_BYTES * len(ids)))
    lease = Lease(_NO_KEY, "", _NO_EPOCH, now, holder, DatabaseClock(datetime.fromtimestamp(0, UTC), now))
    return SignedBatch(_NO_BATCH, lease, list(ids), nothing)
