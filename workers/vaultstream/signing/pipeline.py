"""What overlaps the steps of a signer: fetch → lease → read → sign → commit → ack.

Each step is one function, in a module of its name beside this one. They know nothing of each other; this module knows nothing of
what they do, only of what follows what, and of what becomes of a batch that fails on the way. It fetches ahead, reads while
another batch is signed, and commits together what is ready:

    _take_on         fetch → lease     a hand of batches: as many as make a short while of signing, each under its own lease
    _read_and_sign   read → sign       a hand, the signing in a thread without the event loop
    _commit          commit → ack      all hands that became ready while the last commit was on its way

A round trip is paid once a hand; whatever goes wrong with one batch concerns that one alone.
"""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

from vaultstream.errors import BusError, CustodyError, LeaseLostError
from vaultstream.records.reasons import SENTENCES, UNSIGNABLE
from vaultstream.signing.ack import ack, give_back
from vaultstream.signing.backoff import full_jitter
from vaultstream.signing.commit import commit
from vaultstream.signing.failures import Failures
from vaultstream.signing.fetch import Delivery, fetch, recognized
from vaultstream.signing.hold import Hold, Limits
from vaultstream.signing.lease import LeasedBatch, lease
from vaultstream.signing.pace import Pace
from vaultstream.signing.read import read
from vaultstream.signing.sign import sign
from vaultstream.store.database import is_transient
from vaultstream.store.leases import FENCED, SignedBatch
from vaultstream.telemetry.server import Telemetry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vaultstream.bus.pull import BatchPuller
    from vaultstream.crypto.algorithms import DigestSigner
    from vaultstream.keys.custody import Custody
    from vaultstream.records.source import Source
    from vaultstream.signing.read import BatchRecords
    from vaultstream.store.database import Pool
    from vaultstream.store.jobs import Job

log = logging.getLogger(__name__)

FETCH_SECONDS = 1.0
KEYLESS_MAX_SECONDS = 0.05
"""The longest wait before asking again for a free key; a key is busy for about as long as a batch takes."""

