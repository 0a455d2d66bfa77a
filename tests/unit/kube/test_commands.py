"""The commands of hack/ report what is missing, and end the processes that they started."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import time
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from kube.commands import CommandError, run, until
from vaultstream.errors import LocalServiceError

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("command", ["apiserver", "cluster"])
def test_without_an_environment_the_error_names_the_next_step(tmp_path: Path, command: str) -> None:
    (tmp_path / "hack").mkdir()
    shutil.copy(ROOT / "hack" / command, tmp_path / "hack")
    ran = subprocess.run([tmp_path / "hack" / command, "up"], capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert "make install" in ran.stderr


async def test_the_error_of_a_failed_command_contains_its_output() -> None:
    with pytest.raises(CommandError, match="failed with exit code 3: it broke") as failed:
        await run("sh", "-c", "echo it broke >&2; exit 3")
    assert failed.value.output.status == 3


async def test_a_command_gets_its_input() -> None:
    assert (await run("cat", stdin="text")).stdout == "text"


async def ended(child: psutil.Process) -> None:
    async def gone() -> bool:
        return not child.is_running() or child.status() == psutil.STATUS_ZOMBIE

    await until("the end of the child", gone, seconds=10, hint="")


async def test_a_cancelled_command_ends_with_all_that_it_started(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    task = asyncio.create_task(
        run("sh", "-c", f"sleep 600 & echo $! >{pid_file}.new; mv {pid_file}.new {pid_file}; wait")
    )

    async def started() -> bool:
        return pid_file.exists()

    await until("the child", started, seconds=10, hint="")
    child = psutil.Process(int(pid_file.read_text()))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    await ended(child)


async def test_a_command_cancelled_while_it_starts_ends_with_all_that_it_started(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    task = asyncio.create_task(
        run("sh", "-c", f"sleep 600 & echo $! >{pid_file}.new; mv {pid_file}.new {pid_file}; wait")
    )
    for _ in range(2):  # the program runs now, and asyncio has not connected its pipes yet
        await asyncio.sleep(0)
    deadline = time.monotonic() + 10
    while not pid_file.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)  # noqa: ASYNC251 - the event loop must not turn meanwhile
    child = psutil.Process(int(pid_file.read_text()))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    await ended(child)


async def test_waiting_ends_with_what_is_missing_and_where_to_look() -> None:
    async def never() -> bool:
        return False

    with pytest.raises(LocalServiceError, match="Timed out after 0 s waiting for the thing") as failed:
        await until("the thing", never, seconds=0, hint="See the log.")
    assert failed.value.hint == "See the log."
