"""Runs jobs and disturbs them: services to kill, wires to cut, workers with fault points, and checks of the guarantees."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import psutil  # type: ignore[import-untyped]

from support.as_user import as_user, connect
from support.chaos.points import Points
from support.engine import new_name, open_bus
from support.lab import Lab
from support.local_workers import workers_of
from support.sealing import read_sealed
from support.waiting import eventually
from support.wire import Wire, open_socket_wire, open_wire
from vaultstream.bus.subjects import RECORDS_STREAM
from vaultstream.crypto.seal_keys import load_seal_keys
from vaultstream.store import schema
from vaultstream.store.database import open_pool
from vaultstream.store.jobs import get_job

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncpg
    from nats.aio.msg import Msg

    from support.lab import Ended
    from vaultstream.audit.report import AuditReport
    from vaultstream.bus.connection import Bus
    from vaultstream.local.services import LocalServices, Services
    from vaultstream.store.jobs import Job

_TESTS = Path(__file__).parents[2]
LEASE_SECONDS = 1.0
ROLE = "chaos"
"""Name of our own sessions, which are never disturbed."""
RECORDS = 20_000
_EVER = datetime.min.replace(tzinfo=UTC)
PATIENCE = 240.0
"""Seconds for a job to end on a busy machine."""


@dataclass
class Arena:
    """Its own database, on services that may be killed; workers reach both services through wires."""

    local: LocalServices
    services: Services
    """The services, as the test reaches them."""
    url: str
    """Of the database."""
    lab: Lab
    folder: Path
    points: Points
    nats: Wire
    postgres: Wire
    killed: set[int] = field(default_factory=set)
    """Process ids of workers that could not release their keys."""

    async def restore(self) -> None:
        """Starts again what was killed, and reconnects the wires."""
        self.nats.restore()
        self.postgres.restore()
        await self.local.ensure_running()
        await self.lab.pool.expire_connections()

    @asynccontextmanager
    async def bus(self) -> AsyncIterator[Bus]:
        async with open_bus(self.services) as bus:
            yield bus

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.Connection]:
        async with connect(self.url, role=ROLE) as connection:
            yield connection

    async def make_records(self, count: int = RECORDS, *, table: str = "records") -> None:
        async with self.connection() as connection:
            await connection.execute(
                f"CREATE TABLE {table} AS SELECT n AS id, repeat(md5(n::text), 4) AS payload "
                f"FROM generate_series(1::bigint, {count}) n; ALTER TABLE {table} ADD PRIMARY KEY (id)"
            )

    async def slow_down(self, view: str, condition: str) -> None:
        """Creates a view of the records that delays reads by 0.15 s per record that meets a condition in SQL."""
        await self.lab.execute(
            f"""
            CREATE OR REPLACE FUNCTION slow_for_signers() RETURNS boolean STABLE LANGUAGE plpgsql AS $$
            BEGIN
                IF current_setting('application_name') LIKE 'vaultstream-signing%' THEN PERFORM pg_sleep(0.15); END IF;
                RETURN true;
            END $$;
            CREATE VIEW {view} AS
            SELECT id, CASE WHEN NOT ({condition}) OR slow_for_signers() THEN payload END AS payload FROM records
            """
        )

    def told(self, words: str) -> int:
        """How often a text occurs in the logs of the signers."""
        logs = (self.folder / "logs").glob("*/signing-*.log")
        return sum(log.read_text(errors="replace").count(words) for log in logs)

    def workers(self, role: str = "") -> list[int]:
        """Process ids of this arena's workers, of one role or all, including stopped ones."""
        return workers_of(self.folder, role)

    def send(self, pid: int, number: signal.Signals) -> bool:
        """Sends a signal to one of this arena's workers; returns whether it was still alive."""
        if pid not in self.workers():
            return False
        with suppress(ProcessLookupError):
            os.kill(pid, number)
            if number == signal.SIGKILL:
                self.killed.add(pid)
            return True
        return False

    def thaw(self) -> None:
        """Resumes every stopped worker."""
        for pid in self.workers():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    async def now(self) -> datetime:
        """Postgres's clock, which decides when leases begin and end."""
        moment = await self.lab.value("SELECT clock_timestamp()")
        assert isinstance(moment, datetime)
        return moment

    async def holders(self, job: Job, *, in_force: bool, since: datetime = _EVER) -> list[str]:
        """The holders of a job's keys, with current leases or also with expired ones; only leases begun since a moment."""
        rows = await self.lab.rows(
            "SELECT holder FROM vaultstream.keys WHERE job_no = $1 AND holder IS NOT NULL "
            "AND (lease_until > clock_timestamp() OR NOT $2) AND leased_at >= $3",
            job.job_no,
            in_force,
            since,
        )
        return [holder for (holder,) in rows]

    async def settled(self, job: Job) -> int:
        """Number of done batches."""
        return int(
            await self.lab.value(
                "SELECT count(*) FROM vaultstream.batches WHERE job_no = $1 AND state <> 'pending'",
                job.job_no,
            )
        )

    async def reach(self, job: Job, share: float) -> None:
        """Returns when this share of a job's records is settled."""
        records = (
            "SELECT coalesce(sum(records), 0) >= $2::float8 FROM vaultstream.batches "
            "WHERE job_no = $1 AND state = 'done'"
        )

        async def there() -> bool:
            return bool(await self.lab.value(records, job.job_no, share * RECORDS))

        await eventually(there, seconds=PATIENCE / 2, what=f"{share:.0%} of the records are settled")

    async def outcomes(self, job: Job) -> dict[str, int]:
        """Number of ended leases by outcome."""
        rows = await self.lab.rows(
            "SELECT l.outcome, count(*) FROM vaultstream.leases l JOIN vaultstream.keys k USING (key_no) "
            "WHERE k.job_no = $1 GROUP BY 1",
            job.job_no,
        )
        return dict(rows)

    @asynccontextmanager
    async def second_acks(self, job: Job) -> AsyncIterator[list[str]]:
        """Listens for acknowledgments of redelivered messages; yields the list of those so far."""
        heard: list[str] = []

        async def hear(message: Msg) -> None:  # $JS.ACK.<stream>.<consumer>.<deliveries>.<...>
            if message.data in (b"", b"+ACK") and int(message.subject.split(".")[4]) > 1:
                heard.append(message.subject)

        async with self.bus() as bus:
            await bus.client.subscribe(f"$JS.ACK.{RECORDS_STREAM}.{job.token}.>", cb=hear)
            await bus.client.flush()
            yield heard

    @asynccontextmanager
    async def running(self, job: Job, *, signers: int = 2) -> AsyncIterator[asyncio.Task[Ended]]:
        """Runs a job in a pool of real workers; the block disturbs it, and it must still end."""
        run = asyncio.create_task(self.lab.finish(job, max_signers=signers, seconds=PATIENCE))
        try:
            yield run
            await run
        finally:
            self.thaw()
            run.cancel()
            await asyncio.gather(run, return_exceptions=True)

    async def assert_promises(
        self, job: Job, records: int = RECORDS, *, calm_since: datetime = _EVER
    ) -> AuditReport:
        """Checks that verification passes, each record is signed once, the job has one seal of its completion, every key is free, and
        no process is left.

        A key is free if its holder released it. It is also free if its lease expired and the holder was killed, or the
        lease began before `calm_since`, up to which faults may have kept signers from releasing keys.
        """
        async with self.connection() as connection:
            job = await get_job(connection, job.token)
        assert job.ended, job
        report = await self.lab.verify(job)
        assert report.ok, (report.problems, report.examples)
        assert (report.records, report.valid, report.dead, report.revoked) == (records, records, 0, 0)
        keys = await asyncio.to_thread(load_seal_keys, self.services.kek_file.with_name("seal-key"))
        async with self.connection() as connection:
            sealed = await read_sealed(connection, keys, job)
        assert [(seal.signed, seal.dead) for seal in sealed.complete] == [(records, 0)]
        assert len(sealed.plans) == 1
        await eventually(lambda: not self.workers(), seconds=15, what=self._workers_left)

        async def none_in_force() -> bool:
            return not await self.holders(job, in_force=True)

        await eventually(none_in_force, seconds=LEASE_SECONDS + 10)
        killed = self.killed | self.points.killed()
        held = await self.holders(job, in_force=False, since=calm_since)
        left = [each for each in held if pid_of(each) not in killed]
        assert not left, "signers that had the time released their keys"
        return report

    def _workers_left(self) -> str:
        return "\n".join(
            ["expected no workers, but these are running:", *(describe(pid) for pid in self.workers())]
        )


