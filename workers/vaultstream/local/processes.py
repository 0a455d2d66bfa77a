"""Processes that outlive the one that starts them, and are recognized by their command line, not only by their pid."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil  # type: ignore[import-untyped]

if TYPE_CHECKING:
    import signal
    from collections.abc import Iterator, Mapping, Sequence
    from pwd import struct_passwd

_POLL_SECONDS = 0.02
_LOAD_SECONDS = 5.0

# A server must not take its port, its data or a secret from the environment of the process that started it.
_INHERITED = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")

# Handles of the processes started here: without them, a dead one would stay a zombie.
_children: dict[int, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True)
class Running:
    """A running service: its process and its address (a URL without a password)."""

    pid: int
    url: str


def spawn(
    command: Sequence[str],
    *,
    output: int,
    user: struct_passwd | None = None,
    variables: Mapping[str, str] | None = None,
) -> psutil.Process:
    """Starts `command` in its own session, which Ctrl-C and a closed terminal don't reach.

    Args:
        command: program and arguments; no shell is involved.
        output: file descriptor for both of its output streams.
        user: the user to run it as; None: the user of this process.
        variables: further variables of its environment.
    """
    environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        cwd="/",
        env={**environment, "LC_ALL": "C", **(variables or {})},
        start_new_session=True,
        user=user.pw_uid if user else None,
        group=user.pw_gid if user else None,
        extra_groups=[] if user else None,
    )
    _children[child.pid] = child
    process = psutil.Process(child.pid)
    _wait_for_command_line(child, process)
    return process


def _wait_for_command_line(child: subprocess.Popen[bytes], process: psutil.Process) -> None:
    """Waits until `find` knows a new process: while the kernel loads its program, it shows no command line."""
    deadline = time.monotonic() + _LOAD_SECONDS
    while child.poll() is None and time.monotonic() < deadline:
        with suppress(psutil.Error):
            if process.cmdline():
                return
        time.sleep(0.001)


def is_alive(process: psutil.Process) -> bool:
    """Returns whether the process still runs. A zombie does not, nor does another process with the same pid.

    A process whose first thread has ended looks like a zombie while its other threads are still exiting. It holds its
    files and ports until the last one has, so it counts as alive.
    """
    child = _children.get(process.pid)
    try:
        if child and child.poll() is None:  # it can't be reaped yet, so some of its threads run
            alive = process.is_running()
        else:
            zombie = process.status() == psutil.STATUS_ZOMBIE and process.num_threads() == 1
            alive = process.is_running() and not zombie
    except psutil.NoSuchProcess:
        alive = False
    return bool(alive)


def runs(process: psutil.Process, command: Sequence[str]) -> bool:
    """Returns whether the process is alive and runs `command`: a program of the same name, with the same arguments.

    The arguments name the data directory, so another user's server is never taken for ours, nor is a process that has
    the pid of a dead one.
    """
    try:
        found = process.cmdline()
    except psutil.Error:
        return False
    return (
        is_alive(process)
        and bool(found)
        and Path(found[0]).name == Path(command[0]).name
        and found[1:] == list(command[1:])
    )


def find(pid: int | None, command: Sequence[str]) -> psutil.Process | None:
    """Returns the process with this pid if it runs `command`, else None."""
    if pid is None:
        return None
    if pid in _children:
        _children[pid].poll()
    try:
        process = psutil.Process(pid)
    except psutil.NoSuchProcess:
        return None
    return process if runs(process, command) else None


def is_something_else(pid: int | None, command: Sequence[str]) -> bool:
    """Returns whether this pid belongs to a process that does not run `command`: the pid was reused."""
    return pid is not None and psutil.pid_exists(pid) and find(pid, command) is None


def find_all(command: Sequence[str]) -> Iterator[psutil.Process]:
    """Returns every process that runs `command`, whoever started it."""
    return (process for process in psutil.process_iter() if runs(process, command))


async def end(process: psutil.Process, steps: Sequence[tuple[signal.Signals, float]]) -> bool:
    """Sends each signal and waits its seconds, until the process is gone; returns whether it is."""
    for number, seconds in steps:
        try:
            process.send_signal(number)  # psutil checks that it is still the same process
        except psutil.NoSuchProcess:
            return True
        deadline = time.monotonic() + seconds
        while is_alive(process):
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(_POLL_SECONDS)
        else:
            return True
    return False


async def run_command(command: Sequence[str], *, output: int, user: struct_passwd | None = None) -> int:
    """Runs a short command as `spawn` does and returns its exit status; kills it if the caller is canceled."""
    child = _children[spawn(command, output=output, user=user).pid]
    try:
        while (status := child.poll()) is None:  # noqa: ASYNC110 - uvloop can't start it as another user
            await asyncio.sleep(_POLL_SECONDS)
    except BaseException:
        child.kill()
        child.wait()
        raise
    return status
