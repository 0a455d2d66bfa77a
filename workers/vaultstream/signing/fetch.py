"""Step 1, fetch: batches from the job's consumer."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from vaultstream.bus.connection import BUS_ERRORS
from vaultstream.bus.ignored import IgnoredMessages
from vaultstream.bus.subjects import parse_batch_no
from vaultstream.signing.batch import Batch

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nats.aio.msg import Msg

    from vaultstream.bus.pull import BatchPuller

_ignored = IgnoredMessages()
"""Of this process."""


async def fetch(puller: BatchPuller, wanted: int, *, wait_seconds: float) -> list[Batch]:
    """Returns up to `wanted` batches; none if `wait_seconds` pass without one."""
    return await recognized(await puller.fetch(wanted, wait_seconds=wait_seconds))


async def recognized(messages: Iterable[Msg]) -> list[Batch]:
    """Returns the batches that messages name.

    A message whose subject names no batch is terminated: Postgres does not know it.
    """
    batches, now = [], time.perf_counter()
    for message in messages:
        number = parse_batch_no(message.subject)
        if number is None:
            _ignored.add(message.subject, "it names no batch")
            with suppress(*BUS_ERRORS):  # then it is delivered again
                await message.term()
        else:
            batches.append(Batch(number, message, now))
    return batches
