"""Step 5, commit: signatures into Postgres, each batch under the fencing token of its lease."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from vaultstream.errors import shown
from vaultstream.signing.backoff import full_jitter
from vaultstream.store.database import is_transient
from vaultstream.store.leases import FENCED, commit_batches
from vaultstream.store.source_pool import SourceAlteredError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vaultstream.signing.batch import Batch
    from vaultstream.store.database import Pool

log = logging.getLogger(__name__)

_MOST_ATTEMPTS = 8
"""After so many, what is still FENCED is believed to be: its lease was ended by others."""


async def commit(
    pool: Pool, job_no: int, holder: str, batches: Sequence[Batch], *, id_type: str
) -> list[str]:
    """Commits signed batches in one transaction; retries while Postgres is unreachable and a lease still holds.

    A commit whose answer was lost may be sent twice: the second one finds its batches settled and returns SUPERSEDED. While the first
    one still has them locked it is FENCED, and sent again a few times.

    Returns:
        For each batch COMMITTED, SUPERSEDED or FENCED. A batch whose lease expired before it could be sent is FENCED
        without asking Postgres: a holder past its deadline sends nothing.

    Raises:
        SourceAlteredError: a batch must be read again; no batch was committed.
    """
    outcomes = dict.fromkeys(batches, FENCED)
    waiting, attempt, lost = list(batches), 0, False
    while held := [batch for batch in waiting if batch.lease.remaining > 0]:
        try:
            async with pool.acquire(timeout=_patience(held)) as connection:
                signed = [batch.signed for batch in held]
                done = await commit_batches(connection, job_no, holder, signed, id_type=id_type)
        except Exception as error:
            if not is_transient(error) or isinstance(error, SourceAlteredError):
                raise
            attempt, lost = attempt + 1, True
            log.warning("commit failed, will be retried: %s", shown(error))
        else:
            outcomes.update(zip(held, done, strict=True))
            waiting = [batch for batch in held if outcomes[batch] == FENCED]
            attempt += 1
            if not lost or attempt > _MOST_ATTEMPTS:
                break
        if waiting:
            await asyncio.sleep(full_jitter(attempt, initial_seconds=0.05, max_seconds=1.0))
    return [outcomes[batch] for batch in batches]


def _patience(batches: Sequence[Batch]) -> float:
    return max(0.01, min(batch.lease.remaining for batch in batches))
