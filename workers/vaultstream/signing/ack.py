"""Step 6, ack: a batch that is settled in Postgres leaves the queue; any other returns to it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import nats.errors

from vaultstream.bus.connection import BUS_ERRORS
from vaultstream.bus.pull import acknowledge

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from vaultstream.signing.batch import Batch

_LOST_IS_HARMLESS = (*BUS_ERRORS, nats.errors.MsgAlreadyAckdError, nats.errors.NotJSMessageError)
"""A lost acknowledgement means one more delivery, which finds its batch settled."""


async def ack(batches: Sequence[Batch]) -> None:
    """Takes settled batches off the queue."""
    with suppress(*_LOST_IS_HARMLESS):
        await acknowledge([batch.message for batch in batches])


async def nak(batch: Batch, *, delay: float = 0.0) -> None:
    """Returns a batch to the queue, which delivers it again after `delay` seconds, to any signer."""
    with suppress(*_LOST_IS_HARMLESS):
        await batch.message.nak(delay=delay or None)


async def extend_ack_wait(batches: Iterable[Batch]) -> None:
    """Reports to the queue that batches are in progress, which restarts their ack wait."""
    for batch in batches:
        with suppress(*_LOST_IS_HARMLESS):
            await batch.message.in_progress()
