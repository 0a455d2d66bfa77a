"""The memory of a process: its peak, and a limit as a container's is."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_CGROUP_V1 = Path("/sys/fs/cgroup/memory")


def peak_memory(pid: int) -> int:
    """Returns the most bytes that a process has had in memory; 0 if it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 if "VmHWM:" in status else 0


@contextmanager
def memory_limit(size: int) -> Iterator[Callable[[int], object] | None]:
    """Yields a function that limits the memory of a process, given by its id: the kernel kills one that needs more.

    Yields None where this user can't make control groups.
    """
    group = _CGROUP_V1 / f"vaultstream-{uuid4().hex[:8]}"
    try:
        group.mkdir()
    except OSError:
        yield None
        return
    try:
        (group / "memory.limit_in_bytes").write_text(str(size))
        yield lambda pid: (group / "cgroup.procs").write_text(str(pid))
    finally:
        group.rmdir()
