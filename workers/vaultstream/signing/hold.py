"""The batches that a signer has in flight: registered on delivery, kept alive until settled, settled exactly once."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vaultstream.errors import shown
from vaultstream.signing.ack import ack, extend_ack_wait, nak
from vaultstream.store.leases import release_leases, renew_leases

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from vaultstream.signing.batch import Batch, Settlement
    from vaultstream.store.database import Pool
    from vaultstream.store.leases import Lease
    from vaultstream.telemetry.metrics import SigningMetrics

log = logging.getLogger(__name__)

RELEASE_SECONDS = 5.0
"""How long to wait for a connection to release leases; after that they expire."""


@dataclass(frozen=True)
class Limits:
    """What bounds a signer: batches in flight, and the times that leases and deliveries hold, in seconds."""

    concurrency: int
    lease_seconds: float
    ack_wait_seconds: float
    drain_seconds: float | None = None
    """How long to finish batches in flight once the signer is asked to exit; None: as long as it takes."""


class Hold:
    """The batches in flight, by number."""

    def __init__(self, pool: Pool, holder: str, limits: Limits, metrics: SigningMetrics) -> None:
        self._pool = pool
        self._holder = holder
        self._limits = limits
        self._metrics = metrics
        self._batches: dict[int, Batch] = {}
        self.changed = asyncio.Event()
        """Set when a batch was settled."""

    @property
    def in_flight(self) -> int:
        """Batches fetched and not settled."""
        return len(self._batches)

    @property
    def alone(self) -> bool:
        """Whether a batch is in flight that is signed alone."""
        return any(batch.alone for batch in self._batches.values())

    def admit(self, fetched: Iterable[Batch]) -> list[Batch]:
        """Registers batches and returns them, except second deliveries of a batch in flight.

        The first delivery answers for it: an acknowledgement now would come before the commit.
        """
        admitted = []
        for batch in fetched:
            if batch.number not in self._batches:
                self._batches[batch.number] = batch
                admitted.append(batch)
        self._metrics.batches_fetched.inc(len(admitted))
        return admitted

    async def settle(self, batches: Sequence[Batch], how: Settlement) -> None:
        """Ends batches: releases their leases, acknowledges them or returns them to the queue, and counts them.

        A batch ends once. One that is settled already is left out: when the time to drain is over, a batch may be returned
        while its commit is under way, and the first to settle it wins.
        """
        if not how.lease_ended:
            await self._release([each.lease for each in batches if each.leased and each.settlement is None])
        ending = [batch for batch in batches if batch.settlement is None]
        for batch in ending:
            batch.settlement = how
        if how.redeliver_after is None:
            await ack(ending)
        else:
            for batch in ending:
                await nak(batch, delay=how.redeliver_after)
        for batch in ending:
            del self._batches[batch.number]
        self._metrics.batches.labels(how.outcome).inc(len(ending))
        self.changed.set()

    def abandon(self) -> list[Batch]:
        """Marks all leases as lost, which stops the signing thread at its next check; returns the batches in flight."""
        batches = list(self._batches.values())
        for batch in batches:
            if batch.leased:
                batch.lease.lost = True
        return batches

    async def renew(self) -> None:
        """Renews leases and deliveries well before they expire, until it is canceled."""
        lease_seconds = self._limits.lease_seconds
        while True:
            await asyncio.sleep(min(lease_seconds, self._limits.ack_wait_seconds) / 3)
            batches = list(self._batches.values())
            await extend_ack_wait(batches)
            leases = [batch.lease for batch in batches if batch.leased and batch.settlement is None]
            if not leases:
                continue
            try:
                async with self._pool.acquire(timeout=lease_seconds / 3) as connection:
                    await renew_leases(connection, self._holder, leases, seconds=lease_seconds)
            except Exception as error:  # noqa: BLE001 - a lease that is not renewed expires by its own clock
                log.warning("leases not renewed: %s", shown(error))

    async def _release(self, leases: list[Lease]) -> None:
        if not leases:
            return
        try:
            async with self._pool.acquire(timeout=RELEASE_SECONDS) as connection:
                await release_leases(connection, self._holder, leases)
        except Exception as error:  # noqa: BLE001 - a lease that is not released expires
            log.warning("keys not released, their leases will expire: %s", shown(error))
