"""Runs a whole job and measures it, between two measurements of the limit."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import NamedTuple

import psutil  # type: ignore[import-untyped]

from vaultstream.api import JobState
from vaultstream.audit.verify import verify_job
from vaultstream.bench.costs import Costs, Member, Part, service, this_command, workers_of
from vaultstream.bench.floor import FloorLoop, measure_floor
from vaultstream.bench.limit import SECONDS, Rate, measure_limit
from vaultstream.bench.result import Result, Wanted
from vaultstream.bench.traffic import Start, count_at_start, count_since, paths_in
from vaultstream.bus.connection import Bus, connect_bus
from vaultstream.bus.inspection import list_streams
from vaultstream.cores import usable_cores
from vaultstream.errors import VaultStreamError
from vaultstream.local.deletion import delete_everywhere
from vaultstream.local.runner import RunState, open_job, run_job
from vaultstream.local.scaler import LocalScaler
from vaultstream.local.services import Services
from vaultstream.local.worker_logs import log_folder
from vaultstream.records.source import quote_identifier
from vaultstream.scaling.observation import PAUSED_REPLICAS
from vaultstream.store.database import Connection, Pool
from vaultstream.store.jobs import Job
from vaultstream.store.keys import count_keys
from vaultstream.store.progress import read_job
from vaultstream.store.search_path import users_search_path
from vaultstream.store.sql import query

READY_SECONDS = 0.05
"""Between two checks whether all signers wait for batches."""

Stage = Callable[[str], None]
"""Called with the current stage, in a word or two."""


async def run_bench(
    services: Services, pool: Pool, wanted: Wanted, *, stage: Stage, limit_seconds: float = SECONDS
) -> Result:
    """Measures one job, then removes all of it from the services.

    Args:
        services: embedded or external services; CPU time and memory are measured if they run on this machine.
        pool: connections to Postgres.
        wanted: the job.
        stage: called at the beginning of each stage.
        limit_seconds: duration of each measurement of the limit.

    Raises:
        VaultStreamError: the job failed.
    """
    stage("seeding")
    async with pool.acquire() as connection:
        async with users_search_path(connection):
            schema = await connection.fetchval(query("import_current_schema"))
        table = _Table(schema or "public", f"bench_{secrets.token_hex(4)}")
        await _seed(connection, table, wanted)
    try:
        async with pool.acquire() as connection:
            job = await open_job(connection, table.name.replace("_", "-"), wanted.spec(table.plain))
        try:
            return await _measure(
                services, pool, wanted, job, table, stage=stage, limit_seconds=limit_seconds
            )
        finally:
            stage("cleaning up")
            await delete_everywhere(services, pool, job, policy="Delete", force=True)
    finally:
        async with pool.acquire() as connection:
            await connection.execute(query("drop_bench", table=table.quoted))


class _Table(NamedTuple):
    """A table of this benchmark's own, in the schema in which its user makes tables."""

    schema: str
    name: str

    @property
    def plain(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def quoted(self) -> str:
        return f"{quote_identifier(self.schema)}.{self.name}"


async def _seed(connection: Connection, table: _Table, wanted: Wanted) -> None:
    """Creates the table of records, vacuumed, analyzed and checkpointed like one that has existed for a while.

    Without the checkpoint, the job would pay for the seed's dirty pages, and on a new server for segments of the WAL,
    which are filled with zeros: afterwards, those of the seed are used again.
    """
    name = table.quoted
    await connection.execute(query("create_bench", table=name))
    await connection.execute(
        query("seed_bench", table=name), wanted.records, wanted.payload_bytes, timeout=3600
    )
    await connection.execute(query("vacuum_bench", table=name), timeout=3600)
    if await connection.fetchval(query("may_checkpoint")):
        await connection.execute(query("checkpoint_bench"), timeout=3600)


async def _measure(
    services: Services,
    pool: Pool,
    wanted: Wanted,
    job: Job,
    table: _Table,
    *,
    stage: Stage,
    limit_seconds: float,
) -> Result:
    measure = partial(
        measure_limit, wanted.algorithm, payload_bytes=wanted.payload_bytes, seconds=limit_seconds
    )
    stage("measuring the limit")
    before = await measure()
    stage("signing")
    costs = Costs(partial(_members, services))
    timed = await _run(services, pool, wanted, job, costs)
    async with pool.acquire() as connection:
        batches = (await read_job(connection, job.token)).progress.batches
    logs = log_folder(services.data_dir, job.token)
    traffic = await count_since(timed.start, pool, logs, batches=batches)
    stage("measuring the limit again")
    after = await measure()
    stage("measuring the floor")
    floor = await _floor(services, pool, wanted, job, table, seconds=limit_seconds)
    stage("verifying")
    report = await verify_job(services.database_url, job.token, source_url=services.source_url)
    return Result(
        wanted=wanted,
        cores=usable_cores(),
        seconds=timed.seconds,
        startup_seconds=timed.startup_seconds,
        signing_path=paths_in(logs),
        limits=(before, after),
        floor=floor,
        cpu_seconds=costs.cpu_seconds,
        peak_memory=costs.peak_memory,
        traffic=traffic,
        verification=report,
    )


async def _floor(
    services: Services, pool: Pool, wanted: Wanted, job: Job, beside: _Table, *, seconds: float
) -> Rate:
    """Measures the floor with a table like that of the job's signatures."""
    table = _Table(beside.schema, f"bench_floor_{secrets.token_hex(4)}")
    async with pool.acquire() as connection:
        await connection.execute(query("create_floor", table=table.quoted, like=f"signatures_{job.job_no}"))
    try:
        loop = FloorLoop(
            services.database_url,
            table.schema,
            table.name,
            wanted.algorithm,
            wanted.payload_bytes,
            local=services.postgres_pid is not None,
        )
        return await asyncio.to_thread(measure_floor, loop, seconds)
    finally:
        async with pool.acquire() as connection:
            await connection.execute(query("drop_bench", table=table.quoted))


@dataclass(frozen=True)
class _Timed:
    """One run's times in seconds, and the counts when the clock started."""

    seconds: float
    startup_seconds: float
    start: Start


async def _run(services: Services, pool: Pool, wanted: Wanted, job: Job, costs: Costs) -> _Timed:
    asked = time.perf_counter()
    async with connect_bus(services.bus_address, role="command") as bus, _planning_held(pool, job) as release:
        running = asyncio.create_task(_run_to_end(services, pool, wanted, job, costs))
        try:
            while not (running.done() or await _is_ready(pool, bus, job, wanted)):  # noqa: ASYNC110 - there is no event to wait for
                await asyncio.sleep(READY_SECONDS)
            startup = time.perf_counter() - asked
            start = await count_at_start(bus, pool, job)
            costs.start()
            began = await release()
            ended = await running
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
    if ended.state is not JobState.COMPLETE or ended.finished_at is None:
        raise VaultStreamError(f"The job did not complete: it is {ended.state.value}. {ended.message}")
    return _Timed(
        seconds=(ended.finished_at - began).total_seconds(),
        startup_seconds=startup,
        start=start,
    )


@asynccontextmanager
async def _planning_held(pool: Pool, job: Job) -> AsyncIterator[Callable[[], Awaitable[datetime]]]:
    """Locks the job's row, so that the records worker can't begin until the yielded function is called.

    Meanwhile keys are generated and signers wait: the benchmark measures a job, not how fast processes start.
    """
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        held = True

        async def release() -> datetime:
            nonlocal held
            now: datetime = await connection.fetchval(query("current_time"))
            held = False
            await transaction.commit()
            return now

        try:
            await connection.execute(query("lock_job"), job.job_no)
            yield release
        finally:
            if held:
                await transaction.rollback()


async def _run_to_end(services: Services, pool: Pool, wanted: Wanted, job: Job, costs: Costs) -> Job:
    fixed = {PAUSED_REPLICAS: str(wanted.signers)}
    scale = LocalScaler(job.spec.scaling, wanted.signers, annotations=fixed)

    def show(_: RunState) -> None:
        costs.sample()

    return await run_job(services, pool, job, scale=scale, show=show)


async def _is_ready(pool: Pool, bus: Bus, job: Job, wanted: Wanted) -> bool:
    """Whether all keys are active and each signer has asked for batches."""
    async with pool.acquire() as connection:
        keys = await count_keys(connection, job.job_no)
    if keys.active < wanted.keys:
        return False
    waiting = [
        consumer.waiting
        for stream in await list_streams(bus)
        for consumer in stream.consumers
        if consumer.name == job.token
    ]
    return bool(waiting) and waiting[0] >= wanted.signers


def _members(services: Services) -> Iterator[tuple[Member, psutil.Process]]:
    yield from workers_of(this_command())
    yield from service("postgres", Part.POSTGRES, services.postgres_pid)
    yield from service("nats", Part.NATS, services.nats_pid)