_SPARE_CONNECTIONS = 2
"""Never taken by reads: however slow the source is, leases are renewed and batches committed."""


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
        self._hold = Hold(pool, holder, limits)
        self._failures = Failures(job=job, holder=holder, pool=pool, hold=self._hold, metrics=self._metrics)
        self._pace = Pace(job.spec.batch_size, limits.concurrency)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sign")
        self._unsigned = 0
        """Batches that have their keys and wait for their turn to be signed."""
        self._keyless: list[Delivery] = []
        self._signed: asyncio.Queue[list[tuple[Delivery, SignedBatch]]] = asyncio.Queue()
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
        return self._hold.in_hand

    async def run(self, stop: asyncio.Event) -> None:
        """Signs until `stop` is set; then finishes what is in hand, gives back what finds no key or time, and returns.

        Raises:
            CustodyError: a private key can't be unwrapped: no batch is at fault, and none could be signed.
            BusError: NATS does not let this user pull or acknowledge.
        """
        helpers = [
            asyncio.create_task(self._commit_what_is_ready()),
            asyncio.create_task(self._hold.renew()),
            asyncio.create_task(self._heed(stop)),
        ]
        for helper in helpers:
            helper.add_done_callback(self._ended)
        lanes: set[asyncio.Task[None]] = set()
        try:
            while not stop.is_set() and not self._broken.done():
                self._health.beat("signing")
                self._health.seen("pulling")
                await self._start(lanes)
            self._health.rest("signing")
            await self._drain(lanes)
        finally:
            for task in (*helpers, *lanes):
                task.cancel()
            await asyncio.gather(*helpers, *lanes, return_exceptions=True)
            self._thread.shutdown(wait=True, cancel_futures=True)
        if self._broken.done():
            self._broken.result()

    async def _heed(self, stop: asyncio.Event) -> None:
        """Wakes a signer that has its hands full: it is to leave, whenever the next batch will be done."""
        await stop.wait()
        self._hold.changed.set()

    async def _start(self, lanes: set[asyncio.Task[None]]) -> bool:
        """Takes on a hand of batches and has it signed; tells whether there was one."""
        hand = await self._take_on()
        if hand:
            lane = asyncio.create_task(self._read_and_sign(hand))
            lanes.add(lane)
            lane.add_done_callback(lanes.discard)
            lane.add_done_callback(self._ended)
        return bool(hand)

    async def _take_on(self) -> list[LeasedBatch]:
        """Fetches the next hand of batches, if it is time for one, and leases a key for each."""
        deliveries, self._keyless = self._keyless or await self._fetch_a_hand(), []
        if not deliveries:
            return []
        try:
            leased = await lease(
                self._pool,
                self._job.job_no,
                self._holder,
                deliveries,
                seconds=self._limits.lease_seconds,
                expired=self._metrics.leases_expired.inc,
            )
        except Exception as error:  # noqa: BLE001 - what is not transient ends the run
            if not is_transient(error):
                self._break(error)
            log.warning("no lease for now: %s", error or type(error).__name__)
            self._keyless = deliveries
            await asyncio.sleep(full_jitter(4, initial_seconds=0.1, max_seconds=1.0))
            return []
        self._hold.leased(batch.lease for batch in leased.batches)
        self._unsigned += len(leased.batches)
        now = time.perf_counter()
        for batch in leased.batches:
            self._metrics.lease_wait_seconds.observe(now - batch.delivery.fetched_at)
        if leased.settled:
            self._metrics.batches.labels("superseded").inc(len(leased.settled))
            await ack(leased.settled)
            self._hold.let_go(leased.settled)
        self._keyless = leased.keyless
        if not self._keyless:
            self._pace.keys_were_enough()
        else:
            self._pace.keys_were_short(self.in_hand - len(self._keyless))
            if not leased.batches:
                await self._wait_for_a_key()
        return leased.batches

    async def _fetch_a_hand(self) -> list[Delivery]:
        """Fetches as many batches as there is room for; none if there is none, once something has changed."""
        room = min(self._pace.share - self.in_hand, self._pace.hand)
        if room <= 0 or self._unsigned >= self._pace.ahead:
            self._hold.changed.clear()
            await self._hold.changed.wait()
            return []
        try:
            fetched = await fetch(self._puller, room, wait_seconds=FETCH_SECONDS)
        except BusError as error:  # a permission is missing: what is in hand is finished, then it is told
            self._break(error)
            return []
        admitted = self._hold.admit(fetched)
        self._metrics.batches_fetched.inc(len(admitted))
        return admitted

    async def _wait_for_a_key(self) -> None:
        self._hold.changed.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(full_jitter(3, initial_seconds=0.02, max_seconds=KEYLESS_MAX_SECONDS)):
                await self._hold.changed.wait()

    async def _read_and_sign(self, hand: list[LeasedBatch]) -> None:
        try:
            keys = [await self._custody.signature_function(batch.lease.key_id) for batch in hand]
            records = await self._read(hand)
        except Exception as error:  # noqa: BLE001 - whatever a batch does, the signer stays
            await self._unread(hand, error)
            return
        loop = asyncio.get_running_loop()
        outcomes, seconds = await loop.run_in_executor(self._thread, self._sign, loop, hand, records, keys)
        self._pace.signed(len(hand), sum(len(each.ids) for each in records), seconds)
        signed = []
        for batch, outcome in zip(hand, outcomes, strict=True):
            if isinstance(outcome, SignedBatch):
                signed.append((batch.delivery, outcome))
            elif isinstance(outcome, LeaseLostError):
                log.warning("dropped: %s", outcome)
                await self._failures.lost(batch.delivery, batch.lease)
            else:
                await self._failures.failed(batch.delivery, batch.lease, outcome)
        if signed:
            self._signed.put_nowait(signed)

    async def _unread(self, hand: list[LeasedBatch], error: Exception) -> None:
        """Decides on batches that could not be read together, or whose keys are not to be had."""
        if len(hand) > 1 and not isinstance(error, CustodyError) and not is_transient(error):
            for batch in hand:  # one of them is at fault: let it fail alone
                await self._read_and_sign([batch])
            return
        self._begun(len(hand))
        for batch in hand:
            if isinstance(error, CustodyError):
                await self._failures.give_up(batch.delivery, batch.lease)
            else:
                await self._failures.failed(batch.delivery, batch.lease, error)
        if isinstance(error, CustodyError):
            self._break(error)

    async def _read(self, hand: list[LeasedBatch]) -> list[BatchRecords]:
        async with self._reading:
            with self._metrics.read_seconds.time():
                return await read(
                    self._pool,
                    self._source,
                    [batch.row for batch in hand],
                    max_payload_bytes=self._job.spec.records.max_payload_bytes,
                )

    def _sign(
        self,
        loop: asyncio.AbstractEventLoop,
        hand: Sequence[LeasedBatch],
        records: Sequence[BatchRecords],
        keys: Sequence[DigestSigner],
    ) -> tuple[list[SignedBatch | Exception], float]:
        """Signs batch by batch, in the thread; an error concerns its own batch.

        Returns:
            What became of each; and the seconds of processor time that it took, which others at work do not change.
        """
        loop.call_soon_threadsafe(self._begun, len(hand))
        started = time.thread_time()
        outcomes: list[SignedBatch | Exception] = []
        for batch, contents, signature_of in zip(hand, records, keys, strict=True):
            with self._metrics.sign_seconds.time():
                try:
                    outcomes.append(sign(batch.row.batch_no, contents, batch.lease, signature_of))
                except Exception as error:  # noqa: BLE001 - it is told apart where it is awaited
                    outcomes.append(error)
        return outcomes, time.thread_time() - started

    def _begun(self, batches: int) -> None:
        """So many batches wait for their turn no more."""
        self._unsigned -= batches
        self._hold.changed.set()

    async def _commit_what_is_ready(self) -> None:
        """Commits together all batches that became ready while the last commit was on its way."""
        while True:
            ready = await self._signed.get()
            while not self._signed.empty():
                ready = ready + self._signed.get_nowait()
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
                await self._failures.failed(delivery, signed.lease, error)
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
                self._failures.count_loss(signed.lease)
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
        self._hold.forget(signed.lease for _, signed in ready)
        self._hold.let_go(delivery for delivery, _ in ready)

    async def _drain(self, lanes: set[asyncio.Task[None]]) -> None:
        """Finishes what is in hand while there is time, so that it is delivered to nobody else; gives back the rest."""
        clock, seconds = asyncio.get_running_loop(), self._limits.drain_seconds
        deadline = None if seconds is None else clock.time() + seconds
        arrived = self._hold.admit(await recognized(await self._puller.leave()))
        self._metrics.batches_fetched.inc(len(arrived))
        self._keyless += arrived
        while self._keyless and not self._broken.done() and (deadline is None or clock.time() < deadline):
            none_under_way = self.in_hand == len(self._keyless)
            if not await self._start(lanes) and none_under_way:
                break  # others have all the keys, for who knows how long
        await give_back(self._keyless)
        self._metrics.batches.labels("returned").inc(len(self._keyless))
        self._hold.let_go(self._keyless)
        self._keyless = []
        try:
            async with asyncio.timeout_at(deadline):
                await self._finish(lanes)
        except TimeoutError:
            await self._abandon(lanes)

    async def _finish(self, lanes: set[asyncio.Task[None]]) -> None:
        while (lanes or self.in_hand) and not self._stuck:
            self._hold.changed.clear()
            if lanes:
                await asyncio.wait(set(lanes), return_when=asyncio.FIRST_COMPLETED)
            else:
                await self._hold.changed.wait()

    async def _abandon(self, lanes: set[asyncio.Task[None]]) -> None:
        """Gives keys and batches back before the process is killed: nobody waits for a lease to run out.

        A commit that is under way comes before, or is fenced.
        """
        held, deliveries = self._hold.abandon()
        log.warning("no time is left to finish: %d batches are given back", len(deliveries))
        for lane in set(lanes):
            lane.cancel()
        await self._hold.release(held)
        self._metrics.batches.labels("returned").inc(len(deliveries))
        await give_back(deliveries)
        self._hold.let_go(deliveries)

    def _break(self, error: Exception) -> None:
        if not self._broken.done():
            self._broken.set_exception(error)
        self._hold.changed.set()

    def _ended(self, task: asyncio.Task[None]) -> None:
        """What a task left in hand when it broke, nobody would finish: the process leaves, and its leases run out."""
        if not task.cancelled() and isinstance(error := task.exception(), Exception):
            self._stuck = True
            self._break(error)
