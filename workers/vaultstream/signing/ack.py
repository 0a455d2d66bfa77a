"""Step 6, ack: a batch that is settled in Postgres leaves the queue; one that is not goes back."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING

import nats.errors

from vaultstream.bus.connection import BUS_ERRORS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vaultstream.signing.fetch import Delivery

log = logging.getLogger(__name__)

_LOST_IS_HARMLESS = (*BUS_ERRORS, nats.errors.MsgAlreadyAckdError, nats.errors.NotJSMessageError)
"""An acknowledgement that gets lost means one more delivery, which finds its batch settled."""


async def ack(deliveries: Iterable[Delivery]) -> None:
    """Takes settled batches off the queue."""
    for delivery in deliveries:
        with suppress(*_LOST_IS_HARMLESS):
            await delivery.message.ack()


async def give_back(deliveries: Iterable[Delivery], *, delay: float = 0.0) -> None:
    """Returns batches to the queue, to be delivered again after `delay` seconds, to whoever asks."""
    for delivery in deliveries:
        with suppress(*_LOST_IS_HARMLESS):
            await delivery.message.nak(delay=delay or None)


async def keep(deliveries: Iterable[Delivery]) -> None:
    """Tells the queue that batches are still in hand, so that their ack wait starts anew."""
    for delivery in deliveries:
        with suppress(*_LOST_IS_HARMLESS):
            await delivery.message.in_progress()
