"""The records worker: cuts a job's records into batches, publishes them, completes the job and seals it."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from vaultstream.api import JobState
from vaultstream.bus.publishing import messages_of
from vaultstream.bus.records import RecordsStream
from vaultstream.errors import SourceError, SourceReadError, shown
from vaultstream.records.attesting import attesting
from vaultstream.records.sealing import TO_PLAN, JobSealing
from vaultstream.records.source import inspect_source, open_readable_source
from vaultstream.records.stuck import StuckWatch
from vaultstream.role import WorkerRole
from vaultstream.store import jobs
from vaultstream.store.batches import (
    count_pending_through,
    highest_id,
    move_published,
    pending_after,
    plan_page,
)
from vaultstream.store.hints import hint_at_batches
from vaultstream.worker import RECONCILE_SECONDS, WorkerContext, repeat, source_pool_of, worker_context

if TYPE_CHECKING:
    from vaultstream.bus.records import ConsumerLag
    from vaultstream.settings import Settings
    from vaultstream.store.database import Connection
    from vaultstream.store.jobs import Job
    from vaultstream.store.source_pool import SourcePool

log = logging.getLogger(__name__)

TICK_SECONDS = 0.1
"""Between two checks of how many batches are outstanding, at most."""
SHORTEST_TICK_SECONDS = 0.005


async def run_records_worker(settings: Settings, job_name: str) -> None:
    """Plans, publishes and reconciles until the job has ended, SIGTERM arrives or the pool is gone.

    Raises:
        UsageError: settings or job can't be used; a SourceError is also written to the job's message.
        ServiceError: Postgres or NATS can't be reached at the start.
    """
    async with (
        worker_context(settings, job_name, role=WorkerRole.RECORDS, connections=4) as context,
        source_pool_of(context, size=1) as sources,
        attesting(context),
    ):
        sealing = await JobSealing.of(context)
        publisher = BatchPublisher(context, sealing)
        failed = 0

        async def plan_on() -> bool:
            nonlocal failed
            try:
                finished = await plan_next(context, sources, sealing)
            except SourceReadError as error:
                failed += 1
                if failed >= context.job.spec.retries.max_attempts:
                    raise
                await _pause_after(context, failed, error)
                return False
            failed = 0
            if finished:
                finished = await sealing.state_plan()
            publisher.planned.set()
            if not finished:
                await sealing.pause(*TO_PLAN)
            return finished

        planning = asyncio.create_task(repeat(context, plan_on, name="planning"))
        publishing = asyncio.create_task(repeat(context, publisher.step, name="publishing"))
        every = settings.seal_seconds
        sealed = asyncio.create_task(repeat(context, sealing.step, name="sealing", every=every))
        tasks = {planning, publishing, sealed}
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await sealing.seal_the_rest()
        await publisher.clean_up()
        log.info("batches published", extra={"nats_messages": messages_of(context.bus)})


async def _pause_after(context: WorkerContext, failed: int, error: SourceReadError) -> None:
    """Waits before the source is read again, longer after each failure in a row."""
    backoff = context.job.spec.retries.backoff
    seconds = min(backoff.max_seconds, backoff.initial_seconds * 2 ** min(failed - 1, 62))
    log.warning("planning will be retried in %.1f s: %s", seconds, error, extra={"failed": failed})
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await context.stop.wait()


async def plan_next(context: WorkerContext, sources: SourcePool, sealing: JobSealing | None = None) -> bool:
    """Plans the next page; returns whether all records are planned. Nothing is planned on batches that are not those of before.

    Raises:
        SourceError: the table or its columns can't be used, or can't be read; the job's message has the same sentence.
    """
    job_no = context.job.job_no
    async with context.pool.acquire() as connection:
        job = await jobs.get_job(connection, context.job.token)
        try:
            if job.source_oid is None:
                job = await _pin_source(connection, job)
            if sealing is not None and not job.ended and not await sealing.resume(connection, job):
                return False
            if job.planned:
                return True
            source = await open_readable_source(sources, job)
            if job.state is JobState.PENDING:
                await jobs.start_job(connection, job_no, upper_id=await highest_id(sources, source))
            page = await plan_page(connection, sources, job, source)
            if sealing is not None:
                await sealing.follow(connection, job, page)
        except SourceError as error:
            await jobs.set_message(connection, job_no, f"{error.message} {error.hint or ''}".strip())
            raise
        await jobs.set_message(connection, job_no, sealing.told if sealing else None)
        if page.records:
            await hint_at_batches(connection, job_no)
    if page.records:
        context.telemetry.metrics.records.records_planned.inc(page.records)
        log.info("batches planned", extra={"records": page.records, "batches": page.batches})
    return page.finished


async def _pin_source(connection: Connection, job: Job) -> Job:
    """Stores the relation of a job from before relations were stored: the one that has its name now."""
    source = await inspect_source(connection, job.spec.records, hints=False)
    await jobs.pin_source(connection, job.job_no, source.oid)
    log.info("source stored", extra={"job": job.name, "relation": source.relation})
    return await jobs.get_job(connection, job.token)


def next_check(left: int, *, before: int, seconds: float) -> float:
    """Returns the seconds until the next check whether a job has ended: half of the time that it seems to need.

    Its end is then noticed soon, after few checks.

    Args:
        left: batches that are pending now.
        before: batches that were pending at the previous check.
        seconds: since that check.
    """
    settled = before - left
    if settled <= 0:
        return TICK_SECONDS
    return min(TICK_SECONDS, max(SHORTEST_TICK_SECONDS, left / settled * seconds / 2))


class BatchPublisher:
    """Keeps up to `max_outstanding` batches in the stream, and publishes lost ones again."""

    def __init__(self, context: WorkerContext, sealing: JobSealing | None = None) -> None:
        self._context = context
        self._sealing = sealing or JobSealing(context, None)
        self._stream = RecordsStream(context.bus)
        self._metrics = context.telemetry.metrics.records
        self._next_reconcile = 0.0
        self._last_check = (0.0, 0)
        self._watch = StuckWatch()
        self.planned = asyncio.Event()
        """Set when there may be new batches to publish."""

    async def step(self) -> bool:
        """Publishes batches up to the limit, reconciles when due, ends the job when it is done; returns whether it ended."""
        if time.monotonic() >= self._next_reconcile:
            await self._reconcile_and_count()
            self._next_reconcile = time.monotonic() + RECONCILE_SECONDS
        self.planned.clear()
        context = self._context
        async with context.pool.acquire() as connection:
            job = await jobs.get_job(connection, context.job.token)
            outstanding = await count_pending_through(connection, job.job_no, job.published_through)
            published = await self._publish(connection, job, outstanding)
            if job.spec.overdue(job.started_at, datetime.now(UTC)):
                await jobs.fail_overdue_job(connection, job)
                log.warning("active deadline exceeded", extra={"job": job.name})
                context.stop.set()
                return True
            settled = job.planned and not published and not outstanding
            if settled and await self._sealing.complete(connection):
                context.stop.set()
                return True
        if not published:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._next_tick(job, outstanding)):
                    await self.planned.wait()
        return False

    def _next_tick(self, job: Job, outstanding: int) -> float:
        (then, before), now = self._last_check, time.monotonic()
        self._last_check = (now, outstanding)
        return next_check(outstanding, before=before, seconds=now - then) if job.planned else TICK_SECONDS

    async def _publish(self, connection: Connection, job: Job, outstanding: int) -> int:
        limit = self._context.settings.max_outstanding
        room = limit - outstanding
        if room < max(1, limit // 4):
            return 0
        numbers = await pending_after(connection, job.job_no, job.published_through, limit=room)
        if not numbers:
            return 0
        await self._stream.publish(job.token, numbers)
        await move_published(connection, job.job_no, numbers[-1])
        self._metrics.batches_published.inc(len(numbers))
        return len(numbers)

    async def _reconcile_and_count(self) -> None:
        outcome = "failed"
        try:
            outcome = await self._reconcile()
        finally:
            self._metrics.reconciles.labels(outcome).inc()

    async def _reconcile(self) -> str:
        """Creates stream and consumer if they are missing, and publishes batches again that the stream has lost.

        The lag is read before the pending batches are counted. Between the two, the number of batches can only fall, so a
        lag below that count means that some are lost, never that some were just acknowledged.
        """
        context, job_no = self._context, self._context.job.job_no
        outcome = "unchanged"
        if await self._stream.ensure():
            outcome = "made"
            log.info("batches stream created")
        if await self._ensure_consumer():
            outcome = "made"
            log.info("consumer made")
        lag = await self._stream.lag(context.job.token)
        if lag is None:
            self._metrics.lag.unknown()
            return outcome
        async with context.pool.acquire() as connection:
            job = await jobs.get_job(connection, context.job.token)
            pending = await count_pending_through(connection, job_no, job.published_through)
            # Counted by number, without reading the batches as a job's progress does: nothing is signed before it
            # is published, so all of these are pending.
            self._metrics.lag.observe(
                pending=lag.pending,
                ack_pending=lag.ack_pending,
                unpublished=job.next_batch_no - 1 - job.published_through,
            )
            if await self._freed(job, lag, pending):
                return "made"
            if lag.total >= pending:
                return outcome
            # Published before the stream is read and pending after it: if it is not in the stream, it is lost.
            present = await self._stream.present(context.job.token)
            expected = await pending_after(connection, job_no, 0, limit=pending)
        lost = [n for n in expected if n <= job.published_through and n not in present]
        if lost:
            await self._stream.publish(context.job.token, lost, generation=secrets.token_hex(4))
            self._metrics.batches_republished.inc(len(lost))
            log.warning("stream had lost batches: published again", extra={"batches": len(lost)})
            return "published"
        return outcome

    async def _ensure_consumer(self) -> bool:
        """Creates the job's consumer if it is missing or was configured otherwise; returns whether it did."""
        context = self._context
        return await self._stream.ensure_consumer(
            context.job.token,
            ack_wait_seconds=context.settings.ack_wait_seconds,
            max_ack_pending=context.settings.max_outstanding,
        )

    async def _freed(self, job: Job, lag: ConsumerLag, pending: int) -> bool:
        """Makes the consumer again if its deliveries are stuck; returns whether it did. Each batch is then delivered again."""
        now = time.monotonic()
        self._watch = self._watch.observed(lag, pending, now=now)
        if not self._watch.stuck(now, longest_backoff=job.spec.retries.backoff.max_seconds):
            return False
        self._watch = StuckWatch()
        await self._stream.remove_consumer(job.token)
        await self._ensure_consumer()
        log.warning(
            "signers wait, and no batch that there is was signed for minutes: made their consumer again",
            extra={"batches": lag.total},
        )
        return True

    async def clean_up(self) -> None:
        """Removes an ended job's consumer and messages from JetStream."""
        try:
            async with self._context.pool.acquire(timeout=5) as connection:
                job = await jobs.find_job(connection, self._context.job.token)
            if job is None or job.ended:
                await self._stream.remove(self._context.job.token)
        except Exception as error:  # noqa: BLE001 - leftovers are found by `vaultstream doctor`
            log.warning("cleanup failed: %s", shown(error))
