"""The real command, run as a process against a data directory whose services stay up for all tests of this folder."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from support.as_user import connect
from support.forking import run_command
from vaultstream.api import SigningJobSpec
from vaultstream.crypto.keyring import load_keyring
from vaultstream.keys.worker import make_missing_keys
from vaultstream.local.runner import open_job
from vaultstream.local.services import LocalServices, Services
from vaultstream.store import schema
from vaultstream.store.database import open_pool
from vaultstream.store.jobs import delete_job

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
    from pathlib import Path

    import asyncpg

    from vaultstream.store.jobs import Job

Result = subprocess.CompletedProcess[str]

SMALL_JOB = "small"
RECORDS = 2_000


class RunCli(Protocol):
    """Runs `vaultstream` with arguments; `check` wants exit code 0; `env` adds to a clean environment."""

    def __call__(
        self, *args: str, env: Mapping[str, str] | None = None, check: bool = True, cwd: Path | None = None
    ) -> Result: ...


def command_line(*args: str) -> list[str]:
    return [sys.executable, "-m", "vaultstream_cli", *args]


def clean_environment(data_dir: Path) -> dict[str, str]:
    ours = {"DATABASE_URL", "BATCH_SIZE", "TOTAL_RECORDS", "TOTAL_KEYS", "MAX_SIGNERS"}
    kept = {k: v for k, v in os.environ.items() if k not in ours and not k.startswith("VAULTSTREAM_")}
    return {**kept, "VAULTSTREAM_DATA_DIR": str(data_dir), "COLUMNS": "200"}


def manifest(folder: Path, name: str, **spec: Any) -> Path:
    """Writes a SigningJob's YAML (JSON is YAML too) and returns its path."""
    wanted = SigningJobSpec.model_validate({"records": {"table": "receipts"}, **spec})
    path = folder / f"{name}.yaml"
    path.write_text(
        f"apiVersion: vaultstream.dev/v1alpha1\nkind: SigningJob\nmetadata: {{name: {name}}}\n"
        f"spec: {wanted.model_dump_json(by_alias=True, exclude_unset=True)}\n"
    )
    return path


@pytest.fixture(scope="session")
def cli_services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """The services that the commands of these tests find running."""
    local = LocalServices(tmp_path_factory.mktemp("cli"))
    asyncio.run(local.__aenter__())
    try:
        services = asyncio.run(local.services())
        asyncio.run(_prepare(services))
        yield services
    finally:
        asyncio.run(local.__aexit__())


async def _prepare(services: Services) -> None:
    async with connect(services.database_url) as connection:
        await schema.migrate(connection)
        await connection.execute("CREATE TABLE receipts (id bigint PRIMARY KEY, payload bytea)")
        await connection.execute(
            "INSERT INTO receipts SELECT n, sha256(n::text::bytea) FROM generate_series(1, $1::int) AS n",
            RECORDS,
        )
        await connection.execute("CREATE TABLE many (id bigint PRIMARY KEY, payload bytea)")
        await connection.execute("INSERT INTO many SELECT n, 'many' FROM generate_series(1, 30000) AS n")


@pytest.fixture(scope="session")
def run_cli(cli_services: Services) -> RunCli:
    def run(
        *args: str, env: Mapping[str, str] | None = None, check: bool = True, cwd: Path | None = None
    ) -> Result:
        done = run_command(
            args,
            cwd=cwd or cli_services.data_dir,  # no .env lies there
            env=clean_environment(cli_services.data_dir) | dict(env or {}),
        )
        if check:
            assert done.returncode == 0, f"{args}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    return run


@pytest.fixture(scope="session")
def small_job(run_cli: RunCli, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of a finished job of 2,000 records and 5 keys; look at it, don't change it."""
    file = manifest(tmp_path_factory.mktemp("jobs"), SMALL_JOB, batchSize=50, keys={"count": 5})
    run_cli("run", "-f", str(file), "--max-signers", "1")
    return SMALL_JOB


@pytest.fixture
async def connection(cli_services: Services) -> AsyncIterator[asyncpg.Connection]:
    async with connect(cli_services.database_url) as connection:
        yield connection


@pytest.fixture
async def make_job(cli_services: Services) -> AsyncIterator[Callable[..., Awaitable[Job]]]:
    """Makes a job that does not run, with its keys; it is deleted after the test, because `doctor` reports jobs without keys."""
    made: list[tuple[str, Job]] = []

    async def make(name: str, *, keys: int = 3, services: Services = cli_services, **spec: Any) -> Job:
        wanted = SigningJobSpec.model_validate(
            {"records": {"table": "receipts"}, "keys": {"count": keys, "algorithm": "ED25519"}, **spec}
        )
        async with open_pool(services.database_url, role="test", size=2) as pool:
            async with pool.acquire() as connection:
                job = await open_job(connection, name, wanted)
            await make_missing_keys(pool, job, load_keyring(services.kek_file))
        made.append((services.database_url, job))
        return job

    yield make
    for url, job in made:
        async with connect(url) as connection:
            await delete_job(connection, job.job_no, "Delete")
