"""Step 2, lease: a key for each batch that is still to be signed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vaultstream.store.leases import claim_batches

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vaultstream.signing.fetch import Delivery
    from vaultstream.store.database import Pool
    from vaultstream.store.leases import BatchRow, Lease


@dataclass(frozen=True)
class LeasedBatch:
    """A batch in hand: what was delivered, what it covers, and the key leased for it."""

    delivery: Delivery
    row: BatchRow
    lease: Lease


@dataclass(frozen=True)
class Leased:
    """What became of deliveries: leased, waiting for a free key, or settled before."""

    batches: list[LeasedBatch]
    keyless: list[Delivery]
    settled: list[Delivery]


async def lease(
    pool: Pool,
    job_no: int,
    holder: str,
    deliveries: Sequence[Delivery],
    *,
    seconds: float,
    expired: Callable[[int], object] = lambda _: None,
) -> Leased:
    """Leases a key for each delivered batch that Postgres still holds pending, all in one round trip.

    Args:
        pool: connections to the writer.
        job_no: the job.
        holder: who leases.
        deliveries: each of another batch.
        seconds: how long each lease holds.
        expired: told how many leases were found to have run out.
    """
    by_batch = {delivery.batch_no: delivery for delivery in deliveries}
    async with pool.acquire() as connection:
        claims = await claim_batches(
            connection, job_no, holder, list(by_batch), seconds=seconds, expired=expired
        )
    batches, keyless = [], []
    for claim in claims:
        delivery = by_batch.pop(claim.batch.batch_no)
        if claim.lease is None:
            keyless.append(delivery)
        else:
            batches.append(LeasedBatch(delivery, claim.batch, claim.lease))
    in_hand = {batch.delivery for batch in batches} | set(keyless)
    return Leased(batches, keyless, settled=[each for each in deliveries if each not in in_hand])
