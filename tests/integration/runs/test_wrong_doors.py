"""A service that refuses or does not answer is named with the next step; no password is shown."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest

from support.disks import small_disk
from support.json_page import assert_documented
from support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.command import Command
    from vaultstream.local.services import Services

pytestmark = pytest.mark.integration

PASSWORD = "correct-horse-battery"
WRONG = "wr0ng-h0rse"


async def make_records(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute("CREATE TABLE records AS SELECT 1 AS id, 'one' AS payload")
    await connection.close()


def refused(command: Command, *arguments: str, expect: int = 5, **environment: str) -> str:
    told = command.run(*arguments, expect=expect, **environment)
    assert WRONG not in told.stdout + told.stderr
    assert "Traceback" not in told.stderr
    return told.stderr


def ask_for_password(hba: Path, role: str) -> None:
    before = hba.read_text()
    if role not in before:
        hba.write_text(f"local all {role} scram-sha-256\n{before}")  # in place: its owner stays


@pytest.fixture
async def guarded(services: Services, database_url: str) -> str:
    """A database URL without password, for a role that Postgres asks for one."""
    connection = await asyncpg.connect(database_url)
    role = f"guarded_{os.getpid()}"
    await connection.execute(f"DROP ROLE IF EXISTS {role}")
    await connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'")
    hba = await connection.fetchval("SHOW hba_file")
    await asyncio.to_thread(ask_for_password, Path(hba), role)
    await connection.execute("SELECT pg_reload_conf()")
    await connection.close()
    return database_url.replace("postgres@", f"{role}:%s@", 1)


async def test_a_wrong_password_of_postgres_is_reported_and_not_shown(
    command: Command, guarded: str, services: Services
) -> None:
    nats = {"VAULTSTREAM_NATS_URL": services.nats_url, "VAULTSTREAM_NATS_PASSWORD": services.nats_password}

    async def is_asked() -> bool:
        try:
            await (await asyncpg.connect(guarded % WRONG)).close()
        except asyncpg.InvalidPasswordError:
            return True
        return False

    await eventually(is_asked)
    told = await asyncio.to_thread(refused, command, "jobs", DATABASE_URL=guarded % WRONG, **nats)
    assert "refuses the user or the password of DATABASE_URL" in told
    assert not command.data_dir.exists(), "nothing embedded was started"


def test_a_wrong_password_of_nats_is_reported_and_not_shown(
    command: Command, services: Services, database_url: str
) -> None:
    external = {
        "DATABASE_URL": database_url,
        "VAULTSTREAM_NATS_URL": services.nats_url,
        "VAULTSTREAM_KEK_FILE": str(services.kek_file),
    }
    assert "no VaultStream schema" in refused(command, "jobs", expect=0, **external)
    refused(command, "status", "job", expect=2, **external)
    refused(command, "import", __file__, "--table", "x", "--id-column", "x", **external)
    command.run("migrate", **external)
    asyncio.run(make_records(database_url))
    told = refused(
        command,
        "run",
        "-f",
        command.manifest("job", records={"table": "records"}),
        **external,
        VAULTSTREAM_NATS_PASSWORD=WRONG,
    )
    assert "NATS refuses the user or the password" in told
    assert "VAULTSTREAM_NATS_PASSWORD" in told


def test_a_missing_postgres_is_reported(command: Command, services: Services) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = refused(
        command,
        "jobs",
        DATABASE_URL=f"postgresql://someone:{WRONG}@127.0.0.1:{port}/db",
        VAULTSTREAM_NATS_URL=services.nats_url,
        VAULTSTREAM_NATS_PASSWORD=services.nats_password,
    )
    assert "Postgres does not answer" in told
    assert "DATABASE_URL" in told


def test_an_invalid_connection_string_is_reported(command: Command, services: Services) -> None:
    given = {"DATABASE_URL": f"{WRONG}://x", "VAULTSTREAM_NATS_URL": services.nats_url}
    told = refused(command, "jobs", expect=2, **given)
    assert "DATABASE_URL can't be read" in told


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", "400m") as folder:
        yield folder


@pytest.mark.long
def test_a_full_disk_stops_the_run_with_a_message_and_space_lets_it_continue(
    command: Command, disk: Path
) -> None:
    command.folder = disk
    command.run("quick-start", "--records", "2000", "--keys", "2")
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 65536)
        except OSError:
            pass
    assert shutil.disk_usage(disk).free < 1_000_000

    full = command.start("quick-start", "--records", "20000", "--keys", "2")
    out, err = full.communicate(timeout=100)
    assert full.returncode == 5, out + err
    assert "space" in err
    assert "Traceback" not in err

    ballast.unlink()
    done = json.loads(command.run("quick-start", "--records", "20000", "--keys", "2", "--json").stdout)
    assert_documented("quick-start", done)
    assert (done["signed"], done["verification"]["valid"]) == (20_000, 20_000)
