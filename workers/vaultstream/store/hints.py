"""Hints for the operator that a job has new batches, so that it need not wait for its next poll. A lost hint does no harm."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from vaultstream.errors import shown
from vaultstream.store.sql import query

if TYPE_CHECKING:
    from vaultstream.store.database import Connection

log = logging.getLogger(__name__)

CHANNEL: Final = "vaultstream_batches"
"""The channel of Postgres; a message on it is the number of a job. Listening and notifying need no privilege."""
_SECONDS = 2.0


async def hint_at_batches(connection: Connection, job_no: int) -> None:
    """Tells who listens that a job has new batches. Outside of a transaction, so that no batch waits for it; a failure is only logged."""
    try:
        await connection.execute(query("hint_at_batches"), CHANNEL, str(job_no), timeout=_SECONDS)
    except Exception as error:  # noqa: BLE001 - the next poll finds the batches
        log.debug("no hint at new batches: %s", shown(error))
