"""A probe that comes while a process still starts is answered when it has started."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from support.scraping import ask
from support.waiting import eventually
from vaultstream.local.ports import choose_port
from vaultstream.telemetry.early import listen_early, open_port
from vaultstream.telemetry.health import Health
from vaultstream.telemetry.metrics import process_registry
from vaultstream.telemetry.server import serving_on

pytestmark = pytest.mark.unit

LISTENER = Path(__file__).parents[3] / "workers/native/listener/listener.c"
SERVES = """
import asyncio, os, sys
sys.stdin.readline()
from vaultstream.starting import serve_early
serve_early()
assert "LISTEN_PID" not in os.environ and "LISTEN_FDS" not in os.environ
assert not os.get_inheritable(3)
from vaultstream.telemetry.health import Health
from vaultstream.telemetry.metrics import process_registry
from vaultstream.telemetry.server import serving_on

async def serve():
    async with serving_on("0.0.0.0", int(sys.argv[1]), process_registry("test"), Health("test")):
        await asyncio.to_thread(sys.stdin.readline)

asyncio.run(serve())
"""
"""A process that serves health, but starts only when it is told to."""


@pytest.mark.parametrize("operator", [False, True])
async def test_a_probe_that_comes_before_the_server_is_answered(
    monkeypatch: pytest.MonkeyPatch, *, operator: bool
) -> None:
    port = choose_port()
    monkeypatch.setenv("VAULTSTREAM_OPERATOR_PORT" if operator else "VAULTSTREAM_METRICS_PORT", str(port))
    listen_early(operator=operator)
    probe = asyncio.create_task(asyncio.to_thread(ask, port, "/livez"))
    with socket.create_connection(("127.0.0.1", port)):  # it is not refused
        assert not probe.done()
    async with serving_on("0.0.0.0", port, process_registry("test"), Health("test")) as server:
        assert server.port == port
        assert (await probe).status == 200
    async with serving_on("0.0.0.0", port, process_registry("test"), Health("test")):
        assert (await asyncio.to_thread(ask, port, "/livez")).status == 200  # also a second time


@pytest.fixture(scope="module")
def listener(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    program = tmp_path_factory.mktemp("bin") / "vaultstream-listen"
    flags = ["-std=gnu11", "-Wall", "-Wextra", "-Wconversion", "-Werror"]
    subprocess.run([compiler, *flags, LISTENER, "-o", program], check=True)
    return program


def environment(**variables: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **variables}


def command(listener: Path, program: str) -> list[str | Path]:
    """A command whose first argument is `worker`, here the name of a file in its working directory."""
    (listener.parent / "worker").write_text(program)
    return [listener, sys.executable, "worker"]


def started(listener: Path, port: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*command(listener, SERVES), str(port)],
        cwd=listener.parent,
        stdin=subprocess.PIPE,
        env=environment(VAULTSTREAM_METRICS_PORT=str(port), VAULTSTREAM_METRICS_HOST=""),
    )


async def test_a_probe_that_comes_before_python_has_started_is_answered(listener: Path) -> None:
    port = choose_port()
    with started(listener, port) as process:
        assert process.stdin is not None

        def connects() -> bool:
            with suppress(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port)).close()
                return True
            return False

        await eventually(connects)  # the command waits, and has opened nothing
        probe = asyncio.create_task(asyncio.to_thread(ask, port, "/livez"))
        process.stdin.write(b"go on\n")
        process.stdin.flush()
        assert (await probe).status == 200
        process.stdin.close()
    assert process.returncode == 0


@pytest.mark.parametrize("port", ["", "0", "no number", "70000", "8080x"])
def test_without_a_port_the_command_is_started_with_no_socket(listener: Path, port: str) -> None:
    ask_for_it = "import os; print(os.environ.get('LISTEN_PID'))"
    ran = subprocess.run(
        command(listener, ask_for_it),
        cwd=listener.parent,
        env=environment(VAULTSTREAM_METRICS_PORT=port),
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout == "None\n"


def test_a_command_that_is_no_worker_leaves_the_port_to_those_that_it_starts(listener: Path) -> None:
    port = choose_port()
    listen = "import os, socket, sys; socket.create_server(('', int(sys.argv[1]))); print(os.environ.get('LISTEN_PID'))"
    ran = subprocess.run(
        [listener, sys.executable, "-c", listen, str(port)],
        env=environment(VAULTSTREAM_METRICS_PORT=str(port), VAULTSTREAM_METRICS_HOST=""),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "None\n", "")


def test_a_command_that_is_not_there_is_named(listener: Path) -> None:
    ran = subprocess.run([listener, "no-such-command"], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (
        127,
        "error: no-such-command can't be started: No such file or directory.\n",
    )


def test_a_socket_that_another_process_was_to_get_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    port = choose_port()
    monkeypatch.setenv("VAULTSTREAM_METRICS_PORT", str(port))
    monkeypatch.setenv("LISTEN_PID", str(os.getppid()))
    monkeypatch.setenv("LISTEN_FDS", "1")
    listen_early()
    with open_port("0.0.0.0", port) as opened:
        assert opened.getsockname() == ("0.0.0.0", port)


@pytest.mark.parametrize("port", ["", "0", "no number", "70000"])
def test_without_a_port_nothing_listens(monkeypatch: pytest.MonkeyPatch, port: str) -> None:
    monkeypatch.setenv("VAULTSTREAM_METRICS_PORT", port)
    listen_early()


def test_a_worker_leaves_with_its_code_and_what_it_wrote_and_without_taking_the_interpreter_apart() -> None:
    program = """
import atexit, sys
from vaultstream.starting import leave

class Part:
    def __del__(self):
        sys.stdout.write("taken apart")

part = Part()
atexit.register(sys.stdout.write, ", and what was registered")
sys.stdout.write("last words")
leave(3)
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=False, env=environment()
    )
    assert (ran.returncode, ran.stdout) == (3, "last words, and what was registered")
