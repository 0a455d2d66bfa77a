"""Processes that hold private keys or key-encryption keys leave no core dump, and are not to be read by their user."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

import support
from support.engine import add_table, new_name
from support.signer import Bench, open_bench
from support.waiting import eventually
from vaultstream.local.services import Services

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc and asks prctl"),
]

SITE = Path(support.__path__[0]) / "dumpable"


@pytest.fixture
async def bench(services: Services, engine_url: str, db: asyncpg.Connection) -> AsyncIterator[Bench]:
    async with open_bench(services, engine_url, db, await add_table(db, range(5))) as bench:
        yield bench


@asynccontextmanager
async def running(bench: Bench, folder: Path, *arguments: str) -> AsyncIterator[Process]:
    """A process of VaultStream whose parent would let it dump core, and which writes at its end whether it could."""
    services = bench.services
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", 'ulimit -S -c "$(ulimit -H -c)"; exec "$@"', "sh", sys.executable, *arguments),
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(SITE),
            "DUMPABLE_FILE": str(folder / "dumpable"),
            "DATABASE_URL": bench.url,
            "VAULTSTREAM_NATS_URL": services.nats_url,
            "VAULTSTREAM_NATS_USER": services.nats_user,
            "VAULTSTREAM_NATS_PASSWORD": services.nats_password,
            "VAULTSTREAM_KEK_FILE": str(services.kek_file),
        },
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def at_work(bench: Bench, process: Process, role: str) -> None:
    """Waits until a worker has its connections, and with them its handlers of signals."""

    async def connected() -> bool:
        assert process.returncode is None
        return bool(
            await bench.db.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE $1",
                f"vaultstream-{role} {bench.job.job_no} %:{process.pid}",
            )
        )

    await eventually(connected)


def owner(process: Process) -> int:
    """The user who may read a process: root alone, if it can't be dumped."""
    return Path(f"/proc/{process.pid}").stat().st_uid


def core_limit(process: Process) -> list[str]:
    """The soft and the hard limit."""
    lines = Path(f"/proc/{process.pid}/limits").read_text().splitlines()
    [line] = [line for line in lines if line.startswith("Max core file size")]
    return line.split()[4:6]


@pytest.mark.parametrize("role", ["keys", "records", "signing"])
async def test_a_worker_with_keys_can_not_dump_core(bench: Bench, tmp_path: Path, role: str) -> None:
    async with running(bench, tmp_path, "-m", "vaultstream", "worker", role, bench.job.token) as process:
        await at_work(bench, process, role)
        assert core_limit(process) == ["0", "0"]
        if os.geteuid():
            assert owner(process) == 0
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 20) == 0
    assert (tmp_path / "dumpable").read_text() == "0"


async def test_a_command_without_keys_shows_that_the_others_would_dump(bench: Bench, tmp_path: Path) -> None:
    async with running(bench, tmp_path, "-m", "vaultstream_cli", "status", bench.job.token) as process:
        assert await asyncio.wait_for(process.wait(), 60) == 0
    assert (tmp_path / "dumpable").read_text() == "1"


@pytest.mark.parametrize(
    "command",
    [["keys", "add", "{job}"], ["keys", "rewrap", "{job}", "--no-rotate"], ["doctor"]],
    ids=" ".join,
)
async def test_a_command_that_loads_the_key_encryption_key_can_not_dump_core(
    bench: Bench, tmp_path: Path, command: list[str]
) -> None:
    words = [word.format(job=bench.job.token) for word in command]
    async with running(bench, tmp_path, "-m", "vaultstream_cli", *words) as process:
        await asyncio.wait_for(process.wait(), 60)
    assert (tmp_path / "dumpable").read_text() == "0"


async def test_a_new_file_of_key_encryption_keys_is_made_without_core_dumps(
    bench: Bench, tmp_path: Path
) -> None:
    path = tmp_path / new_name("kek")
    async with running(
        bench, tmp_path, "-m", "vaultstream_cli", "keys", "init", "--force", "--kek-file", str(path)
    ) as process:
        assert await asyncio.wait_for(process.wait(), 60) == 0
    assert path.exists()
    assert (tmp_path / "dumpable").read_text() == "0"
