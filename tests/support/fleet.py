"""Jobs with simulated workers: batches come and go in Postgres and JetStream, and nothing is signed.

So fifty jobs can run on a machine that is too small for their processes.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from support.engine import open_bus
from vaultstream.bus.pull import BatchPuller
from vaultstream.bus.records import RecordsStream
from vaultstream.bus.subjects import parse_batch_no
from vaultstream.store.database import open_pool
from vaultstream.store.hints import hint_at_batches

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from support.operating import Site
    from vaultstream.bus.connection import Bus
    from vaultstream.store.database import Pool

RECORDS = 10
"""Records per batch."""


@dataclass
class PlayedJob:
    """One job; `lag` is its lag in batches, in Postgres and in JetStream."""

    pool: Pool
    bus: Bus
    token: str
    job_no: int
    puller: BatchPuller
    lag: int = 0
    published: int = 0

    async def publish(self, batches: int, *, hint: bool = False) -> None:
        """Adds pending batches, first in Postgres, then in JetStream; with a hint at them, as a records worker gives."""
        first, self.published = self.published + 1, self.published + batches
        await self.pool.execute(
            "WITH added AS (INSERT INTO vaultstream.batches (job_no, batch_no, records, first_id, last_id) "
            f"SELECT $1, n, {RECORDS}, ({RECORDS} * n - {RECORDS - 1})::text, ({RECORDS} * n)::text "
            "FROM generate_series($2::bigint, $3::bigint) n) "
            # At once: the operator expects more batches of a plan that has begun and is not complete.
            "UPDATE vaultstream.jobs SET planned = true WHERE job_no = $1",
            self.job_no,
            first,
            self.published,
        )
        await RecordsStream(self.bus).publish(self.token, range(first, self.published + 1))
        await self.pool.execute(
            "UPDATE vaultstream.jobs SET state = 'Running', planned = true, started_at = coalesce(started_at, now()), "
            "published_through = $2::bigint, next_batch_no = $2::bigint + 1 WHERE job_no = $1",
            self.job_no,
            self.published,
        )
        self.lag += batches
        if hint:
            async with self.pool.acquire() as connection:
                await hint_at_batches(connection, self.job_no)

    async def settle(self, batches: int) -> None:
        """Completes at most this many batches."""
        messages = await self.puller.fetch(min(batches, self.lag), wait_seconds=5) if self.lag else []
        numbers = [parse_batch_no(message.subject) for message in messages]
        await self.pool.execute(
            "WITH done AS (UPDATE vaultstream.batches "
            "SET state = 'done', signed = records, settled_at = clock_timestamp() "
            "WHERE job_no = $1 AND batch_no = ANY ($2) RETURNING records) "
            "UPDATE vaultstream.keys SET done = done + (SELECT count(*) FROM done), "
            "signed = signed + (SELECT coalesce(sum(records), 0) FROM done) WHERE job_no = $1 AND ordinal = 1",
            self.job_no,
            numbers,
        )
        await asyncio.gather(*(message.ack() for message in messages))
        self.lag -= len(messages)


@dataclass
class Fleet:
    """The jobs of one site."""

    site: Site
    pool: Pool
    bus: Bus
    stack: AsyncExitStack
    jobs: dict[str, PlayedJob] = field(default_factory=dict)

    async def play(self, name: str, *, keys: int) -> PlayedJob:
        """Takes over a job that the operator has created, with keys and without batches."""
        token = await self.site.status_field(name, "token", seconds=60)
        job_no = int(await self.pool.fetchval("SELECT job_no FROM vaultstream.jobs WHERE token = $1", token))
        await self.pool.execute(
            "INSERT INTO vaultstream.keys (job_no, ordinal, key_id, algorithm, public_key) "
            "SELECT $1, n, $2 || '-' || n, 'ED25519', '' FROM generate_series(1, $3) n",
            job_no,
            token,
            keys,
        )
        stream = RecordsStream(self.bus)
        await stream.ensure()
        await stream.ensure_consumer(token, ack_wait_seconds=600, max_ack_pending=1000)
        puller = await self.stack.enter_async_context(BatchPuller(self.bus, token))
        job = self.jobs[name] = PlayedJob(self.pool, self.bus, token, job_no, puller)
        self.stack.push_async_callback(stream.remove, token)
        return job


@asynccontextmanager
async def open_fleet(site: Site) -> AsyncIterator[Fleet]:
    async with (
        open_pool(site.database_url, role="test", size=2) as pool,
        open_bus(site.services) as bus,
        AsyncExitStack() as stack,
    ):
        yield Fleet(site, pool, bus, stack)
