"""Commands that use embedded services, and what they leave in them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import asyncpg
import nats
import psutil  # type: ignore[import-untyped]
import pytest
from nats.js.api import StreamConfig

from vaultstream.local.services import (
    Services,
    inspect_services,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from nats.js import JetStreamContext


AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a disk or become another user")


USER = """
import asyncio, concurrent.futures.thread, importlib.readers, json, nats, nats.errors, os, pathlib, sys
from vaultstream.local.services import LocalServices

async def main():
    async with LocalServices(pathlib.Path(sys.argv[1])) as local:
        services = await local.services()
        print(json.dumps([services.postgres_pid, services.nats_pid, services.database_url]), flush=True)
        await asyncio.to_thread(sys.stdin.read)

if len(sys.argv) > 2:  # after the imports, since the interpreter may lie where that user can't go
    os.setgroups([])
    os.setgid(int(sys.argv[2]))
    os.setuid(int(sys.argv[2]))
asyncio.run(main())
"""


class OtherCommand:
    """A second process that uses the services of a data directory until it is asked to exit, or is killed."""

    def __init__(self, data_dir: Path, *, user: int | None = None) -> None:
        self.process = subprocess.Popen(
            (sys.executable, "-c", USER, str(data_dir), *([str(user)] if user else [])),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd="/",
        )
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, "it did not start"
        self.postgres_pid, self.nats_pid, self.database_url = json.loads(line)

    def leave(self) -> int:
        assert self.process.stdin
        self.process.stdin.close()
        return self.process.wait(60)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(60)


@asynccontextmanager
async def jetstream(services: Services) -> AsyncIterator[JetStreamContext]:
    client = await nats.connect(
        services.nats_url, user=services.nats_user, password=services.nats_password, allow_reconnect=False
    )
    try:
        yield client.jetstream()
    finally:
        await client.close()


async def use(services: Services) -> None:
    connection = await asyncpg.connect(services.database_url)
    await connection.execute("CREATE TABLE IF NOT EXISTS kept (n int)")
    await connection.execute("INSERT INTO kept VALUES (1)")
    await connection.close()
    async with jetstream(services) as js:
        await js.add_stream(StreamConfig(name="KEPT", subjects=["kept"]))
        await js.publish("kept", b"1")


async def kept(services: Services) -> tuple[int, int]:
    """Returns how many rows and messages there are."""
    connection = await asyncpg.connect(services.database_url)
    rows = await connection.fetchval("SELECT count(*) FROM kept")
    await connection.close()
    async with jetstream(services) as js:
        return rows, (await js.stream_info("KEPT")).state.messages


def fill(filler: Path) -> None:
    """Takes all the space left on a disk."""
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 16))


def kill(pid: int | None) -> None:
    assert pid
    process = psutil.Process(pid)
    process.kill()


def runs(data_dir: Path) -> tuple[bool, bool]:
    found = inspect_services(data_dir)
    return found.postgres is not None, found.nats is not None


def owner_of_postgres(services: Services) -> int:
    return (services.data_dir / "postgres").stat().st_uid
