"""The keys worker: generates a job's keys, wraps them at once, and keeps `keys.>` in sync with Postgres."""

from __future__ import annotations

import asyncio
import logging
import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from vaultstream.bus.keys import KeysStream, revived_by
from vaultstream.cores import usable_cores
from vaultstream.crypto.algorithms import generate_private_key, private_key_to_bytes, public_key_to_bytes
from vaultstream.crypto.envelope import wrap
from vaultstream.crypto.keyring import KeyRing, load_keyring
from vaultstream.crypto.revocations import Revocations, RevocationsFile
from vaultstream.errors import BusError, shown
from vaultstream.role import WorkerRole
from vaultstream.store import keys as store
from vaultstream.store.jobs import find_job
from vaultstream.store.keys import NewKey
from vaultstream.worker import RECONCILE_SECONDS, WorkerContext, repeat, worker_context

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

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
        CustodyError: there is no key-encryption key to wrap with, or the file of revocations can't be read.
        ServiceError: Postgres or NATS can't be reached at the start.
    """
    async with worker_context(settings, job_name, role=WorkerRole.KEYS, connections=2) as context:
        load_keyring(context.kek_file)  # refuse early
        revocations = RevocationsFile(context.revocations_file)
        revoked_before: Revocations | None = None
        publisher = KeyPublisher(context)
        telemetry = context.telemetry

        def on_made(keys: int) -> None:
            telemetry.metrics.keys.keys_made.inc(keys)
            telemetry.health.beat("keys")  # thousands of RSA keys take minutes

        async def make_and_publish() -> bool:
            nonlocal revoked_before
            revoked = revocations.current()
            again = await revoke_again(
                context.pool, context.job, revoked, thorough=revoked is not revoked_before
            )
            telemetry.metrics.keys.keys_revoked_again.inc(len(again))
            revoked_before = revoked
            ring = load_keyring(context.kek_file)
            await make_missing_keys(context.pool, context.job, ring, stop=context.stop, on_made=on_made)
            await publisher.publish_changes()
            return False  # keys change until the job has ended

        await repeat(context, make_and_publish, name="keys", every=RECONCILE_SECONDS)
        await publisher.clean_up()


async def revoke_again(pool: Pool, job: Job, revocations: Revocations, *, thorough: bool) -> list[str]:
    """Revokes keys that the file of revocations names and Postgres does not have as revoked; returns their ids.

    That happens when a backup from before the revocation is restored.

    Args:
        pool: of connections to the writer.
        job: whose keys.
        revocations: from the file.
        thorough: whether to compare public keys too, not ids alone.
    """
    if not revocations.entries:
        return []
    async with pool.acquire() as connection:
        revived = await store.list_revived(connection, job.job_no, revocations, by_public_key=thorough)
        if revived:
            await store.end_keys(connection, job.job_no, revived, state="revoked")
    if revived:
        log.error(
            "keys revoked again: the file of revocations names them, and Postgres had them as usable. "
            "Was a backup restored?",
            extra={"job": job.name, "keys": revived},
        )
    return revived


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
        self._compared = False
        self._withheld: set[str] = set()
        """Keys that the stream has as revoked and Postgres has not: publishing them would hide that."""
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
            if not self._compared:
                await self._compare(states)
            states = {
                key_id: found
                for key_id, found in states.items()
                if key_id not in self._withheld or found[0] == "revoked"
            }
            if states == self._published:
                return 0
            changed = [
                key
                for key in await store.list_wrapped(connection, job)
                if key.key_id in states and self._published.get(key.key_id) != (key.state, key.version)
            ]
        await self._stream.publish(changed)
        self._metrics.keys_published.inc(len(changed))
        self._published.update((key.key_id, (key.state, key.version)) for key in changed)
        log.info("keys published", extra={"keys": len(changed)})
        return len(changed)

    async def _compare(self, states: Mapping[str, tuple[str, int]]) -> None:
        """Finds, once, keys that the stream has as revoked, which Postgres can have forgotten only by a restore."""
        try:
            told = await self._stream.states(self._context.job.token, states)
        except BusError as error:
            log.warning("the stream of keys can't be compared with Postgres: %s", error)
            told = {}
        self._compared = True
        revived = revived_by(told, {key_id: state for key_id, (state, _) in states.items()})
        self._withheld.update(revived)
        if revived:
            log.error(
                "the stream of keys has keys as revoked that Postgres has as usable: a backup was restored, or a message "
                "was forged. `vaultstream doctor` says what to do",
                extra={"job": self._context.job.name, "keys": revived},
            )

    async def clean_up(self) -> None:
        """Removes an ended job's keys from JetStream; they stay, wrapped, in Postgres."""
        try:
            async with self._context.pool.acquire(timeout=5) as connection:
                job = await find_job(connection, self._context.job.token)
            if job is None or job.ended:
                await self._stream.remove(self._context.job.token)
        except Exception as error:  # noqa: BLE001 - leftovers are found by `vaultstream doctor`
            log.warning("cleanup failed: %s", shown(error))
