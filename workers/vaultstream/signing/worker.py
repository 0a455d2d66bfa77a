"""The signing worker: one process that signs a job's batches until the job ends or it is asked to exit."""

from __future__ import annotations

import gc
import logging
import sys
from typing import TYPE_CHECKING

from vaultstream.bus.publishing import messages_of
from vaultstream.bus.pull import BatchPuller
from vaultstream.errors import SourceError
from vaultstream.keys.custody import Custody
from vaultstream.records.reasons import SIGNER_LOST
from vaultstream.records.source import Source, open_readable_source
from vaultstream.role import WorkerRole
from vaultstream.signing.hold import Limits
from vaultstream.signing.pipeline import Pipeline
from vaultstream.signing.rehearse import rehearse
from vaultstream.store.jobs import get_job
from vaultstream.store.keys import count_keys
from vaultstream.worker import WorkerContext, repeat, source_pool_of, worker_context

if TYPE_CHECKING:
    from vaultstream.settings import Settings
    from vaultstream.store.source_pool import SourcePool

log = logging.getLogger(__name__)

SIGNER_CONNECTIONS = 2
"""Connections of one signer to Postgres for leases, commits and renewals, which overlap."""
SOURCE_CONNECTIONS = 2
"""Connections of one signer for reading records. However slow the source is, leases are renewed and batches committed."""

SWITCH_SECONDS = 0.0005
"""After which the signing thread yields to the event loop: each round trip costs a switch or two."""
GARBAGE_THRESHOLD = 50_000
"""New objects between two garbage collections. Records come by thousands and form no cycles."""

SOURCE_POLL_SECONDS = 2.0
"""Between two attempts to open the source."""


async def run_signing_worker(settings: Settings, job_name: str) -> None:
    """Signs until the job has ended, SIGTERM arrives or the pool is gone; then finishes the batches in flight.

    Raises:
        UsageError: settings or job can't be used.
        CustodyError: private keys can't be unwrapped with the key-encryption keys in the file.
        ServiceError: Postgres or NATS can't be reached at the start.
    """
    async with (
        worker_context(
            settings, job_name, role=WorkerRole.SIGNING, connections=SIGNER_CONNECTIONS, ready_once="pulling"
        ) as context,
        source_pool_of(context, size=SOURCE_CONNECTIONS) as sources,
    ):
        source = await _wait_for_source(context, sources)
        if source is None:
            return
        job, metrics = context.job, context.telemetry.metrics.signing
        async with context.pool.acquire() as connection:
            keys = await count_keys(connection, job.job_no)
        async with (
            Custody(
                job, context.pool, context.bus, context.kek_file, revocations=context.revocations_file
            ) as custody,
            BatchPuller(context.bus, job.token) as puller,
        ):
            _say_what_signs(context, custody.signer.path)
            pipeline = Pipeline(
                job=job,
                source=source,
                holder=context.holder,
                pool=context.pool,
                sources=sources,
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
            await rehearse(
                context.pool,
                sources,
                job.job_no,
                context.holder,
                id_type=source.id_type,
                connections=SIGNER_CONNECTIONS,
                expired=metrics.leases_expired.inc,
                dead=metrics.dead_letters.labels(SIGNER_LOST).inc,
            )
            _settle_down()
            try:
                await pipeline.run(context.stop)
            finally:
                log.info(
                    "batches committed",
                    extra={"batches": pipeline.committed, "nats_messages": messages_of(context.bus)},
                )


def _say_what_signs(context: WorkerContext, path: str) -> None:
    context.telemetry.metrics.signing.path.info({"path": path})
    algorithm = context.job.spec.keys.algorithm
    log.info("%s signs %s", path, algorithm, extra={"signing_path": path})


def _settle_down() -> None:
    """Tunes the interpreter for one thread that signs and an event loop that must get its turn soon."""
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD)


async def _wait_for_source(context: WorkerContext, sources: SourcePool) -> Source | None:
    """Returns the source once it can be read; None if the worker is asked to exit first."""
    source: Source | None = None

    async def open_it() -> bool:
        nonlocal source
        try:
            async with context.pool.acquire() as connection:
                job = await get_job(connection, context.job.token)
            source = await open_readable_source(sources, job)
        except SourceError as error:
            log.warning("waiting until this is fixed: %s", error)
            context.telemetry.health.missed("pulling", str(error))
        return source is not None

    await repeat(context, open_it, name="source", every=SOURCE_POLL_SECONDS)
    return source
