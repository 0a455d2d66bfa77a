"""Step 1, fetch: batches from the job's consumer."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vaultstream.bus.connection import BUS_ERRORS
from vaultstream.bus.subjects import parse_batch_no

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nats.aio.msg import Msg

    from vaultstream.bus.pull import BatchPuller

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Delivery:
    """One delivery of one batch, to be acknowledged once the batch is settled in Postgres."""

    batch_no: int
    message: Msg
    fetched_at: float = field(default_factory=time.perf_counter)


async def fetch(puller: BatchPuller, wanted: int, *, wait_seconds: float) -> list[Delivery]:
    """Returns up to `wanted` deliveries, none if `wait_seconds` pass without one."""
    return await recognized(await puller.fetch(wanted, wait_seconds=wait_seconds))


async def recognized(messages: Iterable[Msg]) -> list[Delivery]:
    """Returns the deliveries of batches.

    A message whose subject names no batch is terminated: whatever put it there, Postgres does not know it.
    """
    deliveries = []
    for message in messages:
        batch_no = parse_batch_no(message.subject)
        if batch_no is None:
            log.warning("a message names no batch", extra={"subject": message.subject[:200]})
            with suppress(*BUS_ERRORS):  # it comes again then
                await message.term()
        else:
            deliveries.append(Delivery(batch_no, message))
    return deliveries
