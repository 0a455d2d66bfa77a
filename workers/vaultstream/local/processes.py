"""Processes that outlive the one that starts them, and are known again by what they run, not by a number alone."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil  # type: ignore[import-untyped]

if TYPE_CHECKING:
    import signal
    from collections.abc import Iterator, Sequence
    from pwd import struct_passwd

_POLL_SECONDS = 0.02

# A server must not take its port, its data or a secret from the environment of whoever happened to start it.
_INHERITED = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")

# Handles of what this process started: without them, one that died would stay a zombie.
_children: dict[int, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True)
class Running:
    """A service that runs: its process, and where it is reached (a URL without a password)."""

    pid: int
    url: str


def spawn(command: Sequence[str], *, output: int, user: struct_passwd | None = None) -> psutil.Process:
    """Starts `command` in a session of its own (Ctrl-C and a closed terminal don't reach it).

    Args:
        command: program and arguments; no shell is involved.
        output: file descriptor for both of its output streams.
        user: whom it runs as, instead of the user of this process.
    """
    environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        cwd="/",
        env=environment | {"LC_ALL": "C"},
        start_new_session=True,
        user=user.pw_uid if user else None,
        group=user.pw_gid if user else None,
        extra_groups=[] if user else None,
    )
    _children[child.pid] = child
    return psutil.Process(child.pid)


def is_alive(process: psutil.Process) -> bool:
    """Whether the process still runs; a zombie does not, nor does another that got its number.

    One whose first thread has ended looks like a zombie while its other threads still die, and holds its files and ports
    until the last has: it is alive.
    """
    child = _children.get(process.pid)
    try:
        if child and child.poll() is None:  # not to be reaped yet, so not all of it is gone
            alive = process.is_running()
        else:
            zombie = process.status() == psutil.STATUS_ZOMBIE and process.num_threads() == 1
            alive = process.is_running() and not zombie
    except psutil.NoSuchProcess:
        alive = False
    return bool(alive)


def runs(process: psutil.Process, command: Sequence[str]) -> bool:
    """Whether the process is alive and runs `command`: the same program, by name, with the very same arguments.

    The arguments name the data directory, so nobody else's server is ever taken for ours, nor a process that was
    given the number of one that died.
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
    """The process with this pid if it runs `command`, else None."""
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
    """Whether a process with this pid lives, but does not run `command`: the number was given away again."""
    return pid is not None and psutil.pid_exists(pid) and find(pid, command) is None


def find_all(command: Sequence[str]) -> Iterator[psutil.Process]:
    """Every process that runs `command`, whoever started it."""
    return (process for process in psutil.process_iter() if runs(process, command))


async def end(process: psutil.Process, steps: Sequence[tuple[signal.Signals, float]]) -> bool:
    """Sends each signal in turn and waits its seconds, until the process has gone; returns whether it has."""
    for number, seconds in steps:
        try:
            process.send_signal(number)  # psutil looks again that it is still the same process
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


async def run_to_end(command: Sequence[str], *, output: int, user: struct_passwd | None = None) -> int:
    """Runs a short command as `spawn` does and returns its exit status; it is killed if the caller is cancelled."""
    child = _children[spawn(command, output=output, user=user).pid]
    try:
        while (status := child.poll()) is None:  # noqa: ASYNC110 - uvloop's own way can't change the user
            await asyncio.sleep(_POLL_SECONDS)
    except BaseException:
        child.kill()
        child.wait()
        raise
    return status
