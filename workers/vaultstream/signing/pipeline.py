"""How the steps of a signer overlap: fetch → lease → read → sign → commit → ack.

Each step is one function, in a module of its name beside this one, that adds its part to a batch. The steps do not know each
other; this module knows their order, and `failures` decides how a batch ends that fails on the way. The pipeline fetches
ahead, reads while another group is signed, and commits together what is ready:

    _take_on         fetch → lease     a group of batches: a short while of signing, each batch under its own lease
    _read_and_sign   read → sign       a group, part by part; it signs in a thread, off the event loop
    _commit          commit → ack      all groups that became ready during the last commit

A round trip is paid once per group; an error of one batch concerns that batch alone, a fault of what signs all that is not committed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any

from vaultstream.bus.pull import REST_SECONDS
from vaultstream.crypto.rows import Rows
from vaultstream.errors import BusError, CustodyError, SigningFaultError, shown
from vaultstream.records.reasons import SENTENCES, SIGNER_LOST, UNSIGNABLE
from vaultstream.role import WorkerRole
from vaultstream.signing.backoff import full_jitter
from vaultstream.signing.batch import Batch, Settlement
from vaultstream.signing.commit import commit
from vaultstream.signing.failures import Failures, spread
from vaultstream.signing.fetch import fetch, recognized
from vaultstream.signing.hold import Hold, Limits
from vaultstream.signing.lease import key_is_free, lease
from vaultstream.signing.pace import Pace
from vaultstream.signing.reader import GroupPart, PartReader
from vaultstream.signing.sign import SigningForm, sign
from vaultstream.signing.state import state
from vaultstream.store.database import is_transient
from vaultstream.store.leases import COMMITTED, FENCED, SUPERSEDED, SignedBatch
from vaultstream.telemetry.server import Telemetry

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from vaultstream.bus.pull import BatchPuller
    from vaultstream.keys.custody import Custody
    from vaultstream.records.source import Source
    from vaultstream.store.database import Pool
    from vaultstream.store.jobs import Job
    from vaultstream.store.source_pool import SourcePool
    from vaultstream.telemetry.metrics import ManyHistogram

log = logging.getLogger(__name__)

FETCH_SECONDS = 1.0
KEYLESS_MAX_SECONDS = 0.05
"""The longest wait before asking again for a free key; a key is busy for about as long as a batch takes."""

_RETURNED = Settlement("returned", redeliver_after=0.0)
_SETTLED_BEFORE = Settlement(SUPERSEDED)
_ANSWERED = {outcome: Settlement(outcome, lease_ended=True) for outcome in (COMMITTED, SUPERSEDED)}
"""How a batch ends by the answer to its commit; one that is fenced, `Failures` decides."""


class Pipeline:
    """One signer's way from fetch to ack, with up to `concurrency` batches in flight."""

    def __init__(
        self,
        *,
        job: Job,
        source: Source,
        holder: str,
        pool: Pool,
        sources: SourcePool,
        puller: BatchPuller,
        custody: Custody,
        limits: Limits,
        telemetry: Telemetry | None = None,
    ) -> None:
        telemetry = telemetry or Telemetry(WorkerRole.SIGNING)
        self._metrics = telemetry.metrics.signing
        self._health = telemetry.health
        self._job = job
        self._algorithm = str(job.spec.keys.algorithm)
        self._form = SigningForm.of(job)
        self._source = source
        self._holder = holder
        self._pool = pool
        self._sources = sources
        self._puller = puller
        self._custody = custody
        self._limits = limits
        self._hold = Hold(pool, holder, limits, self._metrics)
        self._failures = Failures(job=job, holder=holder, pool=pool, sources=sources, metrics=self._metrics)
        self._pace = Pace(job.spec.batch_size, limits.concurrency)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sign")
        self._unsigned: set[Batch] = set()
        """Batches that have their keys, and are not read to the end or wait to be signed."""
        self._keyless: list[Batch] = []
        self._signed: asyncio.Queue[list[Batch]] = asyncio.Queue()
        self._reader = PartReader(
            sources, source, limit=job.spec.records.max_payload_bytes, metrics=self._metrics
        )
        self._stuck = False
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.committed = 0
        """Batches that this signer committed, or found to be settled when it did."""
        self._metrics.in_hand.set_function(lambda: self.in_flight)
        for reason in (*SENTENCES, UNSIGNABLE, SIGNER_LOST):
            self._metrics.dead_letters.labels(reason)  # a series that is zero is served too

    @property
    def in_flight(self) -> int:
        """Batches fetched and not settled."""
        return self._hold.in_flight

    async def run(self, stop: asyncio.Event) -> None:
        """Signs until `stop` is set; then finishes the batches in flight, returns those without a key or time, and ends.

        Raises:
            CustodyError: a private key can't be unwrapped: no batch is at fault, and none could be signed.
            SigningFaultError: what signs can't be trusted; nor is any batch at fault.
            BusError: NATS does not allow this user to pull or acknowledge.
        """
        helpers = [
            asyncio.create_task(self._commit_what_is_ready()),
            asyncio.create_task(self._hold.renew()),
            asyncio.create_task(self._wake_on(stop)),
        ]
        for helper in helpers:
            helper.add_done_callback(self._ended)
        groups: set[asyncio.Task[None]] = set()
        try:
            while not stop.is_set() and not self._broken.done():
                self._health.beat("signing")
                self._health.seen("pulling")
                await self._start(groups)
            self._health.rest("signing")
            await self._drain(groups)
        finally:
            for task in (*helpers, *groups):
                task.cancel()
            await asyncio.gather(*helpers, *groups, return_exceptions=True)
            self._thread.shutdown(wait=True, cancel_futures=True)
        if self._broken.done():
            self._broken.result()

    async def _wake_on(self, stop: asyncio.Event) -> None:
        """Wakes a signer that waits for room: it is to leave, whenever the next batch will be done."""
        await stop.wait()
        self._hold.changed.set()

    async def _start(self, groups: set[asyncio.Task[None]], *, fetching: bool = True) -> bool:
        """Takes on a group of batches and starts to sign it; returns whether there was one."""
        group = await self._take_on(fetching=fetching)
        if group:
            task = asyncio.create_task(self._read_and_sign(group))
            groups.add(task)
            task.add_done_callback(groups.discard)
            task.add_done_callback(self._ended)
        return bool(group)

    async def _take_on(self, *, fetching: bool) -> list[Batch]:
        """Leases a key for each batch of the next group, if it is time for one. Without fetching, for those that have none."""
        batches = await self._fetch_group() if fetching else self._without_keys(len(self._keyless))
        if not batches:
            return []
        try:
            leased = await lease(
                self._pool,
                self._job.job_no,
                self._holder,
                batches,
                seconds=self._limits.lease_seconds,
                expired=self._metrics.leases_expired.inc,
                dead=self._metrics.dead_letters.labels(SIGNER_LOST).inc,
            )
        except Exception as error:  # noqa: BLE001 - any error that is not transient ends the run
            if not is_transient(error):
                self._break(error)
            log.warning("no key leased, will be retried: %s", shown(error))
            self._keyless = batches + self._keyless
            await asyncio.sleep(full_jitter(4, initial_seconds=0.1, max_seconds=1.0))
            return []
        self._unsigned.update(leased.batches)
        _observe_since_fetch(self._metrics.lease_wait_seconds, leased.batches)
        for batch in leased.batches:
            if batch.alone:
                log.warning("batch %d is signed alone: its signers were lost before", batch.number)
        if leased.settled:
            await self._hold.settle(leased.settled, _SETTLED_BEFORE)
        self._keyless = leased.keyless + self._keyless
        if leased.short:
            self._pace.keys_were_short(self.in_flight - len(self._keyless))
        elif leased.batches:
            self._pace.keys_were_enough()
        if self._keyless and not leased.batches:
            await self._wait_for_a_key()
        return leased.batches

    async def _fetch_group(self) -> list[Batch]:
        """Returns a group of batches: those that found no key, and as many more as are fetched.

        If there is no room for most of a group, it waits for a change and returns none.
        """
        room = min(self._pace.share - self.in_flight + len(self._keyless), self._pace.group)
        if room < self._pace.least or len(self._unsigned) >= self._pace.ahead or self._hold.alone:
            self._hold.changed.clear()
            await self._hold.changed.wait()
            return []
        again = self._without_keys(room)
        if len(again) == room:
            return again
        try:
            fetched = await fetch(
                self._puller, room - len(again), wait_seconds=REST_SECONDS if again else FETCH_SECONDS
            )
        except BusError as error:  # a permission is missing: finish what is in flight, then raise it
            self._break(error)
            return again
        return again + self._hold.admit(fetched)

    def _without_keys(self, count: int) -> list[Batch]:
        """Takes up to so many batches that found no key."""
        taken, self._keyless = self._keyless[:count], self._keyless[count:]
        return taken

    async def _wait_for_a_key(self) -> None:
        self._hold.changed.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(full_jitter(3, initial_seconds=0.02, max_seconds=KEYLESS_MAX_SECONDS)):
                await self._hold.changed.wait()

    async def _read_and_sign(self, group: list[Batch]) -> None:
        try:
            group, keys = await self._with_keys(group)
            if not group:
                return
            signed = await self._sign_by_parts(group, keys)
        except Exception as error:  # noqa: BLE001 - the signer survives the error of a batch
            await self._unread([batch for batch in group if batch.settlement is None], error)
            return
        if signed:
            self._signed.put_nowait(signed)

    async def _sign_by_parts(self, group: list[Batch], keys: Mapping[Batch, Any]) -> list[Batch]:
        """Signs what is read of a group while the next part is read; returns the batches that are signed to the end.

        A batch that fails is settled at once; the others continue.
        """
        for batch in group:
            batch.signed = SignedBatch(batch.number, batch.lease, [], Rows(self._custody.signer.width))
        left, seconds = list(group), 0.0
        loop = asyncio.get_running_loop()
        async with aclosing(self._reader.parts(group)) as parts:
            async for part in parts:
                for batch, records in part.records.items():
                    batch.signed.note_read(records.state)
                errors, spent = await loop.run_in_executor(self._thread, self._sign, loop, part, left, keys)
                seconds += spent
                for batch, failure in errors.items():
                    if isinstance(failure, SigningFaultError):
                        self._break(failure)
                    left.remove(batch)
                    await self._hold.settle([batch], await self._failures.settlement(batch, failure))
                if not left:
                    break
        self._begun(group)
        self._pace.signed(len(group), sum(len(batch.signed.record_ids) for batch in group), seconds)
        return left

    async def _with_keys(self, group: list[Batch]) -> tuple[list[Batch], dict[Batch, Any]]:
        """Returns the batches whose keys may be used, with these keys; returns those whose keys were revoked to the queue."""
        opened = await self._custody.open([batch.lease.key_id for batch in group])
        refused = [batch for batch in group if batch.lease.key_id in opened.refused]
        self._begun(refused)
        for batch in refused:
            failure = opened.refused[batch.lease.key_id]
            await self._hold.settle([batch], await self._failures.settlement(batch, failure))
        usable = [batch for batch in group if batch.lease.key_id in opened.keys]
        return usable, {batch: opened.keys[batch.lease.key_id] for batch in usable}

    async def _unread(self, group: list[Batch], error: Exception) -> None:
        """Ends batches that could not be read together, or whose keys are unavailable."""
        ends_the_run = isinstance(error, (CustodyError, SigningFaultError))
        if len(group) > 1 and not ends_the_run and not is_transient(error):
            for batch in group:  # one of them is at fault: let it fail alone
                await self._read_and_sign([batch])
            return
        self._begun(group)
        for batch in group:
            await self._hold.settle([batch], await self._failures.settlement(batch, error))
        if ends_the_run:
            self._break(error)

    def _sign(
        self,
        loop: asyncio.AbstractEventLoop,
        part: GroupPart,
        batches: Sequence[Batch],
        keys: Mapping[Batch, Any],
    ) -> tuple[dict[Batch, Exception], float]:
        """Signs a part, in the thread, and after the last part the statements; a fault of what signs concerns the whole group.

        Returns:
            The errors by batch; and the seconds of processor time that signing took, which other work does not change.
        """
        if part.last:
            loop.call_soon_threadsafe(self._begun, list(batches))
        started = time.thread_time()
        signer = self._custody.signer
        with self._metrics.sign_seconds.time():
            wanted = {batch: records for batch, records in part.records.items() if batch in batches}
            errors = spread(sign(wanted, keys, signer, self._form), batches)
            if part.last:
                whole = [batch for batch in batches if batch not in errors]
                stated = state(whole, keys, signer, job_token=self._job.token, algorithm=self._algorithm)
                errors = spread(errors | stated, batches)
        return errors, time.thread_time() - started

    def _begun(self, batches: Iterable[Batch]) -> None:
        """Notes that batches no longer wait to be signed."""
        self._unsigned.difference_update(batches)
        self._hold.changed.set()

    async def _commit_what_is_ready(self) -> None:
        """Commits together all batches that became ready during the last commit."""
        while True:
            ready = await self._signed.get()
            while not self._signed.empty():
                ready = ready + self._signed.get_nowait()
            await self._commit(ready)

    async def _commit(self, ready: list[Batch]) -> None:
        if self._failures.distrusted:
            await self._hold.settle(ready, _RETURNED)
            return
        try:
            with self._metrics.commit_seconds.time():
                outcomes = await commit(
                    self._pool, self._job.job_no, self._holder, ready, id_type=self._source.id_type
                )
        except Exception as error:  # noqa: BLE001 - the signer survives the error of a batch
            if len(ready) == 1:
                await self._hold.settle(ready, await self._failures.settlement(ready[0], error))
            else:  # one of them is at fault: let it fail alone
                for batch in ready:
                    await self._commit([batch])
            return
        ends: dict[Settlement, list[Batch]] = {}
        for batch, outcome in zip(ready, outcomes, strict=True):
            how = self._failures.fenced(batch) if outcome == FENCED else _ANSWERED[outcome]
            ends.setdefault(how, []).append(batch)
        committed = [batch.signed for batch in ends.get(_ANSWERED[COMMITTED], ())]
        self._metrics.committed(
            signed=sum(len(signed.record_ids) for signed in committed),
            dead=[record.reason for signed in committed for record in signed.dead],
        )
        for how, batches in ends.items():
            await self._hold.settle(batches, how)
            if how.outcome != FENCED:
                self.committed += len(batches)
                _observe_since_fetch(self._metrics.batch_seconds, batches)

    async def _drain(self, groups: set[asyncio.Task[None]]) -> None:
        """Finishes the batches in flight while there is time, so that none is delivered again; returns the others."""
        clock, seconds = asyncio.get_running_loop(), self._limits.drain_seconds
        deadline = None if seconds is None else clock.time() + seconds
        self._keyless += self._hold.admit(await recognized(await self._puller.leave()))
        while self._keyless and not self._broken.done() and (deadline is None or clock.time() < deadline):
            none_started = self.in_flight == len(self._keyless)
            if await self._start(groups, fetching=False) or not none_started:
                continue
            if not await key_is_free(self._pool, self._job.job_no):
                break  # other signers hold all keys, for an unknown time
        await self._hold.settle(self._keyless, _RETURNED)
        self._keyless = []
        try:
            async with asyncio.timeout_at(deadline):
                await self._finish(groups)
        except TimeoutError:
            await self._abandon(groups)

    async def _finish(self, groups: set[asyncio.Task[None]]) -> None:
        while (groups or self.in_flight) and not self._stuck:
            self._hold.changed.clear()
            if groups:
                await asyncio.wait(set(groups), return_when=asyncio.FIRST_COMPLETED)
            else:
                await self._hold.changed.wait()

    async def _abandon(self, groups: set[asyncio.Task[None]]) -> None:
        """Releases keys and returns batches before the process is killed, so that nobody waits for a lease to expire.

        A commit that is under way comes before, or is fenced.
        """
        batches = self._hold.abandon()
        log.warning("the drain time is over: returning batches to the queue", extra={"batches": len(batches)})
        for task in set(groups):
            task.cancel()
        await self._hold.settle(batches, _RETURNED)

    def _break(self, error: Exception) -> None:
        if not self._broken.done():
            self._broken.set_exception(error)
        self._hold.changed.set()

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Ends the run if a task broke: nobody would finish its batches, so the process leaves and its leases expire."""
        if not task.cancelled() and isinstance(error := task.exception(), Exception):
            self._stuck = True
            self._break(error)


def _observe_since_fetch(histogram: ManyHistogram, batches: Sequence[Batch]) -> None:
    """Observes for each batch the seconds since it was fetched."""
    now = time.perf_counter()
    for fetched_at, count in Counter(batch.fetched_at for batch in batches).items():
        histogram.observe_times(now - fetched_at, count)
