"""How many processor cores this process may use."""

from __future__ import annotations

import os


def usable_cores() -> int:
    """Returns the number of cores in this process's CPU set, which `taskset` or a cpuset may have made smaller than the machine.

    A quota of processor time, as containers have it, is not counted: it says how long, not on how many.
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # macOS has no CPU sets
