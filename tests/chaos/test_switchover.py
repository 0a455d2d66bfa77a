"""A standby takes over while a job runs: two real servers, streaming replication, and a promotion."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import asyncpg
import pytest

from support.command import Command
from support.replicated import replicated
from support.waiting import eventually
from vaultstream.local.services import LocalServices

if TYPE_CHECKING:
    import subprocess
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from support.replicated import Server

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(400)]

RECORDS = 2_000
SIGNED = "SELECT count(*) FROM vaultstream.signatures_1"
GATE = 42
"""An advisory lock that the test holds on the primary: who reads the last records waits until that server stops."""
TABLES = (
    "CREATE TABLE records (id bigint PRIMARY KEY, payload text);"
    f"INSERT INTO records SELECT n, md5(n::text) FROM generate_series(1, {RECORDS}) n;"
    # Stable, so that only who reads payloads calls it.
    "CREATE FUNCTION pass(text) RETURNS text STABLE LANGUAGE plpgsql AS "
    f"'BEGIN PERFORM pg_advisory_xact_lock_shared({GATE}); RETURN $1; END';"
    f"CREATE VIEW receipts AS SELECT id, CASE WHEN id > {RECORDS // 2} THEN pass(payload) ELSE payload END AS payload FROM records"
)


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[tuple[Server, Server]]:
    with replicated(tmp_path / "pg") as pair:
        yield pair


class Address:
    """One address in front of the servers, as a service or a virtual IP is: it leads to one of them at a time."""

    def __init__(self, target: Server) -> None:
        self.target = target
        self.port = 0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Address]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.target.port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_pass(reader, back), _pass(there, writer))


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()


class Site:
    """A job that runs by the command, with a NATS of its own, against a database at some address."""

    def __init__(self, folder: Path, nats: LocalServices, server: Server) -> None:
        self.command, self.nats, self.server = Command(folder), nats, server
        self.gate: asyncpg.Connection | None = None

    async def value(self, sql: str) -> int:
        connection = await asyncpg.connect(f"postgresql://postgres@{self.server.host}/signing")
        try:
            return int(await connection.fetchval(sql))
        finally:
            await connection.close()

    async def prepare(self) -> None:
        admin = await asyncpg.connect(f"postgresql://postgres@{self.server.host}/postgres")
        await admin.execute("CREATE DATABASE signing")
        await admin.close()
        connection = await asyncpg.connect(f"postgresql://postgres@{self.server.host}/signing")
        await connection.execute(TABLES)
        await connection.execute(f"SELECT pg_advisory_lock({GATE})")
        self.gate = connection

    async def environment(self, url: str) -> dict[str, str]:
        services = await self.nats.services()
        return {
            "DATABASE_URL": url,
            "VAULTSTREAM_NATS_URL": services.nats_url,
            "VAULTSTREAM_NATS_USER": services.nats_user,
            "VAULTSTREAM_NATS_PASSWORD": services.nats_password,
            "VAULTSTREAM_KEK_FILE": str(self.command.folder / "kek"),
            "VAULTSTREAM_SEAL_KEY_FILE": str(self.command.folder / "seal-key"),
        }

    async def start(self, environment: dict[str, str]) -> subprocess.Popen[str]:
        for words in (["migrate"], ["keys", "init"], ["seal-key", "create"]):
            await asyncio.to_thread(self.command.run, *words, **environment)
        manifest = self.command.manifest(
            "receipts", records={"table": "receipts"}, batchSize=50, keys={"count": 4, "algorithm": "ED25519"}
        )
        log = (self.command.folder / "run.log").open("w")
        return self.command.start("run", "-f", manifest, output=log, **environment)

    def said(self) -> str:
        return (self.command.folder / "run.log").read_text()


@pytest.fixture
async def site(tmp_path: Path, servers: tuple[Server, Server]) -> AsyncIterator[Site]:
    folder = tmp_path / "site"
    folder.mkdir()
    async with LocalServices(folder / "nats", postgres=False) as nats:
        made = Site(folder, nats, servers[0])
        await made.prepare()
        yield made
        assert made.gate is not None
        assert made.gate.is_closed()


async def _ends_well(site: Site, process: subprocess.Popen[str], environment: dict[str, str]) -> None:
    await eventually(lambda: process.poll() is not None, seconds=200, what="the job ends")
    assert process.returncode == 0, site.said()
    report = await asyncio.to_thread(site.command.json, "verify", "receipts", "--source", **environment)
    assert (report["valid"], report["signed"], report["dead"]) == (RECORDS, RECORDS, 0)


async def test_a_job_goes_on_with_the_standby_that_was_promoted(
    site: Site, servers: tuple[Server, Server]
) -> None:
    """Both hosts are in the URL. The old primary comes back as the standby of the new one."""
    primary, standby = servers
    environment = await site.environment(
        f"postgresql://postgres@{primary.host},{standby.host}/signing?target_session_attrs=read-write"
    )
    process = await site.start(environment)
    try:
        await eventually(lambda: _at_least(site, RECORDS // 10), seconds=120, what=site.said)
        await asyncio.to_thread(primary.stop)
        await asyncio.to_thread(standby.promote)
        primary.follow(standby)
        await asyncio.to_thread(primary.start)
        site.server = standby
        await _ends_well(site, process, environment)
    finally:
        process.kill()
        process.wait()


async def test_a_job_waits_for_an_address_that_leads_to_a_standby_and_says_why(
    site: Site, servers: tuple[Server, Server]
) -> None:
    """The address moves before the promotion: each new connection leads to a server that takes no writes."""
    primary, standby = servers
    async with Address(primary).open() as address:
        environment = await site.environment(f"postgresql://postgres@127.0.0.1:{address.port}/signing")
        process = await site.start(environment)
        try:
            await eventually(lambda: _at_least(site, RECORDS // 10), seconds=120, what=site.said)
            address.target = standby
            await asyncio.to_thread(primary.stop)
            await eventually(
                lambda: "standby" in site.said(), seconds=90, what="the run says what it waits for"
            )
            assert process.poll() is None, site.said()
            await asyncio.to_thread(standby.promote)
            site.server = standby
            await _ends_well(site, process, environment)
        finally:
            process.kill()
            process.wait()


async def _at_least(site: Site, records: int) -> bool:
    try:
        return await site.value(SIGNED) >= records
    except asyncpg.UndefinedTableError:
        return False
