"""What becomes of a batch that failed, on whatever step: returned, counted as an attempt, split, or set aside as dead."""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING

from vaultstream.errors import (
    CustodyError,
    LeaseLostError,
    RevokedKeyError,
    SigningFaultError,
    SourceReadError,
    shown,
)
from vaultstream.records.reasons import UNSIGNABLE
from vaultstream.records.source import open_readable_source
from vaultstream.signing.backoff import full_jitter
from vaultstream.signing.batch import Settlement
from vaultstream.store.batches import fail_batch
from vaultstream.store.database import is_misconfigured, is_transient
from vaultstream.store.leases import FENCED, SUPERSEDED

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vaultstream.signing.batch import Batch
    from vaultstream.store.database import Pool
    from vaultstream.store.jobs import Job
    from vaultstream.store.source_pool import SourcePool
    from vaultstream.telemetry.metrics import SigningMetrics

log = logging.getLogger(__name__)

MISCONFIGURED_SECONDS = 5.0
"""Delay before a batch is delivered again that waits for a person to fix something."""

LOST_READS = 3
"""Reads of a batch that may lose their connection before each further one counts as a failed attempt: Postgres may have restarted,
or code of the source's owner ends its own session."""

REVOKED_SECONDS = 1.0
"""Delay before a batch is delivered again whose key Postgres should not have leased; the keys worker revokes it meanwhile."""

_OUTCOMES = {"retry": "retried", "split": "split", "dead": "dead"}
"""From the answer of `fail_batch` to the outcome that a batch is counted as, if its attempt was counted."""


def spread(errors: dict[Batch, Exception], batches: Iterable[Batch]) -> dict[Batch, Exception]:
    """Returns errors by batch; a fault of what signs concerns all batches, each of which may have a wrong signature that nobody saw."""
    faults = (error for error in errors.values() if isinstance(error, SigningFaultError))
    fault = next(faults, None)
    return errors if fault is None else dict.fromkeys(batches, fault) | errors


class Failures:
    """Decides how batches of one signer end that can't be committed.

    Attributes:
        distrusted: whether what signs had a fault. Nothing that it signed is sent from then on.
    """

    def __init__(
        self, *, job: Job, holder: str, pool: Pool, sources: SourcePool, metrics: SigningMetrics
    ) -> None:
        self._job = job
        self._holder = holder
        self._pool = pool
        self._sources = sources
        self._lost_reads: Counter[int] = Counter()
        self._metrics = metrics
        self.distrusted = False

    async def settlement(self, batch: Batch, error: Exception) -> Settlement:
        """Returns how a batch ends after an error: returned to the queue if the batch is not at fault, else counted."""
        if isinstance(error, SourceReadError):
            error = await self._cause(batch, error)
        if isinstance(error, LeaseLostError):
            log.warning("batch dropped: %s", error)
            self._count_loss(batch)
            return Settlement(FENCED, redeliver_after=0.0)
        if isinstance(error, RevokedKeyError):
            log.error("batch %d is returned: %s", batch.number, error)
            return Settlement("returned", redeliver_after=REVOKED_SECONDS)
        if isinstance(error, (CustodyError, SigningFaultError)):  # the signer ends with it
            self.distrusted |= isinstance(error, SigningFaultError)
            return Settlement("returned", redeliver_after=0.0)
        if is_transient(error):
            log.warning("batch %d will be retried: %s", batch.number, shown(error))
            delay = full_jitter(1, initial_seconds=1.0, max_seconds=1.0)
            return Settlement("returned", redeliver_after=delay)
        if is_misconfigured(error):
            log.error("batch %d waits until this is fixed: %s", batch.number, error)
            return Settlement("returned", redeliver_after=MISCONFIGURED_SECONDS)
        return await self._count_attempt(batch, error)

    async def _cause(self, batch: Batch, error: SourceReadError) -> Exception:
        """Returns why a batch could not be read, for one that is not at fault; else the same error, which counts as an attempt.

        What the error says is its owner's word, so the catalog is asked whether the source can be read at all.
        """
        if error.lost:
            self._lost_reads[batch.number] += 1
            if self._lost_reads[batch.number] <= LOST_READS:
                return ConnectionError(str(error))
        try:
            await open_readable_source(self._sources, self._job)
        except Exception as obstacle:  # noqa: BLE001 - the caller tells them apart
            return obstacle
        return error

    def fenced(self, batch: Batch) -> Settlement:
        """Returns how a batch ends whose commit, or whose failed attempt, Postgres refused: its lease had ended before.

        A lease that seems to go on is released: it was ended by others, or somebody else has locked the batch. Then it is tried again
        a little later, or one batch would take all keys, one after the other.
        """
        self._count_loss(batch)
        log.warning("fenced: batch %d, key %s", batch.number, batch.lease.key_id)
        if batch.lease.remaining <= 0:
            return Settlement(FENCED, redeliver_after=0.0, lease_ended=True)
        return Settlement(FENCED, redeliver_after=full_jitter(1, initial_seconds=2.0, max_seconds=2.0))

    async def _count_attempt(self, batch: Batch, error: Exception) -> Settlement:
        """Counts the attempt in Postgres, which decides what comes next: another attempt after a delay, or none."""
        reason = f"{type(error).__name__}: {shown(error)}"
        try:
            async with self._pool.acquire() as connection:
                failure = await fail_batch(
                    connection, self._job.job_no, self._holder, batch.number, batch.lease, error=reason
                )
        except Exception as unreachable:  # noqa: BLE001 - not counted, so it is retried
            log.warning("failed attempt not counted: %s", shown(unreachable))
            return Settlement("returned", redeliver_after=1.0)
        log.warning("batch %d failed (%s): %s", batch.number, failure.outcome, reason)
        if failure.outcome == FENCED:
            return self.fenced(batch)
        if failure.outcome == "settled":  # the lease goes on: nothing was counted under it
            return Settlement(SUPERSEDED)
        if failure.outcome == "dead":
            self._metrics.dead_letters.labels(UNSIGNABLE).inc()
        if failure.outcome != "retry":
            return Settlement(_OUTCOMES[failure.outcome], lease_ended=True)
        backoff = self._job.spec.retries.backoff
        delay = full_jitter(
            failure.attempt,
            initial_seconds=backoff.initial_seconds,
            max_seconds=backoff.max_seconds,
        )
        return Settlement(_OUTCOMES[failure.outcome], redeliver_after=delay, lease_ended=True)

    def _count_loss(self, batch: Batch) -> None:
        """Counts a lease that ended before its batch was committed, by how it ended."""
        how = "lost" if batch.lease.lost else "expired" if batch.lease.remaining <= 0 else "fenced"
        self._metrics.leases_lost.labels(how).inc()
