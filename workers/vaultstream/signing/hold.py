"""What a signer has in hand: batches that were delivered to it, and the leases on their keys. Kept, until let go."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vaultstream.signing.ack import keep
from vaultstream.store.leases import Lease, release_leases, renew_leases

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vaultstream.signing.fetch import Delivery
    from vaultstream.store.database import Pool

log = logging.getLogger(__name__)

RELEASE_SECONDS = 5.0
"""To wait for a connection to give keys back; after that their leases run out by themselves."""


@dataclass(frozen=True)
class Limits:
    """What bounds a signer: batches in hand, and the times that leases and deliveries hold, in seconds."""

    concurrency: int
    lease_seconds: float
    ack_wait_seconds: float
    drain_seconds: float | None = None
    """For what is in hand to be finished, when the signer is to leave; None: as long as it takes."""


class Hold:
    """Deliveries and leases in hand."""

    def __init__(self, pool: Pool, holder: str, limits: Limits) -> None:
        self._pool = pool
        self._holder = holder
        self._limits = limits
        self._deliveries: dict[int, Delivery] = {}
        self._leases: dict[int, Lease] = {}
        self.changed = asyncio.Event()
        """Set when something was let go."""

    @property
    def in_hand(self) -> int:
        """Batches fetched and neither acknowledged nor given back."""
        return len(self._deliveries)

    def admit(self, fetched: Iterable[Delivery]) -> list[Delivery]:
        """Takes deliveries into hand, but for second ones of a batch in hand.

        The first one answers for it: an acknowledgement now would come before the commit.
        """
        admitted = []
        for delivery in fetched:
            if delivery.batch_no not in self._deliveries:
                self._deliveries[delivery.batch_no] = delivery
                admitted.append(delivery)
        return admitted

    def leased(self, leases: Iterable[Lease]) -> None:
        """Takes leases into hand, to be renewed from now on."""
        self._leases.update((lease.key_no, lease) for lease in leases)

    def forget(self, leases: Iterable[Lease]) -> None:
        """Renews leases no more."""
        for lease in leases:
            if self._leases.get(lease.key_no) is lease:  # it may have been leased again since
                del self._leases[lease.key_no]

    def let_go(self, deliveries: Iterable[Delivery]) -> None:
        """Has deliveries in hand no more."""
        for delivery in deliveries:
            self._deliveries.pop(delivery.batch_no, None)
        self.changed.set()

    def abandon(self) -> tuple[list[Lease], list[Delivery]]:
        """Marks all leases as lost, so that the thread that signs stops at its next look; returns what is in hand."""
        held = list(self._leases.values())
        for lease in held:
            lease.lost = True
        return held, list(self._deliveries.values())

    async def release(self, leases: list[Lease]) -> None:
        """Gives keys back without a batch; what can't be given back runs out by itself."""
        self.forget(leases)
        try:
            async with self._pool.acquire(timeout=RELEASE_SECONDS) as connection:
                await release_leases(connection, self._holder, leases)
        except Exception as error:  # noqa: BLE001 - the lease runs out by itself
            log.warning("a key was not given back, its lease runs out: %s", error or type(error).__name__)

    async def renew(self) -> None:
        """Renews leases and deliveries well before they run out, for as long as it is not cancelled."""
        lease_seconds = self._limits.lease_seconds
        while True:
            await asyncio.sleep(min(lease_seconds, self._limits.ack_wait_seconds) / 3)
            await keep(list(self._deliveries.values()))
            held = list(self._leases.values())
            if not held:
                continue
            try:
                async with self._pool.acquire(timeout=lease_seconds / 3) as connection:
                    await renew_leases(connection, self._holder, held, seconds=lease_seconds)
            except Exception as error:  # noqa: BLE001 - a lease not renewed runs out by its own clock
                log.warning("leases not renewed: %s", error or type(error).__name__)
