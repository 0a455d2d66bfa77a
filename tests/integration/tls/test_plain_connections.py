"""A connection without TLS to a service that is not on this host is reported by doctor, and by a worker when it starts."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import psutil
import pytest

from support.as_user import connect
from support.command import Command
from support.engine import add_job, add_table

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from vaultstream.local.services import Services

pytestmark = pytest.mark.integration


def own_address() -> str | None:
    """An address of this machine that is not its loopback, as another host would use it."""
    addresses = [
        each.address
        for found in psutil.net_if_addrs().values()
        for each in found
        if each.family is socket.AF_INET
    ]
    return next((address for address in addresses if not address.startswith("127.")), None)


ADDRESS = own_address()
needs_a_network = pytest.mark.skipif(ADDRESS is None, reason="this machine has no address but its loopback")


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


@asynccontextmanager
async def reached_over_the_network(*, port: int | None = None, path: str | None = None) -> AsyncIterator[int]:
    """Passes on connections to our address; yields the port there."""

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if path is not None:
            there, back = await asyncio.open_unix_connection(path)
        else:
            there, back = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(_copy(reader, back), _copy(there, writer), return_exceptions=True)

    server = await asyncio.start_server(pass_on, ADDRESS, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@pytest.fixture
async def environment(services: Services, migrated_url: str, tmp_path: Path) -> AsyncIterator[dict[str, str]]:
    parts = urlsplit(migrated_url)
    given = parse_qs(parts.query)
    async with (
        reached_over_the_network(path=f"{given['host'][0]}/.s.PGSQL.{given['port'][0]}") as postgres,
        reached_over_the_network(port=urlsplit(services.nats_url).port) as nats,
    ):
        yield Command(tmp_path).environment(
            DATABASE_URL=f"postgresql://{parts.username}@{ADDRESS}:{postgres}{parts.path}",
            VAULTSTREAM_NATS_URL=f"nats://{ADDRESS}:{nats}",
            VAULTSTREAM_NATS_USER=services.nats_user,
            VAULTSTREAM_NATS_PASSWORD=services.nats_password,
            VAULTSTREAM_KEK_FILE=os.fspath(services.kek_file),
        )


async def run(folder: Path, environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", *words],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@needs_a_network
async def test_doctor_warns_of_connections_that_others_can_read(
    environment: dict[str, str], tmp_path: Path
) -> None:
    environment["VAULTSTREAM_SOURCE_DATABASE_URL"] = environment["DATABASE_URL"]
    done = await run(tmp_path, environment, "vaultstream_cli", "doctor", "--json")
    levels = {each["check"]: each for each in json.loads(done.stdout)["findings"]}
    for service in ("Postgres", "Source login", "NATS"):
        finding = levels[f"{service} encryption"]
        assert finding["level"] == "warning"
        assert str(ADDRESS) in finding["message"]
        assert "verify-full" in finding["hint"] or "tls://" in finding["hint"]


async def test_doctor_does_not_warn_of_connections_that_stay_here(
    services: Services, database_url: str, tmp_path: Path
) -> None:
    environment = Command(tmp_path).environment(
        DATABASE_URL=database_url,
        VAULTSTREAM_NATS_URL=services.nats_url,
        VAULTSTREAM_NATS_USER=services.nats_user,
        VAULTSTREAM_NATS_PASSWORD=services.nats_password,
    )
    done = await run(tmp_path, environment, "vaultstream_cli", "doctor", "--json")
    checks = {each["check"] for each in json.loads(done.stdout)["findings"]}
    assert {"Postgres", "NATS"} <= checks
    assert not checks & {"Postgres encryption", "NATS encryption"}


@needs_a_network
async def test_a_worker_logs_each_such_connection_once_when_it_starts(
    environment: dict[str, str], migrated_url: str, tmp_path: Path
) -> None:
    async with connect(migrated_url) as connection:
        job = await add_job(connection, await add_table(connection), keys=0)
        await connection.execute(
            "UPDATE vaultstream.jobs SET state = 'Suspended' WHERE job_no = $1", job.job_no
        )
    done = await run(tmp_path, environment, "vaultstream", "worker", "records", job.token)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    warned = [line for line in lines if line["level"] == "WARNING" and "is not encrypted" in line["message"]]
    assert [line["message"].partition(":")[0] for line in warned] == ["Postgres", "NATS"]
    assert all(str(ADDRESS) in line["message"] for line in warned)


async def test_a_list_that_mixes_tls_and_plain_is_bad_input(tmp_path: Path, database_url: str) -> None:
    environment = Command(tmp_path).environment(
        DATABASE_URL=database_url, VAULTSTREAM_NATS_URL="nats://127.0.0.1:1,tls://127.0.0.1:2"
    )
    done = await run(tmp_path, environment, "vaultstream_cli", "jobs")
    assert done.returncode == 2
    assert "with TLS and servers without" in done.stderr
