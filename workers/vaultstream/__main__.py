"""`python -m vaultstream worker keys|records|signing JOB`: how the engine starts its own workers."""

from __future__ import annotations

import os
import signal
import sys

from vaultstream.descriptors import open_standard_descriptors
from vaultstream.quick_imports import quick_imports
from vaultstream.telemetry.early import listen_early

USAGE, INTERRUPTED = 2, 130
"""Exit codes, as in `vaultstream.errors`, which is not imported yet."""


def main() -> int:
    """Runs the worker that the command line names; returns its exit code."""
    open_standard_descriptors()
    # Before the slow imports: the first process of a container is not even sent a signal that it has no handler for.
    # It ends the process: an exception could be lost in a callback of the garbage collector or the imports.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(INTERRUPTED))
    listen_early()
    # nats-py imports aiohttp if it can, for WebSockets. Without it a worker starts in four fifths of the time.
    sys.modules["aiohttp"] = None  # type: ignore[assignment]
    with quick_imports():
        from vaultstream.role import WorkerRole  # noqa: PLC0415 - see above
        from vaultstream.roles import run_worker  # noqa: PLC0415 - see above

    match sys.argv[1:]:
        case ["worker", role, job] if role in set(WorkerRole):
            return run_worker(role, job)
        case _:
            sys.stderr.write(f"Usage: python -m vaultstream worker {'|'.join(WorkerRole)} JOB\n")
            return USAGE


sys.exit(main())
