"""What a process loads before it works: each command and each worker pays for it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from vaultstream.role import WorkerRole
from vaultstream_cli.main import COMMANDS

pytestmark = pytest.mark.unit


def imports_of(*arguments: str) -> set[str]:
    """Returns the modules that a process imports."""
    ran = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return {line.rpartition("|")[2].strip() for line in ran.stderr.splitlines() if "|" in line}


@pytest.mark.parametrize(
    "arguments", [("vaultstream", "worker", "signing", "job"), ("vaultstream_cli", "status", "--help")]
)
def test_the_http_client_of_nats_is_not_loaded(arguments: tuple[str, ...]) -> None:
    found = imports_of(*arguments)
    assert "nats.aio.transport" in found
    assert not {name for name in found if name.startswith("aiohttp.")}


def packages(modules: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules}


@pytest.mark.parametrize("role", WorkerRole)
def test_a_worker_loads_neither_commands_nor_the_operator_nor_what_only_they_need(role: WorkerRole) -> None:
    found = imports_of("vaultstream", "worker", role, "job")
    assert {"vaultstream.worker", "nats.aio.client"} <= found
    assert not packages(found) & {
        *("vaultstream_cli", "vaultstream_operator", "kubernetes", "kopf", "typer", "rich", "pyarrow", "yaml")
    }


@pytest.mark.parametrize("command", ["verify", "export", "extract", "prove", "log", "dead"])
def test_a_command_that_only_reads_postgres_loads_neither_the_client_of_nats_nor_a_server(
    command: str,
) -> None:
    found = imports_of("vaultstream_cli", command, "--help")
    assert "asyncpg.connection" in found
    assert not packages(found) & {"nats", "h11", "prometheus_client", "kubernetes", "kopf", "pyarrow", "yaml"}


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_starts_in_a_python_of_its_own(command: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "vaultstream_cli", command, "--help"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith(f"Usage: vaultstream {command} ")
