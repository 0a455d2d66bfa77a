"""Has checkpoints attested by others while a job runs, and once more at its end. It never holds up or fails a job."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from vaultstream.credentials import current_database_url
from vaultstream.crypto.seal_keys import load_seal_keys
from vaultstream.errors import VaultStreamError, shown
from vaultstream.proof.seal import log_origin
from vaultstream.sealing.attestor import Attestor
from vaultstream.store.database import connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from vaultstream.crypto.seal_keys import SealKeys
    from vaultstream.store.attestations import AttestationKind
    from vaultstream.worker import WorkerContext

log = logging.getLogger(__name__)

LAST_ATTESTATION_SECONDS = 15.0
"""How long a worker that exits waits for witnesses and authorities."""


@asynccontextmanager
async def attesting(context: WorkerContext) -> AsyncIterator[None]:
    """Has the newest checkpoint attested at intervals, and when the block ends. Does nothing if the settings name nobody."""
    attestor = await asyncio.to_thread(_attestor, context)
    if attestor is None:
        yield
        return
    task = asyncio.create_task(_repeat(context, attestor))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    with suppress(TimeoutError):
        async with asyncio.timeout(LAST_ATTESTATION_SECONDS):
            await _attest(context, attestor)


def _attestor(context: WorkerContext) -> Attestor | None:
    """Returns who asks, or None: the settings name nobody, can't be used, or there is no seal key."""
    settings, counter = context.settings, context.telemetry.metrics.records.attestations

    def count(kind: AttestationKind, outcome: str) -> None:
        counter.labels(kind, outcome).inc()

    if not (settings.witnesses or settings.timestamp_url) or not context.seal_key_file.exists():
        return None
    try:
        origin = log_origin(load_seal_keys(context.seal_key_file).origin, context.job.tenant)
        return Attestor.of(settings, origin, context.seals_dir, count)
    except VaultStreamError as error:
        log.error("checkpoints are not attested: %s", error.message, extra={"hint": error.hint})  # noqa: TRY400 - a setting
        return None


async def _repeat(context: WorkerContext, attestor: Attestor) -> None:
    while True:
        await asyncio.sleep(context.settings.seal_seconds)
        await _attest(context, attestor)


async def _attest(context: WorkerContext, attestor: Attestor) -> None:
    try:
        keys: SealKeys = await asyncio.to_thread(
            load_seal_keys, context.seal_key_file
        )  # it may have been rotated
        # A connection of its own: others are slow to answer, and the worker's are needed.
        async with connect(current_database_url(context.settings), role="attesting") as connection:
            await attestor.attest(connection, keys.known)
    except Exception as error:  # noqa: BLE001 - the job is not affected; the next interval makes up for it
        log.warning("checkpoints are not attested: %s", shown(error))
