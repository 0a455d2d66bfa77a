"""Step 2, lease: a key for each batch that is still to be signed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vaultstream.store.database import is_transient
from vaultstream.store.keys import has_free_key
from vaultstream.store.leases import claim_batches

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vaultstream.signing.batch import Batch
    from vaultstream.store.database import Pool


@dataclass(frozen=True)
class Leased:
    """Batches by the result of leasing: with a key, without one, or settled before."""

    batches: list[Batch]
    keyless: list[Batch]
    settled: list[Batch]
    short: bool
    """Whether a batch has no key because none was free; if not, the keyless wait until another is signed alone."""


async def lease(
    pool: Pool,
    job_no: int,
    holder: str,
    batches: Sequence[Batch],
    *,
    seconds: float,
    expired: Callable[[int], object] = lambda _: None,
    dead: Callable[[int], object] = lambda _: None,
) -> Leased:
    """Leases a key for each batch that is pending in Postgres, all in one round trip; adds `row` and `lease`.

    Args:
        pool: connections to the writer.
        job_no: the job.
        holder: the name of the signer, which renews, commits and releases under it.
        batches: batches that were delivered, each once.
        seconds: how long each lease holds.
        expired: called with the number of expired leases that were found, if there were any.
        dead: called with the number of records that became dead letters because their signers were lost, if there were any.
    """
    by_number = {batch.number: batch for batch in batches}
    async with pool.acquire() as connection:
        claims = await claim_batches(
            connection, job_no, holder, list(by_number), seconds=seconds, expired=expired, dead=dead
        )
    leased, keyless = [], []
    for claim in claims:
        batch = by_number.pop(claim.batch.batch_no)
        batch.row = claim.batch
        if claim.lease is None:
            keyless.append(batch)
        else:
            batch.lease, batch.alone = claim.lease, claim.alone
            leased.append(batch)
    short = any(claim.lease is None and not claim.alone for claim in claims)
    return Leased(leased, keyless, settled=list(by_number.values()), short=short)


async def key_is_free(pool: Pool, job_no: int) -> bool:
    """Returns whether a key of the job is free. A claim that met a locked row skipped its key, free or not."""
    try:
        async with pool.acquire() as connection:
            return await has_free_key(connection, job_no)
    except Exception as error:
        if is_transient(error):
            return False
        raise
