"""Step 5, commit: signatures into Postgres, under the fence of each batch's lease."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from vaultstream.signing.backoff import full_jitter
from vaultstream.store.database import is_transient
from vaultstream.store.leases import FENCED, commit_batches

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vaultstream.store.database import Pool
    from vaultstream.store.leases import SignedBatch

log = logging.getLogger(__name__)


async def commit(
    pool: Pool, job_no: int, holder: str, batches: Sequence[SignedBatch], *, id_type: str
) -> list[str]:
    """Commits batches in one transaction, and tries again while Postgres is away and a lease still holds.

    A commit whose answer got lost may be sent twice: the second one finds its batches settled and says SUPERSEDED.

    Returns:
        For each batch COMMITTED, SUPERSEDED, or FENCED. A batch whose lease ran out before it could be sent is FENCED
        without asking: a holder past its deadline sends nothing.
    """
    outcomes = dict.fromkeys(map(id, batches), FENCED)  # a batch may be there twice, under two keys
    attempt = 0
    while held := [batch for batch in batches if batch.lease.remaining > 0]:
        try:
            async with pool.acquire(timeout=_patience(held)) as connection:
                done = await commit_batches(connection, job_no, holder, held, id_type=id_type)
        except Exception as error:
            if not is_transient(error):
                raise
            attempt += 1
            log.warning("commit will be tried again: %s", error or type(error).__name__)
            await asyncio.sleep(full_jitter(attempt, initial_seconds=0.05, max_seconds=1.0))
        else:
            outcomes.update(zip(map(id, held), done, strict=True))
            break
    return [outcomes[id(batch)] for batch in batches]


def _patience(batches: Sequence[SignedBatch]) -> float:
    return max(0.01, min(batch.lease.remaining for batch in batches))