def describe(pid: int) -> str:
    """Describes a worker: its role, its state, and the end of its log."""
    try:
        process = psutil.Process(pid)
        age = time.time() - process.create_time()
        head = (
            f"{pid} {process.cmdline()[-2:]}, {process.status()}, {age:.0f} s old, child of {process.ppid()}"
        )
        told = Path(f"/proc/{pid}/fd/2").readlink().read_text(errors="replace")
    except (psutil.Error, OSError) as gone:
        return f"{pid}: {gone}"
    return f"{head}\n{told[-1500:]}"


def pid_of(holder: str) -> int:
    """Process id of a lease's holder."""
    return int(holder.split(":")[1])


def worker_environment(arena: Arena) -> dict[str, str]:
    """Extra environment of the workers: short leases, fault points."""
    path = [str(_TESTS / "support/chaos/site"), str(_TESTS), os.environ.get("PYTHONPATH", "")]
    return {
        "VAULTSTREAM_LEASE_SECONDS": str(LEASE_SECONDS),
        "VAULTSTREAM_ACK_WAIT_SECONDS": "1.5",
        "CHAOS_POINTS": str(arena.points.folder),
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
    }


@asynccontextmanager
async def _database(services: Services) -> AsyncIterator[str]:
    """Creates a database with the schema, and drops it; keeps no connection open, because it would be cut."""
    name = new_name("arena")
    async with connect(services.database_url, role=ROLE) as admin:
        await admin.execute(f"CREATE DATABASE {name} TEMPLATE template1")
    url = services.database_url.replace("/vaultstream?", f"/{name}?", 1)
    async with connect(url, role=ROLE) as connection:
        await schema.migrate(connection)
    try:
        yield url
    finally:
        async with connect(services.database_url, role=ROLE) as admin:
            await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@asynccontextmanager
