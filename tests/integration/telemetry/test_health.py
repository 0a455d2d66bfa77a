"""Liveness and readiness, as probes of a real worker see them."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from support.engine import add_job, add_table, worker_settings
from support.scraping import ask, counting_signer, served_worker, slow_view
from support.signer import open_bench
from support.waiting import eventually
from vaultstream.local.services import LocalServices, Services
from vaultstream.telemetry.health import Health
from vaultstream.telemetry.server import serving

pytestmark = pytest.mark.integration

CHECKS = {
    "signing": {"postgres", "nats", "pulling"},
    "records": {"postgres", "nats"},
    "keys": {"postgres", "nats"},
}
LOOPS = {
    "signing": {"event loop", "watching loop", "signing loop"},
    "records": {"event loop", "watching loop", "publishing loop"},
    "keys": {"event loop", "watching loop", "keys loop"},
}


@pytest.mark.parametrize("role", ["signing", "records", "keys"])
async def test_a_worker_at_work_is_live_and_ready_and_leaves_when_asked(
    services: Services, engine_url: str, db: asyncpg.Connection, tmp_path: Path, role: str
) -> None:
    table = await add_table(db, range(1, 11))
    async with (
        open_bench(services, engine_url, db, table) as bench,
        served_worker(services, engine_url, role, bench.job.token, tmp_path / "log") as worker,
    ):
        ready = await worker.becomes("/readyz", 200)
        assert set(ready.document["checks"]) == CHECKS[role]
        assert ready.document["role"] == role

        async def all_loops() -> bool:
            live = await worker.ask("/livez")
            assert live.status == 200
            passing = {"planning loop", "sealing loop"}  # done, or not begun
            return set(live.document["checks"]) - passing == LOOPS[role]

        await eventually(all_loops)
        assert await worker.status("/healthz") == 200
        # a client that sends nothing blocks no other client
        with socket.create_connection(("127.0.0.1", worker.port)):
            assert await worker.leave() == 0
        with pytest.raises(ConnectionRefusedError):
            await worker.ask("/livez")


async def test_a_signer_that_drains_stays_live_and_ready_and_finishes_its_work(
    services: Services, engine_url: str, db: asyncpg.Connection, tmp_path: Path
) -> None:
    view = await slow_view(db, 100, seconds=1.0)
    async with (
        open_bench(services, engine_url, db, view, key_count=2) as bench,
        served_worker(services, engine_url, "signing", bench.job.token, tmp_path / "log") as worker,
    ):
        planning = asyncio.create_task(bench.records_worker())
        await eventually(bench.held_keys)
        worker.process.terminate()
        await eventually(lambda: "SIGTERM: draining" in (tmp_path / "log").read_text())
        assert await worker.status("/readyz") == 200, (
            "or the kubelet would write an Event for each signer that leaves"
        )
        assert await worker.status("/livez") == 200
        assert await asyncio.wait_for(worker.process.wait(), 10) == 0
        assert await bench.held_keys() == 0
        assert await bench.signed() > 0
        planning.cancel()


async def test_a_signer_is_ready_before_its_job_has_a_key_a_plan_or_a_stream(
    services: Services, engine_url: str, db: asyncpg.Connection, own_nats: LocalServices, tmp_path: Path
) -> None:
    """It starts beside the keys worker and the records worker, which may take long."""
    mine = await own_nats.services()
    both = replace(
        services, nats_url=mine.nats_url, nats_user=mine.nats_user, nats_password=mine.nats_password
    )
    job = await add_job(db, await add_table(db, range(1, 11)), keys=0)
    async with served_worker(both, engine_url, "signing", job.token, tmp_path / "log") as worker:
        await worker.becomes("/readyz", 200)
        assert await db.fetchval("SELECT count(*) FROM vaultstream.keys WHERE job_no = $1", job.job_no) == 0


async def test_a_signer_is_not_ready_while_nats_is_unreachable(
    services: Services, engine_url: str, db: asyncpg.Connection, own_nats: LocalServices, tmp_path: Path
) -> None:
    mine = await own_nats.services()
    both = replace(
        services, nats_url=mine.nats_url, nats_user=mine.nats_user, nats_password=mine.nats_password
    )
    async with (
        open_bench(both, engine_url, db, await add_table(db, range(1, 11))) as bench,
        served_worker(both, engine_url, "signing", bench.job.token, tmp_path / "log") as worker,
    ):
        await worker.becomes("/readyz", 200)
        assert mine.nats_pid
        os.kill(mine.nats_pid, signal.SIGKILL)
        away = await worker.becomes("/readyz", 503)
        assert away.failing() == {"nats"}
        assert away.document["checks"]["nats"]["detail"] == "not connected"
        assert await worker.status("/livez") == 200
        await mine.ensure_running()
        await worker.becomes("/readyz", 200)


async def test_a_worker_is_not_ready_while_postgres_does_not_answer(
    services: Services, engine_url: str, db: asyncpg.Connection, tmp_path: Path
) -> None:
    """The jobs table is locked: the connection is open, but no answer arrives."""
    async with (
        open_bench(services, engine_url, db, await add_table(db, range(1, 11))) as bench,
        served_worker(services, engine_url, "keys", bench.job.token, tmp_path / "log") as worker,
    ):
        await worker.becomes("/readyz", 200)
        async with db.transaction():
            await db.execute("LOCK TABLE vaultstream.jobs IN ACCESS EXCLUSIVE MODE")
            away = await worker.becomes("/readyz", 503)
            assert away.failing() == {"postgres"}
            assert "the limit is" in away.document["checks"]["postgres"]["detail"]
            assert await worker.status("/livez") == 200
        await worker.becomes("/readyz", 200)


async def test_a_signer_whose_table_is_missing_is_not_ready_and_says_which(
    services: Services, engine_url: str, db: asyncpg.Connection, tmp_path: Path
) -> None:
    job = await add_job(db, "no_such_table")
    await db.execute("DROP TABLE no_such_table")
    async with served_worker(services, engine_url, "signing", job.token, tmp_path / "log") as worker:

        async def told() -> str | None:
            reply = await worker.ask("/readyz")
            assert reply.status == 503
            detail: str = reply.document["checks"]["pulling"]["detail"]
            return detail if "no_such_table" in detail else None

        assert (await eventually(told)).startswith("not seen yet: spec.records.table")
        assert await worker.status("/livez") == 200
        assert await worker.leave() == 0


async def test_a_signer_without_progress_for_too_long_is_not_live_until_it_moves_again(
    services: Services, engine_url: str, db: asyncpg.Connection
) -> None:
    table = await add_table(db, range(1, 41))
    health = Health("signing", progress_seconds=2.0)
    async with (
        open_bench(services, engine_url, db, table, key_count=8) as bench,
        counting_signer(bench, health=health) as signer,
        serving(
            worker_settings(services, engine_url, metrics_port=0, metrics_host="127.0.0.1"), signer.telemetry
        ) as server,
    ):
        assert server is not None

        async def live(*, ok: bool) -> bool:
            reply = await asyncio.to_thread(ask, server.port, "/livez")
            return (reply.status == 200) is ok and (ok or reply.failing() == {"signing loop"})

        records = asyncio.create_task(bench.records_worker())

        async def published() -> bool:
            return bool(
                await db.fetchval(
                    "SELECT published_through > 0 FROM vaultstream.jobs WHERE job_no = $1", bench.job.job_no
                )
            )

        await eventually(published)
        async with db.transaction():
            await db.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            signing = asyncio.create_task(signer.pipeline.run(signer.context.stop))
            await eventually(lambda: live(ok=False))
        await eventually(lambda: live(ok=True))
        await asyncio.wait_for(records, 20)
        signer.context.stop.set()
        await asyncio.wait_for(signing, 10)
        assert await live(ok=True)


async def test_a_taken_port_ends_a_worker_with_a_message(
    services: Services, engine_url: str, db: asyncpg.Connection, tmp_path: Path
) -> None:
    job = await add_job(db)
    log = tmp_path / "log"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(AssertionError, match=f"port {port}: Address already in use"):
            async with served_worker(
                services, engine_url, "keys", job.token, log, VAULTSTREAM_METRICS_PORT=str(port)
            ):
                pass
    assert "VAULTSTREAM_METRICS_PORT" in log.read_text()
