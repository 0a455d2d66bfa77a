"""What overlaps the steps: fetching ahead, reading while another batch is signed, committing together what is ready.

The steps know nothing of each other; this module knows nothing of what they do, only of what follows what, and of what
becomes of a batch that fails on the way.
"""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vaultstream.bus.connection import BUS_ERRORS
from vaultstream.errors import CustodyError, LeaseLostError
from vaultstream.records.reasons import SENTENCES, UNSIGNABLE
from vaultstream.signing.ack import ack, give_back, keep
from vaultstream.signing.backoff import full_jitter
from vaultstream.signing.commit import commit
from vaultstream.signing.fetch import Delivery, fetch
from vaultstream.signing.lease import LeasedBatch, lease
from vaultstream.signing.read import read
from vaultstream.signing.sign import sign
from vaultstream.store.batches import fail_batch
from vaultstream.store.database import is_misconfigured, is_transient
from vaultstream.store.leases import FENCED, Lease, SignedBatch, release_leases, renew_leases
from vaultstream.telemetry.server import Telemetry

if TYPE_CHECKING:
    from collections.abc import Callable

    from vaultstream.bus.pull import BatchPuller
    from vaultstream.keys.custody import Custody
    from vaultstream.records.source import Source
    from vaultstream.signing.read import BatchRecords
    from vaultstream.store.database import Pool
    from vaultstream.store.jobs import Job

log = logging.getLogger(__name__)

FETCH_SECONDS = 1.0
KEYLESS_MAX_SECONDS = 0.05
"""The longest wait before asking again for a free key; a key is busy for about as long as a batch takes."""
MISCONFIGURED_SECONDS = 5.0

_FAILURES = {"retry": "retried", "split": "split", "dead": "dead", "settled": "superseded"}
"""From what Postgres makes of a failed batch to what it is counted as."""

_SPARE_CONNECTIONS = 2
"""Never taken by reads: however slow the source is, leases are renewed and batches committed."""


@dataclass(frozen=True)
class Limits:
    """What bounds a signer: batches in hand, and the times that leases and deliveries hold, in seconds."""

    concurrency: int
    lease_seconds: float
    ack_wait_seconds: float