async def open_arena(local: LocalServices) -> AsyncIterator[Arena]:
    """Creates an arena in its own folder, on services that the test may kill."""
    services = await local.services()
    folder = Path(tempfile.mkdtemp(prefix="vs-"))  # a short path, because it contains a Unix socket
    try:
        async with (
            _database(services) as url,
            open_wire(int(services.nats_url.rpartition(":")[2])) as (nats, port),
            open_socket_wire(_socket_folder(url), folder) as postgres,
            open_pool(url, role=ROLE, size=4, reset=False, check=as_user) as pool,
        ):
            wired = replace(
                services,
                nats_url=f"nats://127.0.0.1:{port}",
                database_url=url.replace(_socket_query(url), f"host={folder}&port=5432"),
                data_dir=folder,
                # The seal key is that of other arenas' databases, too.
                taken={**services.taken, "VAULTSTREAM_SEALS_DIR": str(folder / "seals")},
                _local=None,
            )
            points = Points(folder / "points")
            arena = Arena(local, services, url, Lab(wired, pool), folder, points, nats, postgres)
            try:
                yield arena
            finally:
                for pid in arena.workers():
                    arena.send(pid, signal.SIGKILL)
                await arena.restore()  # the database is dropped next
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _socket_query(url: str) -> str:
    return urlsplit(url).query


def _socket_folder(url: str) -> Path:
    return Path(parse_qs(_socket_query(url))["host"][0])
