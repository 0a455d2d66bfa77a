"""How many processor cores this process may use."""

from __future__ import annotations

import os


def usable_cores() -> int:
    """Returns the number of cores in the CPU set of this process, which `taskset` or a cpuset may restrict.

    It ignores a quota of CPU time, as containers have: a quota limits time, not the number of cores.
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # macOS has no CPU sets
