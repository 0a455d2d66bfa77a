"""Workers in pods wait inside.

The kubelet starts a container that has exited again, but only after up to five minutes. A worker that fails leaves, so that its last words are reported. One that would leave for the same reason a third time waits inside
and tries again every few seconds. A signer whose job has ended rests until its pod is deleted.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import signal
from typing import TYPE_CHECKING, Final

from vaultstream.errors import ExitCode, VaultStreamError
from vaultstream.role import WorkerRole
from vaultstream.telemetry.server import Telemetry, serving

if TYPE_CHECKING:
    from pathlib import Path

    from vaultstream.settings import Settings

log = logging.getLogger(__name__)

LEAVES: Final = 2
"""How often a worker leaves for the same reason: two restarts of a container are reported as a failing worker."""
AGAIN_SECONDS: Final = 3.0
"""Mean time between two attempts of a worker that waits."""
LOOK_AGAIN_SECONDS: Final = 30.0
"""After which a signer that rests looks again whether its job has work."""

_FIXED_FROM_OUTSIDE: Final = frozenset({ExitCode.SERVICE, ExitCode.CUSTODY})
"""A service, a grant, a schema or a key that somebody corrects, while the pod stays as it is."""


_asked: list[bool] = []


def ask_to_leave() -> None:
    """Notes that this process was sent a signal to exit: it neither rests nor tries again."""
    _asked.append(True)


def asked_to_leave() -> bool:
    """Returns whether it was."""
    return bool(_asked)


def pause_after(role: str, error: VaultStreamError | None, file: Path | None) -> float | None:
    """Returns the seconds after which a worker that would leave tries again; None: it leaves.

    Args:
        role: of the worker.
        error: why it would leave; None: it has nothing to do.
        file: where reasons are noted, in a folder that outlives the container; None: the worker is in no pod.
    """
    if file is None:
        return None
    if error is None:
        return LOOK_AGAIN_SECONDS if role == WorkerRole.SIGNING else None
    if error.exit_code not in _FIXED_FROM_OUTSIDE or not _recurs(error, file):
        return None
    return AGAIN_SECONDS * (0.5 + random.random())  # noqa: S311 - spreads the signers' attempts, no secret


def _recurs(error: VaultStreamError, file: Path) -> bool:
    """Returns whether a worker has left for this reason often enough, and notes it."""
    try:
        noted = json.loads(file.read_text())
        times = int(noted["times"]) if noted["message"] == error.message else 0
    except (OSError, ValueError, TypeError, KeyError):
        times = 0
    if times >= LEAVES:
        return True
    try:
        file.write_text(json.dumps({"message": error.message, "times": times + 1}))
    except OSError as problem:
        log.warning("can't write %s: %s", file, problem.strerror)
    return False


async def rest(settings: Settings, role: str, trouble: str | None, seconds: float) -> bool:
    """Serves a worker's health for some seconds, not ready while there is trouble; returns whether it was asked to leave.

    A worker without trouble, which has nothing to do, stays ready: otherwise the kubelet would write an Event about each signer of a job
    that ends.

    Args:
        settings: say where health is served.
        role: of the worker.
        trouble: what the worker waits for, which its readiness shows; None: for the end of its pod.
        seconds: how long.
    """
    asked, telemetry = asyncio.Event(), Telemetry(role)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, asked.set)
    telemetry.health.require("work", lambda: trouble)
    async with serving(settings, telemetry):
        try:
            async with asyncio.timeout(seconds):
                await asked.wait()
        except TimeoutError:
            return False
    return True