class Pipeline:
    """One signer's way from fetch to ack, with up to `concurrency` batches in hand at a time."""

    def __init__(
        self,
        *,
        job: Job,
        source: Source,
        holder: str,
        pool: Pool,
        puller: BatchPuller,
        custody: Custody,
        limits: Limits,
        telemetry: Telemetry | None = None,
    ) -> None:
        telemetry = telemetry or Telemetry("signing")
        self._metrics = telemetry.metrics.signing
        self._health = telemetry.health
        self._job = job
        self._source = source
        self._holder = holder
        self._pool = pool
        self._puller = puller
        self._custody = custody
        self._limits = limits
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sign")
        self._deliveries: set[Delivery] = set()
        self._leases: dict[int, Lease] = {}
        self._keyless: list[Delivery] = []
        self._signed: asyncio.Queue[tuple[Delivery, SignedBatch]] = asyncio.Queue()
        self._freed = asyncio.Event()
        self._reading = asyncio.Semaphore(max(1, pool.get_max_size() - _SPARE_CONNECTIONS))
        self._stuck = False
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.committed = 0
        """Batches that this signer committed."""
        self._metrics.in_hand.set_function(lambda: self.in_hand)
        for reason in (*SENTENCES, UNSIGNABLE):
            self._metrics.dead_letters.labels(reason)  # zero is served too

    @property
    def in_hand(self) -> int:
        """Batches fetched and neither acknowledged nor given back."""
        return len(self._deliveries)

    async def run(self, stop: asyncio.Event) -> None:
        """Signs until `stop` is set; then finishes what has its key, gives back the rest, and returns.

        Raises:
            CustodyError: a private key can't be unwrapped: no batch is at fault, and none could be signed.
        """
        helpers = [asyncio.create_task(self._commit_what_is_ready()), asyncio.create_task(self._keep_hold())]
        for helper in helpers:
            helper.add_done_callback(self._ended)
        lanes: set[asyncio.Task[None]] = set()
        try:
            while not stop.is_set() and not self._broken.done():
                self._health.beat("signing")
                self._health.seen("pulling")
                for batch in await self._take_on():
                    lane = asyncio.create_task(self._read_and_sign(batch))
                    lanes.add(lane)
                    lane.add_done_callback(lanes.discard)
                    lane.add_done_callback(self._ended)
            self._health.rest("signing")
            await self._drain(lanes)
        finally:
            for task in (*helpers, *lanes):
                task.cancel()
            await asyncio.gather(*helpers, *lanes, return_exceptions=True)
            self._thread.shutdown(wait=True, cancel_futures=True)
        if self._broken.done():
            self._broken.result()

    async def _take_on(self) -> list[LeasedBatch]:
        """Fetches as many batches as there is room for, and leases a key for each."""
        room = self._limits.concurrency - self.in_hand
        if room > 0:
            patience = KEYLESS_MAX_SECONDS if self._keyless else FETCH_SECONDS
            self._keyless += self._admit(await fetch(self._puller, room, wait_seconds=patience))
        elif not self._keyless:
            self._freed.clear()
            await self._freed.wait()
            return []
        if not self._keyless:
            return []
        deliveries, self._keyless = self._keyless, []
        try:
            leased = await lease(
                self._pool, self._job.job_no, self._holder, deliveries, seconds=self._limits.lease_seconds
            )
        except Exception as error:  # noqa: BLE001 - what is not transient ends the run
            if not is_transient(error):
                self._break(error)
            log.warning("no lease for now: %s", error or type(error).__name__)
            self._keyless = deliveries
            await asyncio.sleep(full_jitter(4, initial_seconds=0.1, max_seconds=1.0))
            return []
        self._leases.update((batch.lease.key_no, batch.lease) for batch in leased.batches)
        now = time.perf_counter()
        for batch in leased.batches:
            self._metrics.lease_wait_seconds.observe(now - batch.delivery.fetched_at)
        self._metrics.batches.labels("superseded").inc(len(leased.settled))
        await ack(leased.settled)
        self._let_go(leased.settled)
        self._keyless = leased.keyless
        if self._keyless and not leased.batches:
            await self._wait_for_a_key()
        return leased.batches

    def _admit(self, fetched: list[Delivery]) -> list[Delivery]:
        """Takes deliveries into hand, but for second ones of a batch in hand.

        The first one answers for it: an acknowledgement now would come before the commit.
        """
        in_hand = {delivery.batch_no for delivery in self._deliveries}
        admitted = []
        for delivery in fetched:
            if delivery.batch_no not in in_hand:
                in_hand.add(delivery.batch_no)
                admitted.append(delivery)
        self._deliveries.update(admitted)
        self._metrics.batches_fetched.inc(len(admitted))
        return admitted

    async def _wait_for_a_key(self) -> None:
        self._freed.clear()
        try:
            await asyncio.wait_for(
                self._freed.wait(), full_jitter(3, initial_seconds=0.02, max_seconds=KEYLESS_MAX_SECONDS)
            )
        except TimeoutError:
            return

    async def _read_and_sign(self, batch: LeasedBatch) -> None:
        loop = asyncio.get_running_loop()
        try:
            signature_of = await self._custody.signature_function(batch.lease.key_id)
            async with self._reading:
                started = time.perf_counter()
                records = await read(
                    self._pool,
                    self._source,
                    batch.row,
                    max_payload_bytes=self._job.spec.records.max_payload_bytes,
                )
                self._metrics.read_seconds.observe(time.perf_counter() - started)
            signed = await loop.run_in_executor(self._thread, self._sign, batch, records, signature_of)
        except LeaseLostError as error:
            log.warning("dropped: %s", error)
            self._metrics.leases_lost.labels(_loss(batch.lease)).inc()
            await self._give_up(batch.delivery, batch.lease, outcome=FENCED)
        except CustodyError as error:
            await self._give_up(batch.delivery, batch.lease)
            self._break(error)
        except Exception as error:  # noqa: BLE001 - whatever a batch does, the signer stays
            await self._failed(batch.delivery, batch.lease, error)
        else:
            self._signed.put_nowait((batch.delivery, signed))

    def _sign(
        self, batch: LeasedBatch, records: BatchRecords, signature_of: Callable[[bytes], bytes]
    ) -> SignedBatch:
        with self._metrics.sign_seconds.time():
            return sign(batch.row.batch_no, records, batch.lease, signature_of)

    async def _commit_what_is_ready(self) -> None:
        """Commits together all batches that became ready while the last commit was on its way."""
        while True:
            ready = [await self._signed.get()]
            while not self._signed.empty():
                ready.append(self._signed.get_nowait())
            await self._commit(ready)

    async def _commit(self, ready: list[tuple[Delivery, SignedBatch]]) -> None:
        batches = [signed for _, signed in ready]
        try:
            with self._metrics.commit_seconds.time():
                outcomes = await commit(
                    self._pool, self._job.job_no, self._holder, batches, id_type=self._source.id_type
                )
        except Exception as error:  # noqa: BLE001 - whatever a batch does, the signer stays
            if len(ready) == 1:
                delivery, signed = ready[0]
                await self._failed(delivery, signed.lease, error)
            else:  # one of them is at fault: let it fail alone
                for pair in ready:
                    await self._commit([pair])
            return
        settled, fenced = [], []
        for (delivery, signed), outcome in zip(ready, outcomes, strict=True):
            self._metrics.settled(
                outcome, signed=len(signed.record_ids), dead=[record.reason for record in signed.dead]
            )
            if outcome == FENCED:
                self._metrics.leases_lost.labels(_loss(signed.lease)).inc()
                log.warning("fenced: batch %d under key %s", signed.batch_no, signed.lease.key_id)
                fenced.append(delivery)
            else:
                settled.append(delivery)
        self.committed += len(settled)
        await ack(settled)
        now = time.perf_counter()
        for delivery in settled:
            self._metrics.batch_seconds.observe(now - delivery.fetched_at)
        await give_back(fenced)
        self._forget([signed.lease for _, signed in ready])
        self._let_go([delivery for delivery, _ in ready])

    async def _failed(self, delivery: Delivery, held: Lease, error: Exception) -> None:
        if is_transient(error):
            log.warning("batch %d will be tried again: %s", delivery.batch_no, error or type(error).__name__)
            await self._give_up(delivery, held, delay=full_jitter(1, initial_seconds=1.0, max_seconds=1.0))
        elif is_misconfigured(error):
            log.error("batch %d waits until this is mended: %s", delivery.batch_no, error)
            await self._give_up(delivery, held, delay=MISCONFIGURED_SECONDS)
        else:
            await self._count_failure(delivery, held, error)

    async def _count_failure(self, delivery: Delivery, held: Lease, error: Exception) -> None:
        """Lets Postgres count the attempt and say what comes next: another one after a delay, or none."""
        retries = self._job.spec.retries
        reason = f"{type(error).__name__}: {error}"
        try:
            async with self._pool.acquire() as connection:
                await release_leases(connection, self._holder, [held])
                failure = await fail_batch(
                    connection, self._job.job_no, delivery.batch_no, reason, max_attempts=retries.max_attempts
                )
        except Exception as away:  # noqa: BLE001 - uncounted, it comes again
            log.warning("attempt not counted: %s", away or type(away).__name__)
            self._metrics.batches.labels("returned").inc()
            await give_back([delivery], delay=1.0)
        else:
            log.warning("batch %d failed (%s): %s", delivery.batch_no, failure.outcome, reason)
            self._metrics.batches.labels(_FAILURES[failure.outcome]).inc()
            if failure.outcome == "dead":
                self._metrics.dead_letters.labels(UNSIGNABLE).inc()
            if failure.outcome == "retry":
                delay = full_jitter(
                    failure.attempt,
                    initial_seconds=retries.backoff.initial_seconds,
                    max_seconds=retries.backoff.max_seconds,
                )
                await give_back([delivery], delay=delay)
            else:
                await ack([delivery])
        self._forget([held])
        self._let_go([delivery])

    async def _give_up(
        self, delivery: Delivery, held: Lease, *, delay: float = 0.0, outcome: str = "returned"
    ) -> None:
        """Gives key and batch back; what can't be given back runs out by itself."""
        self._metrics.batches.labels(outcome).inc()
        await self._release([held])
        await give_back([delivery], delay=delay)
        self._let_go([delivery])

    async def _release(self, leases: list[Lease]) -> None:
        self._forget(leases)
        try:
            async with self._pool.acquire(timeout=5) as connection:
                await release_leases(connection, self._holder, leases)
        except Exception as error:  # noqa: BLE001 - the lease runs out by itself
            log.warning("a key was not given back, its lease runs out: %s", error or type(error).__name__)

    async def _keep_hold(self) -> None:
        """Renews leases and deliveries well before they run out."""
        while True:
            await asyncio.sleep(min(self._limits.lease_seconds, self._limits.ack_wait_seconds) / 3)
            await keep(list(self._deliveries))
            held = list(self._leases.values())
            if not held:
                continue
            try:
                async with self._pool.acquire(timeout=self._limits.lease_seconds / 3) as connection:
                    await renew_leases(connection, self._holder, held, seconds=self._limits.lease_seconds)
            except Exception as error:  # noqa: BLE001 - a lease not renewed runs out by its own clock
                log.warning("leases not renewed: %s", error or type(error).__name__)

    async def _drain(self, lanes: set[asyncio.Task[None]]) -> None:
        """Finishes the batches that have their keys, and gives back those that have none."""
        unclaimed = self._keyless
        for message in await self._puller.leave():
            with suppress(*BUS_ERRORS):
                await message.nak()
        await give_back(unclaimed)
        self._metrics.batches.labels("returned").inc(len(unclaimed))
        self._let_go(unclaimed)
        self._keyless = []
        while (lanes or self.in_hand) and not self._stuck:
            self._freed.clear()
            if lanes:
                await asyncio.wait(set(lanes), return_when=asyncio.FIRST_COMPLETED)
            else:
                await self._freed.wait()

    def _break(self, error: Exception) -> None:
        if not self._broken.done():
            self._broken.set_exception(error)
        self._freed.set()

    def _ended(self, task: asyncio.Task[None]) -> None:
        """What a task left in hand when it broke, nobody would finish: the process leaves, and its leases run out."""
        if not task.cancelled() and isinstance(error := task.exception(), Exception):
            self._stuck = True
            self._break(error)

    def _forget(self, leases: list[Lease]) -> None:
        for held in leases:
            if self._leases.get(held.key_no) is held:  # it may have been leased again since
                del self._leases[held.key_no]

    def _let_go(self, deliveries: list[Delivery]) -> None:
        self._deliveries.difference_update(deliveries)
        self._freed.set()


def _loss(lease: Lease) -> str:
    """Returns how a lease ended before its batch was committed."""
    if lease.lost:
        return "lost"
    return "expired" if lease.remaining <= 0 else "fenced"
