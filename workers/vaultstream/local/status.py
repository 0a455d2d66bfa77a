"""The status of a job: counts, lag, rate, keys and workers, read from Postgres and JetStream."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

from vaultstream.bus.connection import BUS_ERRORS, Bus, connect_bus
from vaultstream.bus.records import RecordsStream
from vaultstream.errors import BusError, UsageError, redact
from vaultstream.role import WorkerRole
from vaultstream.store import jobs
from vaultstream.store.blockers import LOCKED_SECONDS, blocked_sentence, list_blockers, unless_blocked
from vaultstream.store.progress import JobSnapshot, read_job, with_pauses
from vaultstream.store.serving import no_writes
from vaultstream.store.sessions import list_worker_sessions

if TYPE_CHECKING:
    from vaultstream.bus.records import ConsumerLag
    from vaultstream.local.services import Services
    from vaultstream.store.database import Connection, Pool
    from vaultstream.store.jobs import Job
    from vaultstream.store.sessions import WorkerSession

NO_CONSUMER = "no consumer"
UNREACHABLE = "NATS does not answer"


@dataclass(frozen=True)
class LagStatus:
    """Batches that are still to be acknowledged. An unknown lag is None, never 0.

    Attributes:
        state: `ok`, `no consumer` or `NATS does not answer`; only with `ok` are there counts from JetStream.
        pending: batches that wait in the stream.
        ack_pending: batches in flight.
        unpublished: pending batches in Postgres that were not published to JetStream yet.
    """

    state: str
    pending: int | None
    ack_pending: int | None
    unpublished: int

    @property
    def batches(self) -> int | None:
        """The total lag; None while it is unknown."""
        if self.pending is None or self.ack_pending is None:
            return None
        return self.pending + self.ack_pending + self.unpublished


@dataclass(frozen=True)
class JobOverview(JobSnapshot):
    """Everything that `status` shows about a job, at one moment.

    Attributes:
        refused: why Postgres takes no writes; None: it takes them.
        blocked: who keeps workers of the job waiting for a lock, in a sentence; None: nobody.
    """

    lag: LagStatus
    workers: list[WorkerSession]
    refused: str | None = None
    blocked: str | None = None

    @property
    def message(self) -> str | None:
        """Why the job is in its state, or what it waits for; None: nothing is to be said."""
        return self.job.message or (None if self.job.ended else self.refused or self.blocked)

    @property
    def signers(self) -> list[WorkerSession]:
        return [worker for worker in self.workers if worker.role == WorkerRole.SIGNING]

    def to_json(self, services: Services) -> dict[str, Any]:
        """Returns the status and the addresses of the services as JSON-ready values, without passwords."""
        job, progress = self.job, self.progress
        return {
            **summarize(self),
            "message": self.message,
            "seconds": progress.seconds,
            "records_per_second": progress.rate,
            "eta_seconds": progress.eta_seconds,
            "planned": job.planned,
            "batches": {
                "total": progress.batches,
                "done": progress.batches_done,
                "pending": progress.batches_left,
                "failing": progress.batches_failing,
                "unpublished": progress.batches_unpublished,
            },
            "last_error": progress.last_error,
            "lag": {"batches": self.lag.batches, **asdict(self.lag)},
            "keys": self.keys.to_json(),
            "signers": [{"host": worker.host, "pid": worker.pid} for worker in self.signers],
            "workers": [
                {
                    "role": worker.role,
                    "host": worker.host,
                    "pid": worker.pid,
                    "connections": worker.connections,
                }
                for worker in self.workers
            ],
            "services": {
                "postgres": {"url": redact(services.database_url), "pid": services.postgres_pid},
                "nats": {"url": redact(services.nats_url), "pid": services.nats_pid},
                "data_dir": str(services.data_dir),
            },
        }


def summarize(snapshot: JobSnapshot) -> dict[str, Any]:
    """Returns the entry of a job in a list of jobs, as JSON-ready values."""
    job, progress = snapshot.job, snapshot.progress
    return {
        "name": job.name,
        "token": job.token,
        "state": str(job.state),
        "message": job.message,
        "records": progress.records,
        "signed": progress.signed,
        "dead": progress.dead,
        "batch_size": job.spec.batch_size,
        "algorithm": str(job.spec.keys.algorithm),
        "table": job.spec.records.table,
        "created_at": _iso(job.created_at),
        "started_at": _iso(job.started_at),
        "finished_at": _iso(job.finished_at),
        "deleted_at": _iso(job.deleted_at),
        "seconds": job.seconds,
        "working_seconds": progress.working_seconds if job.ended else None,
        "records_per_second": progress.overall_rate,
    }


def lag_status(lag: ConsumerLag | None, *, reachable: bool, unpublished: int) -> LagStatus:
    """Returns the lag to show. `lag` None means that the consumer is missing, if NATS was reachable."""
    if not reachable:
        return LagStatus(UNREACHABLE, None, None, unpublished)
    if lag is None:
        return LagStatus(NO_CONSUMER, None, None, unpublished)
    return LagStatus("ok", lag.pending, lag.ack_pending, unpublished)


class StatusReader:
    """Reads the status of one job repeatedly over one connection to NATS. An asynchronous context manager."""

    def __init__(self, services: Services, pool: Pool, name: str) -> None:
        self._services = services
        self._pool = pool
        self._name = name
        self._stack = AsyncExitStack()
        self._bus: Bus | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def read(self) -> JobOverview:
        """Returns the status of the job now.

        Raises:
            UnknownJobError: there is no such job.
            LockedError: others keep a table locked.
        """
        async with (
            self._pool.acquire() as connection,
            unless_blocked(connection, self._services.database_url, patience=LOCKED_SECONDS),
        ):
            job = await jobs.get_job(connection, self._name)
        self._name = job.token  # from now on this job, even if another job gets its name
        reachable, lag = await self._lag(job)
        async with (
            self._pool.acquire() as connection,
            unless_blocked(connection, self._services.database_url, patience=LOCKED_SECONDS),
            connection.transaction(isolation="repeatable_read"),
        ):
            return await _gather(connection, job.token, reachable=reachable, lag=lag)

    async def _lag(self, job: Job) -> tuple[bool, ConsumerLag | None]:
        try:
            if self._bus is None:
                services = self._services
                address = services.bus_address
                self._bus = await self._stack.enter_async_context(
                    connect_bus(address, role="auditor", attempts=1)
                )
            return True, await RecordsStream(self._bus.of_tenant(job.tenant)).lag(job.token)
        except (BusError, UsageError, *BUS_ERRORS):  # also: there is no URL of NATS
            return False, None


async def _gather(
    connection: Connection, token: str, *, reachable: bool, lag: ConsumerLag | None
) -> JobOverview:
    snapshot = await with_pauses(connection, await read_job(connection, token))
    return JobOverview(
        snapshot.job,
        snapshot.progress,
        snapshot.keys,
        snapshot.read_at,
        lag=lag_status(lag, reachable=reachable, unpublished=snapshot.progress.batches_unpublished),
        workers=await list_worker_sessions(connection, snapshot.job.job_no),
        refused=no_writes(connection),
        blocked=blocked_sentence(await list_blockers(connection, job_no=snapshot.job.job_no)),
    )


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
