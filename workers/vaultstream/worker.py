"""What the three workers share: connections, identity, retry loop and how they stop."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nats.js.errors import ServiceUnavailableError

from vaultstream.api import JobState
from vaultstream.bus.address import bus_address
from vaultstream.bus.answers import JETSTREAM_HINT, NO_JETSTREAM
from vaultstream.bus.connection import BUS_ERRORS, Bus, connect_bus
from vaultstream.credentials import current_database_url
from vaultstream.errors import BusError, UsageError, shown
from vaultstream.patience import ask_to_leave
from vaultstream.role import WorkerRole
from vaultstream.settings import kek_file, revocations_file, seal_key_file, seals_dir
from vaultstream.store import schema
from vaultstream.store.blockers import LockWatch
from vaultstream.store.database import PLANS_ONCE, Pool, is_transient, open_pool
from vaultstream.store.holder import APPLICATION, Holder, SessionName
from vaultstream.store.jobs import Job, find_job, get_job
from vaultstream.store.keepalive import plain_peer_of
from vaultstream.store.lockers import LOCK_WAIT
from vaultstream.store.source_login import SourceDatabase, find_place
from vaultstream.store.source_pool import SourcePool, open_source_pool
from vaultstream.telemetry.server import Telemetry, serving
from vaultstream.transit import ENCRYPT, PLAIN

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from pathlib import Path

    from vaultstream.settings import Settings

log = logging.getLogger(__name__)

PARENT_VARIABLE = "VAULTSTREAM_PARENT_PID"
"""Set by a pool to its process id: its workers drain and exit once that process is gone."""

JOB_POLL_SECONDS = 1.0
"""Seconds between two reads of the job."""
JOB_READ_SECONDS = 5.0
"""The longest read of the job: a worker whose pool is gone must not wait for a Postgres that does not answer."""


RECONCILE_SECONDS = 1.0
"""Seconds between two comparisons of JetStream with Postgres."""
STEP_RETRY_SECONDS = 0.5
"""Delay before a step is retried after NATS or Postgres did not answer."""
JETSTREAM_PATIENCE_SECONDS = 60.0
"""How long a NATS that answers may be without JetStream, as while it recovers its streams or elects a leader."""


@dataclass(frozen=True)
class WorkerContext:
    """What a worker works with: settings, job, connections and telemetry."""

    settings: Settings
    job: Job
    pool: Pool
    bus: Bus
    holder: str
    """Its name in leases and lease history: `<host>:<process id>:<random>`, never reused."""
    stop: asyncio.Event
    """Set when it must drain: on SIGTERM, when its job has ended, or when its pool is gone."""
    telemetry: Telemetry = field(default_factory=lambda: Telemetry("unnamed"))
    """Its metrics and health, served if the settings say so."""

    @property
    def kek_file(self) -> Path:
        return kek_file(self.settings)

    @property
    def revocations_file(self) -> Path:
        return revocations_file(self.settings)

    @property
    def seal_key_file(self) -> Path:
        return seal_key_file(self.settings)

    @property
    def seals_dir(self) -> Path:
        return seals_dir(self.settings)


@asynccontextmanager
async def worker_context(
    settings: Settings, job_name: str, *, role: str, connections: int, ready_once: str | None = None
) -> AsyncIterator[WorkerContext]:
    """Connects a worker to its job, and serves its metrics and health if the settings say so.

    Args:
        settings: where the services and the key-encryption keys are.
        job_name: name or token of the job.
        role: keys, records or signing.
        connections: connections to Postgres, at most.
        ready_once: what, besides the services, the worker must have `seen` before it is ready.

    Raises:
        UsageError: DATABASE_URL or VAULTSTREAM_NATS_URL is not set.
        UnknownJobError: there is no such job.
        ServiceError: Postgres or NATS can't be reached, or the schema has another version than this program.
    """
    telemetry = Telemetry(role)
    health, stop = telemetry.health, asyncio.Event()
    health.expect("postgres", within=health.answer_seconds)
    health.require("nats", lambda: "not connected yet")
    if ready_once is not None:
        health.expect(ready_once, within=health.progress_seconds)
    async with (
        serving(settings, telemetry),
        _connected(settings, job_name, telemetry, stop, connections=connections) as context,
    ):
        yield context


@asynccontextmanager
async def source_pool_of(context: WorkerContext, *, size: int) -> AsyncIterator[SourcePool]:
    """Opens a worker's connections for reading the source of its job.

    Raises:
        UsageError: sources are not read by the login of these settings.
        DatabaseError: Postgres is unreachable or refuses the connection.
    """
    settings = context.settings
    async with context.pool.acquire() as connection:
        place = await find_place(connection)
    database = SourceDatabase.by(settings, current_database_url(settings))
    name = str(SessionName.of_this_process(context.telemetry.health.role, context.job.job_no))
    async with open_source_pool(database, place=place, ours=context.pool, role=name, size=size) as sources:
        if database.given:
            async with sources.transaction() as reading:
                _warn_of_plain("Source login", plain_peer_of(reading))
        yield sources


@asynccontextmanager
async def _connected(
    settings: Settings, job_name: str, telemetry: Telemetry, stop: asyncio.Event, *, connections: int
) -> AsyncIterator[WorkerContext]:
    role = telemetry.health.role
    if settings.database_url is None or settings.nats_url is None:
        raise UsageError(
            "A worker needs DATABASE_URL and VAULTSTREAM_NATS_URL.",
            hint="Set both, or let `vaultstream run` start the workers, on embedded services if you like.",
        )
    url = current_database_url(settings)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, _drain, number, stop)
    async with (
        open_pool(url, role=role, size=1, writes=True) as first,
        first.acquire() as connection,
    ):
        await schema.require_current(connection)
        job = await get_job(connection, job_name)
        _warn_of_plain("Postgres", plain_peer_of(connection))
    async with (
        open_pool(
            url,
            role=str(SessionName.of_this_process(role, job.job_no)),
            size=connections,
            kept=role != WorkerRole.KEYS,
            settings=session_settings(role),
            writes=True,
        ) as pool,
        connect_bus(bus_address(settings, settings.nats_url), role=role, job=job.token) as bus,
    ):
        _warn_of_plain("NATS", bus.client.plain_peer)
        holder = str(Holder.of_this_process())
        context = WorkerContext(settings, job, pool, bus, holder, stop, telemetry)
        telemetry.health.require("nats", lambda: None if bus.client.is_connected else "not connected")
        watch = asyncio.create_task(_watch(context))
        log.info("%s worker started", role, extra={"job": job.name, "token": job.token, "holder": holder})
        try:
            yield context
        finally:
            watch.cancel()
            with suppress(asyncio.CancelledError):
                await watch
            log.info("%s worker stopped", role, extra={"job": job.name, "holder": holder})


def session_settings(role: str) -> Mapping[str, str]:
    """Returns what the sessions of a worker set in Postgres.

    Who locks a job's row may keep it: without a bound, its keys worker and its records worker would wait for the driver's timeout.
    """
    return PLANS_ONCE if role == WorkerRole.SIGNING else {"lock_timeout": LOCK_WAIT}


def _warn_of_plain(service: str, peer: str | None) -> None:
    if peer is not None:
        log.warning("%s: %s", service, PLAIN.format(peer=peer), extra={"hint": ENCRYPT[service]})


def _drain(number: signal.Signals, stop: asyncio.Event) -> None:
    log.info("%s: draining", signal.Signals(number).name)
    ask_to_leave()
    stop.set()


async def _watch(context: WorkerContext) -> None:
    """Sets `stop` once the job has ended, or the pool that started this process is gone."""
    parent = int(os.environ.get(PARENT_VARIABLE, "0"))
    name = str(SessionName.of_this_process(context.telemetry.health.role, context.job.job_no))
    locks = LockWatch(current_database_url(context.settings), f"{APPLICATION}{name}")
    while not context.stop.is_set():
        context.telemetry.health.beat("watching")
        if parent and os.getppid() != parent:
            log.warning("the pool that started this worker is gone: draining")
            context.stop.set()
        job = await poll_job(context)
        if job is None or job.ended or job.state is JobState.SUSPENDED:
            context.stop.set()
        elif blocked := await locks.look(context.pool):
            context.telemetry.health.missed("postgres", blocked)
        with suppress(TimeoutError):
            async with asyncio.timeout(JOB_POLL_SECONDS):
                await context.stop.wait()
    context.telemetry.health.rest("watching")


async def poll_job(context: WorkerContext) -> Job | None:
    """Returns the job as it is now, or as it was at the start while Postgres is unreachable; None if it was deleted."""
    try:
        async with (
            asyncio.timeout(JOB_READ_SECONDS),
            context.pool.acquire(timeout=JOB_POLL_SECONDS) as connection,
        ):
            job = await find_job(connection, context.job.token)
    except Exception as error:
        if not is_transient(error):
            raise
        context.telemetry.health.missed("postgres", shown(error))
        return context.job
    context.telemetry.health.seen("postgres")
    return job


def _no_jetstream_since(since: float | None, error: Exception, now: float) -> float | None:
    """Returns since when JetStream does not answer while NATS does; None: it is another error.

    Raises:
        BusError: it lasts for longer than a restart of NATS takes.
    """
    if not isinstance(error, ServiceUnavailableError):
        return None
    if since is not None and now - since > JETSTREAM_PATIENCE_SECONDS:
        raise BusError(NO_JETSTREAM, hint=JETSTREAM_HINT)
    return now if since is None else since


async def repeat(
    context: WorkerContext, step: Callable[[], Awaitable[bool]], *, name: str, every: float = 0.0
) -> None:
    """Repeats a step until it returns True or the worker is asked to exit; retries while a service is unreachable.

    Args:
        context: of the worker. Each step is a beat of its health.
        step: returns whether all is done. It may raise whatever Postgres or NATS raises while unreachable.
        name: of the loop, in the health report.
        every: seconds between two steps.
    """
    health = context.telemetry.health
    silent_since: float | None = None
    while not context.stop.is_set():
        health.beat(name)
        pause = every
        try:
            if await step():
                break
            silent_since = None
        except Exception as error:
            if not isinstance(error, BUS_ERRORS) and not is_transient(error):
                raise
            silent_since = _no_jetstream_since(silent_since, error, time.monotonic())
            log.warning("service unreachable, retrying: %s", shown(error), extra={"loop": name})
            pause = max(every, STEP_RETRY_SECONDS)
        if pause:
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await context.stop.wait()
    health.rest(name)
