"""What a process loads before it works: each command and each worker pays for it."""

from __future__ import annotations

import subprocess
import sys

import pytest

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


@pytest.mark.parametrize("arguments", [("vaultstream", "worker"), ("vaultstream_cli", "jobs", "--help")])
def test_the_http_client_of_nats_is_not_loaded(arguments: tuple[str, ...]) -> None:
    found = imports_of(*arguments)
    assert "nats.aio.transport" in found
    assert not {name for name in found if name.startswith("aiohttp.")}


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
