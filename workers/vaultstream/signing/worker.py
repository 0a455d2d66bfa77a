"""The signing worker: one process that signs a job's batches until the job ends or it is asked to leave."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from vaultstream.bus.publishing import messages_of
from vaultstream.bus.pull import BatchPuller
from vaultstream.errors import SourceError
from vaultstream.keys.custody import Custody
from vaultstream.records.source import Source, open_source
from vaultstream.signing.hold import Limits
from vaultstream.signing.pipeline import Pipeline
from vaultstream.store.database import is_transient
from vaultstream.store.jobs import get_key_counts
from vaultstream.worker import WorkerContext, worker_context

if TYPE_CHECKING:
    from vaultstream.settings import Settings

log = logging.getLogger(__name__)

CONNECTIONS = 4
"""Of one signer to Postgres: leases, reads, commits and renewals overlap."""

SWITCH_SECONDS = 0.0005
"""After which the thread that signs lets the event loop have a turn: each round trip of it costs a turn or two."""
GARBAGE_THRESHOLD = 50_000
"""New objects between two searches for cycles. Records come by thousands and make none."""

SOURCE_LOOK_SECONDS = 2.0


async def run_signing_worker(settings: Settings, job_name: str) -> None:
    """Signs until the job has ended, SIGTERM comes, or the pool is gone; then finishes what is in hand.

    Raises:
        UsageError: settings or job can't be used.
        CustodyError: private keys can't be unwrapped with the key-encryption key at hand.
        ServiceError: Postgres or NATS can't be reached at the start.
    """
    async with worker_context(
        settings, job_name, role="signing", connections=CONNECTIONS, ready_once="pulling"
    ) as context:
        source = await _wait_for_source(context)
        if source is None:
            return
        job = context.job
        async with context.pool.acquire() as connection:
            keys = await get_key_counts(connection, job.job_no)
        async with (
            Custody(job, context.pool, context.bus, context.kek_file) as custody,
            BatchPuller(context.bus, job.token) as puller,
        ):
            pipeline = Pipeline(
                job=job,
                source=source,
                holder=context.holder,
                pool=context.pool,
                puller=puller,
                custody=custody,
                limits=Limits(
                    concurrency=max(1, min(job.spec.signer.concurrency, keys.active or job.spec.keys.count)),
                    lease_seconds=settings.lease_seconds,
                    ack_wait_seconds=settings.ack_wait_seconds,
                    drain_seconds=settings.drain_seconds,
                ),
                telemetry=context.telemetry,
            )
            _settle_down()
            try:
                await pipeline.run(context.stop)
            finally:
                log.info(
                    "batches committed",
                    extra={"batches": pipeline.committed, "nats_messages": messages_of(context.bus)},
                )


def _settle_down() -> None:
    """Tunes the interpreter to what comes now: one thread that signs, and one that must have its turn soon."""
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD)


async def _wait_for_source(context: WorkerContext) -> Source | None:
    """Returns the source once it can be read; None if the worker is asked to leave first."""
    while not context.stop.is_set():
        try:
            async with context.pool.acquire() as connection:
                return await open_source(connection, context.job.spec.records)
        except SourceError as error:
            log.warning("waiting until this is mended: %s", error)
            context.telemetry.health.missed("pulling", str(error))
        except Exception as error:
            if not is_transient(error):
                raise
            log.warning("Postgres is away: %s", error or type(error).__name__)
        with suppress(TimeoutError):
            async with asyncio.timeout(SOURCE_LOOK_SECONDS):
                await context.stop.wait()
    return None
