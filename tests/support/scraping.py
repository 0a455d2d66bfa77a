"""Workers as processes with a port for metrics and health, and what they serve there."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
from prometheus_client.parser import text_string_to_metric_families

from support.engine import add_table, new_name
from support.signer import Bench
from support.waiting import eventually
from vaultstream.local.services import Services
from vaultstream.signing.hold import Limits
from vaultstream.signing.pipeline import Pipeline
from vaultstream.telemetry.health import Health
from vaultstream.telemetry.server import Telemetry
from vaultstream.worker import WorkerContext

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    text: str

    @property
    def document(self) -> Any:
        return json.loads(self.text)

    def failing(self) -> set[str]:
        """The failing checks of a verdict."""
        return {name for name, check in self.document["checks"].items() if not check["ok"]}


def ask(
    port: int,
    path: str,
    *,
    method: str = "GET",
    host: str = "127.0.0.1",
    headers: dict[str, str] | None = None,
) -> Reply:
    connection = http.client.HTTPConnection(host, port, timeout=10)
    try:
        connection.request(method, path, headers=headers or {})
        response = connection.getresponse()
        return Reply(response.status, dict(response.headers), response.read().decode())
    finally:
        connection.close()


def parse(text: str) -> Series:
    """Returns each sample of an exposition; fails if one occurs twice."""
    series: Series = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in series
            series[key] = sample.value
    return series


def value(series: Series, name: str, **labels: str) -> float:
    return series[name, frozenset(labels.items())]


def by_label(series: Series, name: str, label: str) -> dict[str, float]:
    """Returns the nonzero values of a metric by one label."""
    return {
        dict(labels)[label]: found for (sample, labels), found in series.items() if sample == name and found
    }


@dataclass
class ServedWorker:
    process: Process
    port: int

    async def ask(self, path: str) -> Reply:
        return await asyncio.to_thread(ask, self.port, path)

    async def scrape(self) -> Series:
        return parse((await self.ask("/metrics")).text)

    async def status(self, path: str) -> int:
        return (await self.ask(path)).status

    async def becomes(self, path: str, status: int, *, seconds: float = 20.0) -> Reply:
        """Waits until a path answers with this status, and returns the answer."""

        async def so() -> Reply | None:
            reply = await self.ask(path)
            return reply if reply.status == status else None

        reply: Reply = await eventually(so, seconds=seconds)
        return reply

    async def leave(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self.process.wait(), 10)


@asynccontextmanager
async def served_worker(
    services: Services, url: str, role: str, token: str, log: Path, **environment: str
) -> AsyncIterator[ServedWorker]:
    """Starts a worker as the pool does, with its own port, which its log names."""
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "vaultstream", "worker", role, token),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={
                **os.environ,
                "DATABASE_URL": url,
                "VAULTSTREAM_NATS_URL": services.nats_url,
                "VAULTSTREAM_NATS_USER": services.nats_user,
                "VAULTSTREAM_NATS_PASSWORD": services.nats_password,
                "VAULTSTREAM_KEK_FILE": str(services.kek_file),
                "VAULTSTREAM_DATA_DIR": str(services.data_dir),
                "VAULTSTREAM_LOG_FORMAT": "json",
                "VAULTSTREAM_METRICS_PORT": "0",
                "VAULTSTREAM_METRICS_HOST": "127.0.0.1",
                **environment,
            },
        )

    async def port() -> int | None:
        written = await asyncio.to_thread(log.read_text)
        assert process.returncode is None, written
        lines = [json.loads(line) for line in written.splitlines() if line.startswith("{")]
        return next((line["port"] for line in lines if "port" in line), None)

    try:
        yield ServedWorker(process, await eventually(port))
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@dataclass
class CountingSigner:
    """A signer in this process, with its metrics and its health."""

    context: WorkerContext
    pipeline: Pipeline
    telemetry: Telemetry


@asynccontextmanager
async def counting_signer(
    bench: Bench, *, health: Health | None = None, lease_seconds: float = 30.0
) -> AsyncIterator[CountingSigner]:
    async with bench.signer(lease_seconds=lease_seconds) as plain:
        telemetry = Telemetry("signing", health=health)
        own = plain.pipeline
        pipeline = Pipeline(
            job=bench.job,
            source=own._source,
            holder=plain.context.holder,
            pool=plain.context.pool,
            sources=own._sources,
            puller=plain.puller,
            custody=own._custody,
            limits=Limits(concurrency=3, lease_seconds=lease_seconds, ack_wait_seconds=lease_seconds),
            telemetry=telemetry,
        )
        yield CountingSigner(plain.context, pipeline, telemetry)


async def slow_view(db: asyncpg.Connection, count: int, *, seconds: float) -> str:
    """A source that delays each batch of ten once."""
    table, view = await add_table(db, range(1, count + 1)), new_name("slow")
    await db.execute(
        f"CREATE FUNCTION {view}() RETURNS text STABLE LANGUAGE plpgsql "
        f"AS 'BEGIN PERFORM pg_sleep({seconds}); RETURN 1; END';"
        f"CREATE VIEW {view} AS SELECT id, CASE WHEN id % 10 <> 1 OR {view}() = '1' THEN payload END AS payload "
        f"FROM {table}"
    )
    return view


@asynccontextmanager
async def closed_view(db: asyncpg.Connection, count: int) -> AsyncIterator[str]:
    """A source whose payloads are withheld until the end of the block: signers hold the keys of their first batches until then."""
    table, view = await add_table(db, range(1, count + 1)), new_name("closed")
    await db.execute(
        f"CREATE FUNCTION {view}() RETURNS boolean STABLE LANGUAGE plpgsql "
        f"AS 'BEGIN PERFORM pg_advisory_xact_lock_shared(hashtext(''{view}'')); RETURN true; END';"
        f"CREATE VIEW {view} AS SELECT id, CASE WHEN {view}() THEN payload END AS payload FROM {table}"
    )
    await db.execute("SELECT pg_advisory_lock(hashtext($1))", view)
    try:
        yield view
    finally:
        await db.execute("SELECT pg_advisory_unlock(hashtext($1))", view)
