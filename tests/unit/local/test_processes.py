import os
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from vaultstream.local import processes

pytestmark = pytest.mark.unit

COMMAND = ("/bin/sleep", "77.125")


@pytest.fixture
def sleeper() -> Iterator[psutil.Process]:
    with tempfile.TemporaryFile() as output:
        process = processes.spawn(COMMAND, output=output.fileno())
        yield process
        if processes.is_alive(process):
            process.kill()


def test_a_process_is_known_by_its_program_and_arguments(sleeper: psutil.Process) -> None:
    assert processes.find(sleeper.pid, COMMAND) == sleeper
    assert processes.find(sleeper.pid, ("/elsewhere/sleep", "77.125")) == sleeper
    assert sleeper in list(processes.find_all(COMMAND))


def test_a_process_is_known_as_soon_as_it_was_spawned() -> None:
    """Also a large program, whose command line the kernel shows only after it has loaded it."""
    command = (str(Path(sysconfig.get_path("scripts")) / "nats-server"), "-a", "127.0.0.1", "-p", "-1")
    with tempfile.TemporaryFile() as output:
        for _ in range(60):
            process = processes.spawn(command, output=output.fileno())
            found = processes.find(process.pid, command)
            process.kill()
            assert found == process


def test_a_process_id_reused_by_another_process_is_detected(sleeper: psutil.Process) -> None:
    assert processes.find(sleeper.pid, ("/bin/sleep", "78")) is None
    assert processes.find(os.getpid(), COMMAND) is None
    assert processes.is_something_else(os.getpid(), COMMAND)
    assert not processes.is_something_else(sleeper.pid, COMMAND)
    assert not processes.is_something_else(None, COMMAND)


def test_a_spawned_process_has_a_session_of_its_own_and_no_secret_of_ours(
    sleeper: psutil.Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert os.getsid(sleeper.pid) == sleeper.pid
    assert set(sleeper.environ()) <= {"PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "LC_ALL"}


async def test_a_killed_child_counts_as_gone_at_once(sleeper: psutil.Process) -> None:
    assert await processes.end(sleeper, ((signal.SIGKILL, 5.0),))
    assert processes.find(sleeper.pid, COMMAND) is None
    assert await processes.end(sleeper, ((signal.SIGKILL, 5.0),))


async def test_one_that_ignores_a_signal_is_sent_the_next(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    script = f"trap '' TERM; : > '{ready}'; while :; do read -r line < '{tmp_path}/fifo'; done"
    os.mkfifo(tmp_path / "fifo")
    with tempfile.TemporaryFile() as output:
        process = processes.spawn(("/bin/sh", "-c", script), output=output.fileno())
        while not ready.exists():
            assert processes.is_alive(process)
        assert not await processes.end(process, ((signal.SIGTERM, 0.1),))
        assert await processes.end(process, ((signal.SIGTERM, 0.1), (signal.SIGKILL, 5.0)))


def main_thread_exits_first(held: Path) -> tuple[str, ...]:
    """A command as a Go server in the middle of its end: a zombie to look at, its files and ports not free yet."""
    os.mkfifo(held)
    script = (
        "import ctypes, sys, threading\n"
        "threading.Thread(target=lambda: open(sys.argv[1]).read()).start()\n"
        "ctypes.CDLL(None).pthread_exit(None)\n"
    )
    return sys.executable, "-c", script, str(held)


async def test_a_child_whose_first_thread_has_ended_lives_until_its_last_has(tmp_path: Path) -> None:
    with tempfile.TemporaryFile() as output:
        process = processes.spawn(main_thread_exits_first(tmp_path / "held"), output=output.fileno())
    while process.status() != psutil.STATUS_ZOMBIE:
        assert processes.is_alive(process)
    assert processes.is_alive(process)
    assert await processes.end(process, ((signal.SIGKILL, 5.0),))
    assert not process.is_running()


def test_a_child_of_another_process_lives_until_its_last_thread_has_ended(tmp_path: Path) -> None:
    with subprocess.Popen(main_thread_exits_first(tmp_path / "held")) as started:
        process = psutil.Process(started.pid)
        while process.status() != psutil.STATUS_ZOMBIE:
            assert processes.is_alive(process)
        assert processes.is_alive(process)
        started.kill()
        os.waitid(os.P_PID, started.pid, os.WEXITED | os.WNOWAIT)  # all of it has ended, and nobody reaped it
        assert not processes.is_alive(process)


async def test_a_failed_command_raises_an_error() -> None:
    with tempfile.TemporaryFile() as output:
        assert await processes.run_command((sys.executable, "-c", "exit(3)"), output=output.fileno()) == 3
