"""Freezes a process, as if it was paused or starved of CPU."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from support.waiting import eventually


async def freeze(pid: int) -> None:
    """Sends SIGSTOP and waits until every thread has stopped: a signal is delivered when the kernel gets to it."""
    os.kill(pid, signal.SIGSTOP)
    await eventually(lambda: set(_states(pid)) == {"T"}, seconds=10, what=f"process {pid} is stopped")


def thaw(pid: int) -> None:
    """Sends SIGCONT."""
    os.kill(pid, signal.SIGCONT)


def is_pending(pid: int, number: signal.Signals) -> bool:
    """Whether a signal was sent to the process and waits until it is thawed."""
    status = Path(f"/proc/{pid}/status").read_text()
    pending = next(line for line in status.splitlines() if line.startswith("ShdPnd:"))
    return bool(int(pending.split()[1], 16) & 1 << number - 1)


def _states(pid: int) -> list[str]:
    stats = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/stat")]
    return [stat.rpartition(")")[2].split()[0] for stat in stats]
