"""A fresh database with services, in which real worker processes run real jobs."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from support.as_user import as_user
from support.engine import open_sources
from vaultstream.api import SigningJobSpec
from vaultstream.audit.verify import verify_job
from vaultstream.local.runner import RunState, open_job, run_job
from vaultstream.local.scaler import LocalScaler
from vaultstream.records.source import open_readable_source
from vaultstream.store import jobs
from vaultstream.store.batches import highest_id, plan_page
from vaultstream.store.database import Pool, open_pool
from vaultstream.store.progress import read_job

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from pathlib import Path

    from vaultstream.audit.report import AuditReport
    from vaultstream.local.services import Services
    from vaultstream.store.jobs import Job
    from vaultstream.store.progress import JobProgress

QUICK_RETRIES = {"maxAttempts": 2, "backoff": {"initialSeconds": 0.05, "maxSeconds": 0.1}}


@dataclass(frozen=True)
class Ended:
    """The outcome of a job."""

    job: Job
    progress: JobProgress
    signers: int
    """The highest number of signers that ran at a time."""


class Lab:
    def __init__(self, services: Services, pool: Pool) -> None:
        self.services = services
        self.pool = pool

    async def execute(self, sql: str, *arguments: object) -> None:
        async with self.pool.acquire() as connection:
            await connection.execute(sql, *arguments)

    async def value(self, sql: str, *arguments: object) -> Any:
        async with self.pool.acquire() as connection:
            return await connection.fetchval(sql, *arguments)

    async def rows(self, sql: str, *arguments: object) -> list[tuple[Any, ...]]:
        async with self.pool.acquire() as connection:
            return [tuple(row) for row in await connection.fetch(sql, *arguments)]

    async def table(
        self,
        rows: Iterable[tuple[Any, Any]],
        *,
        name: str = "records",
        id_type: str = "bigint",
        payload: str = "text",
    ) -> None:
        """Creates a table of ids and payloads."""
        loaded = "bytea" if payload == "bytea" else "text"
        await self.execute(f"CREATE TABLE {name} (id {id_type} PRIMARY KEY, payload {loaded})")
        async with self.pool.acquire() as connection:
            await connection.copy_records_to_table(name, records=list(rows))
        if payload != loaded:
            await self.execute(f"ALTER TABLE {name} ALTER payload TYPE {payload} USING payload::{payload}")

    def spec(self, **given: Any) -> SigningJobSpec:
        defaults: dict[str, Any] = {
            "records": {"table": "records"},
            "batchSize": 50,
            "keys": {"count": 4},
            "retries": QUICK_RETRIES,
        }
        return SigningJobSpec.model_validate({**defaults, **given})

    async def open(self, name: str = "job", **given: Any) -> Job:
        async with self.pool.acquire() as connection:
            return await open_job(connection, name, self.spec(**given))

    async def plan(self, job: Job) -> None:
        """Plans the whole job, as its records worker would, so that what follows happens after planning."""
        async with (
            self.pool.acquire() as connection,
            open_sources(self.services.database_url) as sources,
        ):
            source = await open_readable_source(sources, job)
            await jobs.start_job(connection, job.job_no, upper_id=await highest_id(sources, source))
            while not (await plan_page(connection, sources, job, source)).finished:
                pass

    async def finish(
        self,
        job: Job,
        *,
        max_signers: int = 2,
        watch: Callable[[RunState], None] | None = None,
        seconds: float = 90,
    ) -> Ended:
        """Runs a job to its end, which must come in time."""
        most = 0

        def show(state: RunState) -> None:
            nonlocal most
            most = max(most, state.signers)
            if watch:
                watch(state)

        scale = LocalScaler(job.spec.scaling, max_signers)
        job = await asyncio.wait_for(
            run_job(self.services, self.pool, job, scale=scale, show=show), timeout=seconds
        )
        async with self.pool.acquire() as connection:
            return Ended(job, (await read_job(connection, job.token)).progress, most)

    async def run(self, name: str = "job", *, max_signers: int = 2, **given: Any) -> Ended:
        return await self.finish(await self.open(name, **given), max_signers=max_signers)

    async def verify(self, job: Job) -> AuditReport:
        return await verify_job(self.services.database_url, job.token, processes=1)

    async def dead(self, job: Job) -> dict[str, str]:
        """The dead letters, as a map from record id to reason."""
        found = await self.rows(
            "SELECT record_id, reason FROM vaultstream.dead_letters WHERE job_no = $1", job.job_no
        )
        return dict(found)

    async def signed_ids(self, job: Job) -> set[Any]:
        return {row[0] for row in await self.rows(f"SELECT record_id FROM {job.signatures_table}")}


@asynccontextmanager
async def open_lab(services: Services, database_url: str, data_dir: Path) -> AsyncIterator[Lab]:
    """Opens a lab in a database that has the schema."""
    own = {"VAULTSTREAM_SEALS_DIR": str(data_dir / "seals")}  # the seal key is that of other databases, too
    here = replace(
        services,
        database_url=database_url,
        data_dir=data_dir,
        taken={**services.taken, **own},
        _local=None,
    )
    async with open_pool(database_url, role="test", size=4, reset=False, check=as_user) as pool:
        yield Lab(here, pool)
