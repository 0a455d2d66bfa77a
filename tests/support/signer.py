"""A job with real keys, and signers in this process and in others, for tests that disturb them."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import asyncpg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from support.engine import add_job, dead_of, open_context, open_sources, overlaps_of, worker_settings
from support.waiting import eventually
from vaultstream.bus.keys import KeysStream
from vaultstream.bus.pull import BatchPuller
from vaultstream.bus.records import RecordsStream
from vaultstream.crypto.keyring import load_keyring
from vaultstream.keys.custody import Custody
from vaultstream.keys.worker import make_missing_keys
from vaultstream.local.services import Services
from vaultstream.records.source import open_readable_source
from vaultstream.records.worker import run_records_worker
from vaultstream.signing.batch import Batch
from vaultstream.signing.fetch import fetch
from vaultstream.signing.hold import Limits
from vaultstream.signing.pipeline import Pipeline
from vaultstream.store.jobs import Job
from vaultstream.worker import WorkerContext


async def fetch_all(puller: BatchPuller, count: int) -> list[Batch]:
    """Fetches this many batches, in as many fetches as needed."""
    found: list[Batch] = []

    async def enough() -> bool:
        found.extend(await fetch(puller, count - len(found), wait_seconds=0.1))
        return len(found) == count

    await eventually(enough)
    return found


@dataclass
class Signer:
    """A signer in this process, and its resources."""

    context: WorkerContext
    pipeline: Pipeline
    puller: BatchPuller


@dataclass
class Bench:
    """A job on a table, with its own keys."""

    services: Services
    url: str
    db: asyncpg.Connection
    job: Job

    async def records_worker(self) -> None:
        """Plans and publishes, and returns when the job is complete."""
        await run_records_worker(
            worker_settings(self.services, self.url, ack_wait_seconds=2.0), self.job.token
        )

    @asynccontextmanager
    async def signer(
        self,
        *,
        concurrency: int = 3,
        lease_seconds: float = 30.0,
        ack_wait_seconds: float = 2.0,
        drain_seconds: float | None = None,
    ) -> AsyncIterator[Signer]:
        async with (
            open_context(self.services, self.url, self.job) as context,
            open_sources(self.url) as sources,
            Custody(self.job, context.pool, context.bus, context.kek_file) as custody,
            BatchPuller(context.bus, self.job.token) as puller,
        ):
            source = await open_readable_source(sources, self.job)
            pipeline = Pipeline(
                job=self.job,
                source=source,
                holder=context.holder,
                pool=context.pool,
                sources=sources,
                puller=puller,
                custody=custody,
                limits=Limits(concurrency, lease_seconds, ack_wait_seconds, drain_seconds),
            )
            yield Signer(context, pipeline, puller)

    async def run(self, *, during: Callable[[], Awaitable[Any]] | None = None, **limits: Any) -> None:
        """Runs the job to its end with one signer while `during` runs."""
        async with self.signer(**limits) as signer:
            signing = asyncio.create_task(signer.pipeline.run(signer.context.stop))
            planning = asyncio.create_task(self.records_worker())
            try:
                if during is not None:
                    await during()
                await asyncio.wait_for(planning, 40)
            finally:
                planning.cancel()
                signer.context.stop.set()
            await asyncio.wait_for(signing, 10)

    async def start_process(self, **environment: str) -> Process:
        """Starts a signer as the pool does."""
        services = self.services
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "vaultstream",
            "worker",
            "signing",
            self.job.token,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            env={
                **os.environ,
                "DATABASE_URL": self.url,
                "VAULTSTREAM_NATS_URL": services.nats_url,
                "VAULTSTREAM_NATS_USER": services.nats_user,
                "VAULTSTREAM_NATS_PASSWORD": services.nats_password,
                "VAULTSTREAM_KEK_FILE": str(services.kek_file),
                "VAULTSTREAM_DATA_DIR": str(services.data_dir),
                **environment,
            },
        )

    async def held_keys(self) -> int:
        return int(
            await self.db.fetchval(
                "SELECT count(*) FROM vaultstream.keys WHERE job_no = $1 AND holder IS NOT NULL "
                "AND lease_until > clock_timestamp()",
                self.job.job_no,
            )
        )

    async def signed(self) -> int:
        return int(await self.db.fetchval(f"SELECT count(*) FROM {self.job.signatures_table}"))

    async def assert_ended_well(
        self, payloads: dict[Any, bytes], *, dead: frozenset[str] = frozenset()
    ) -> None:
        """Each record has either one valid signature, made under a committed lease, or a dead letter."""
        assert set(await dead_of(self.db, self.job)) == dead
        rows = await self.db.fetch(
            f"SELECT s.record_id, s.signature, s.digest, s.signed_at, k.public_key, l.outcome, l.during FROM {self.job.signatures_table} s "
            "JOIN vaultstream.keys k ON k.key_no = s.key_no JOIN vaultstream.leases l ON (l.key_no, l.epoch) = (s.key_no, s.epoch)"
        )
        assert {row["record_id"] for row in rows} == {i for i in payloads if str(i) not in dead}
        for row in rows:
            payload = payloads[row["record_id"]]
            public = load_der_public_key(row["public_key"])
            assert isinstance(public, Ed25519PublicKey)
            public.verify(row["signature"], payload)
            assert row["digest"] == sha256(payload).digest()
            assert row["outcome"] == "committed"
            assert row["during"].lower <= row["signed_at"] <= row["during"].upper
        assert await overlaps_of(self.db, self.job) == 0

        async def all_free() -> bool:  # a lease that could not be released expires soon
            return await self.held_keys() == 0

        await eventually(all_free, seconds=5)


@asynccontextmanager
async def open_bench(
    services: Services, url: str, db: asyncpg.Connection, table: str, **spec: Any
) -> AsyncIterator[Bench]:
    """Creates a job on a table, and its keys. `spec` uses the names of YAML; `key_count` is the number of keys."""
    job = await add_job(db, table, keys=0, **spec)
    async with open_context(services, url, job) as context:
        await make_missing_keys(context.pool, job, load_keyring(services.kek_file))
        await RecordsStream(context.bus).ensure()
        await KeysStream(context.bus).ensure()
        yield Bench(services, url, db, job)
        await RecordsStream(context.bus).remove(job.token)
        await KeysStream(context.bus).remove(job.token)
