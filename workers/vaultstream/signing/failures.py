"""What becomes of batches that fail, on whatever step: given back, counted, split, or set aside as dead."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from vaultstream.records.reasons import UNSIGNABLE
from vaultstream.signing.ack import ack, give_back
from vaultstream.signing.backoff import full_jitter
from vaultstream.store.batches import fail_batch
from vaultstream.store.database import is_misconfigured, is_transient
from vaultstream.store.leases import FENCED, Lease, release_leases

if TYPE_CHECKING:
    from vaultstream.signing.fetch import Delivery
    from vaultstream.signing.hold import Hold
    from vaultstream.store.database import Pool
    from vaultstream.store.jobs import Job
    from vaultstream.telemetry.metrics import SigningMetrics

log = logging.getLogger(__name__)

MISCONFIGURED_SECONDS = 5.0
"""Until a batch comes again that waits for a person to mend something."""

_OUTCOMES = {"retry": "retried", "split": "split", "dead": "dead", "settled": "superseded"}
"""From what Postgres makes of a failed batch to what it is counted as."""


class Failures:
    """One signer's way with batches that fail."""

    def __init__(self, *, job: Job, holder: str, pool: Pool, hold: Hold, metrics: SigningMetrics) -> None:
        self._job = job
        self._holder = holder
        self._pool = pool
        self._hold = hold
        self._metrics = metrics

    async def failed(self, delivery: Delivery, held: Lease, error: Exception) -> None:
        """Lets a batch come again: at no cost if no one is at fault, else counted as an attempt."""
        if is_transient(error):
            log.warning("batch %d will be tried again: %s", delivery.batch_no, error or type(error).__name__)
            await self.give_up(delivery, held, delay=full_jitter(1, initial_seconds=1.0, max_seconds=1.0))
        elif is_misconfigured(error):
            log.error("batch %d waits until this is mended: %s", delivery.batch_no, error)
            await self.give_up(delivery, held, delay=MISCONFIGURED_SECONDS)
        else:
            await self._count_failure(delivery, held, error)

    async def _count_failure(self, delivery: Delivery, held: Lease, error: Exception) -> None:
        """Lets Postgres count the attempt and say what comes next: another one after a delay, or none."""
        retries = self._job.spec.retries
        reason = f"{type(error).__name__}: {error}"
        try:
            async with self._pool.acquire() as connection:
                await release_leases(connection, self._holder, [held])
                failure = await fail_batch(
                    connection, self._job.job_no, delivery.batch_no, reason, max_attempts=retries.max_attempts
                )
        except Exception as away:  # noqa: BLE001 - uncounted, it comes again
            log.warning("attempt not counted: %s", away or type(away).__name__)
            self._metrics.batches.labels("returned").inc()
            await give_back([delivery], delay=1.0)
        else:
            log.warning("batch %d failed (%s): %s", delivery.batch_no, failure.outcome, reason)
            self._metrics.batches.labels(_OUTCOMES[failure.outcome]).inc()
            if failure.outcome == "dead":
                self._metrics.dead_letters.labels(UNSIGNABLE).inc()
            if failure.outcome == "retry":
                delay = full_jitter(
                    failure.attempt,
                    initial_seconds=retries.backoff.initial_seconds,
                    max_seconds=retries.backoff.max_seconds,
                )
                await give_back([delivery], delay=delay)
            else:
                await ack([delivery])
        self._hold.forget([held])
        self._hold.let_go([delivery])

    async def give_up(
        self, delivery: Delivery, held: Lease, *, delay: float = 0.0, outcome: str = "returned"
    ) -> None:
        """Gives key and batch back; what can't be given back runs out by itself."""
        self._metrics.batches.labels(outcome).inc()
        await self._hold.release([held])
        await give_back([delivery], delay=delay)
        self._hold.let_go([delivery])

    async def lost(self, delivery: Delivery, held: Lease) -> None:
        """Gives back a batch whose lease ended while it was signed."""
        self.count_loss(held)
        await self.give_up(delivery, held, outcome=FENCED)

    def count_loss(self, held: Lease) -> None:
        """Counts a lease that ended before its batch was committed, by how it ended."""
        how = "lost" if held.lost else "expired" if held.remaining <= 0 else "fenced"
        self._metrics.leases_lost.labels(how).inc()
