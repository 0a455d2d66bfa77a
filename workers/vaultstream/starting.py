"""How the process of a worker starts: what comes before the slow imports, and no import that a worker does not need."""

from __future__ import annotations

import atexit
import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

from vaultstream.telemetry.early import listen_early

if TYPE_CHECKING:
    from collections.abc import Sequence

_INTERRUPTED = 130
"""As in `vaultstream.errors`, which is not imported yet."""


def serve_early(*, operator: bool = False) -> None:
    """Handles SIGTERM and listens on the port of health, before the slow imports.

    The kernel drops signals that a container's first process has no handler for. Without the handler, a signer that is stopped while it
    starts would keep signing until SIGKILL.
    """
    signal.signal(signal.SIGTERM, exit_at_once)
    listen_early(operator=operator)


def exit_at_once(*_: object) -> None:
    """Ends the process. Nothing is open yet. An exception could be lost in a callback of the garbage collector or the imports."""
    as_json = os.environ.get("VAULTSTREAM_LOG_FORMAT") == "json"
    os.write(2, b'{"level": "INFO", "message": "Interrupted."}\n' if as_json else b"error: Interrupted.\n")
    os._exit(_INTERRUPTED)


def leave(code: int) -> NoReturn:
    """Ends a worker that has closed all it had open, without taking the interpreter apart.

    That would take 0.1 s, in which the port of health is closed, and the kubelet may ask once more and write an Event `Unhealthy`.
    What was registered for the end of the process runs.
    """
    atexit._run_exitfuncs()  # noqa: SLF001 - the only way to run them
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # nobody reads it any more
            stream.flush()
    os._exit(code)


def skip_http_client() -> None:
    """Keeps nats-py from importing aiohttp, which it would for WebSockets: a process starts in four fifths of the time."""
    sys.modules["aiohttp"] = None  # type: ignore[assignment]


def run_plain_worker(words: Sequence[str]) -> int | None:
    """Runs a worker if the command line has the form that pods and pools use: `worker ROLE JOB`, with `--deleted` for records.

    The parser of command lines alone would take a tenth of a worker's start.

    Returns:
        The exit code; None if the command line has another form.
    """
    from vaultstream.quick_imports import quick_imports  # noqa: PLC0415 - after the port is open
    from vaultstream.role import WorkerRole  # noqa: PLC0415 - after the port is open

    match words:
        case ["worker", role, job] if role in set(WorkerRole) and not job.startswith("-"):
            deleted = False
        case ["worker", WorkerRole.RECORDS as role, job, "--deleted"] if not job.startswith("-"):
            deleted = True
        case _:
            return None
    skip_http_client()
    os.environ.setdefault(
        "PYDANTIC_DISABLE_PLUGINS", "__all__"
    )  # a search through all packages, for code that is not ours
    with quick_imports():
        from vaultstream.roles import run_worker  # noqa: PLC0415 - see the module
    return run_worker(role, job, deleted=deleted)
