"""The keys worker: generates a job's keys, wraps them at once, and keeps `keys.>` in sync with Postgres."""

from __future__ import annotations

import asyncio
import logging
import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from vaultstream.bus.keys import KeysStream
from vaultstream.cores import usable_cores
from vaultstream.crypto.algorithms import generate_private_key, private_key_to_bytes, public_key_to_bytes
from vaultstream.crypto.envelope import wrap
from vaultstream.crypto.keyring import KeyRing, load_keyring
from vaultstream.role import WorkerRole
from vaultstream.store import keys as store
from vaultstream.store.jobs import find_job
from vaultstream.store.keys import NewKey
from vaultstream.worker import RECONCILE_SECONDS, WorkerContext, repeat, worker_context

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vaultstream.api import Algorithm
    from vaultstream.settings import Settings
    from vaultstream.store.database import Pool
    from vaultstream.store.jobs import Job

log = logging.getLogger(__name__)

KEYS_PER_WRITE = 64
"""Keys generated between two writes to Postgres."""


async def run_keys_worker(settings: Settings, job_name: str) -> None:
    """Makes the job's keys, then publishes every change until the job has ended or SIGTERM arrives.

    Raises:
        UsageError: settings or job can't be used.
        CustodyError: there is no key-encryption key to wrap with.
        ServiceError: Postgres or NATS can't be reached at the start.
    """
    async with worker_context(settings, job_name, role=WorkerRole.KEYS, connections=2) as context:
        load_keyring(context.kek_file)  # refuse early
        publisher = KeyPublisher(context)
        telemetry = context.telemetry

        def on_made(keys: int) -> None:
            telemetry.metrics.keys.keys_made.inc(keys)
            telemetry.health.beat("keys")  # thousands of RSA keys take minutes

        async def make_and_publish() -> bool:
            ring = load_keyring(context.kek_file)
            await make_missing_keys(context.pool, context.job, ring, stop=context.stop, on_made=on_made)
            await publisher.publish_changes()
            return False  # keys change until the job has ended

        await repeat(context, make_and_publish, name="keys", every=RECONCILE_SECONDS)
        await publisher.clean_up()


async def make_missing_keys(
    pool: Pool,
    job: Job,
    ring: KeyRing,
    *,
    stop: asyncio.Event | None = None,
    on_made: Callable[[int], None] | None = None,
) -> int:
    """Makes the missing ones of the job's `keys.count` keys; returns how many it made."""
    async with pool.acquire() as connection:
        present = await store.ordinals(connection, job.job_no)
    missing = [n for n in range(1, job.spec.keys.count + 1) if n not in present]
    return await make_keys(pool, job, ring, missing, stop=stop, on_made=on_made)


async def make_keys(
    pool: Pool,
    job: Job,
    ring: KeyRing,
    ordinals: Sequence[int],
    *,
    stop: asyncio.Event | None = None,
    on_made: Callable[[int], None] | None = None,
) -> int:
    """Makes keys with the given ordinals, in threads, each wrapped by its own thread; returns how many.

    Calls `on_made` with the number of keys after each write to Postgres; `stop` ends it between two writes.
    """
    made = 0
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(usable_cores(), thread_name_prefix="keygen") as threads:
        for start in range(0, len(ordinals), KEYS_PER_WRITE):
            if stop is not None and stop.is_set():
                break
            keys = await asyncio.gather(
                *(
                    loop.run_in_executor(threads, make_key, job.token, job.spec.keys.algorithm, ordinal, ring)
                    for ordinal in ordinals[start : start + KEYS_PER_WRITE]
                )
            )
            async with pool.acquire() as connection:
                await store.add_keys(connection, job, keys)
            made += len(keys)
            if on_made is not None:
                on_made(len(keys))
            log.info("keys created", extra={"made": made, "of": len(ordinals)})
    return made


def make_key(token: str, algorithm: Algorithm, ordinal: int, ring: KeyRing) -> NewKey:
    """Makes one key; its private half leaves this function only wrapped."""
    private_key = generate_private_key(algorithm)
    return NewKey(
        ordinal=ordinal,
        public_key=public_key_to_bytes(private_key),
        wrapped=wrap(
            ring.primary,
            private_key_to_bytes(private_key),
            job=token,
            key_id=f"{token}-{ordinal}-{secrets.token_hex(4)}",
            version=1,
            algorithm=algorithm,
        ),
    )


class KeyPublisher:
    """Keeps the last message of each key of a job equal to its row in Postgres."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._stream = KeysStream(context.bus)
        self._published: dict[str, tuple[str, int]] = {}
        self._metrics = context.telemetry.metrics.keys

    async def publish_changes(self) -> int:
        """Publishes keys that are new, changed or missing on `keys.>`; returns how many."""
        outcome = "failed"
        try:
            published = await self._publish_changes()
            outcome = "published" if published else "unchanged"
        finally:
            self._metrics.reconciles.labels(outcome).inc()
        return published

    async def _publish_changes(self) -> int:
        job = self._context.job
        if await self._stream.ensure():
            log.info("keys stream created")
            self._published.clear()
        if await self._stream.count(job.token) < len(self._published):
            log.warning("keys stream has lost messages: publishing again")
            self._published.clear()
        async with self._context.pool.acquire() as connection:
            states = await store.list_states(connection, job.job_no)
            self._metrics.keys_ahead.set(await store.count_keys_ahead(connection, job.job_no))
            if states == self._published:
                return 0
            changed = [
                key
                for key in await store.list_wrapped(connection, job)
                if self._published.get(key.key_id) != (key.state, key.version)
            ]
        await self._stream.publish(changed)
        self._metrics.keys_published.inc(len(changed))
        self._published.update((key.key_id, (key.state, key.version)) for key in changed)
        log.info("keys published", extra={"keys": len(changed)})
        return len(changed)

    async def clean_up(self) -> None:
        """Removes an ended job's keys from JetStream; they stay, wrapped, in Postgres."""
        try:
            async with self._context.pool.acquire(timeout=5) as connection:
                job = await find_job(connection, self._context.job.token)
            if job is None or job.ended:
                await self._stream.remove(self._context.job.token)
        except Exception as error:  # noqa: BLE001 - leftovers are found by `vaultstream doctor`
            log.warning("cleanup failed: %s", error or type(error).__name__)
