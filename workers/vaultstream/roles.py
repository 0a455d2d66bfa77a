"""The three roles of a worker process, each run from its start to its exit code."""

from __future__ import annotations

import logging
import os
import signal
from importlib import import_module
from typing import TYPE_CHECKING

import uvloop

from vaultstream.crypto.core_dumps import forbid_core_dumps
from vaultstream.errors import ExitCode, Interrupted, VaultStreamError
from vaultstream.exits import explained
from vaultstream.last_words import unexpected, write_exit
from vaultstream.logs import configure_logging
from vaultstream.patience import asked_to_leave, pause_after, rest
from vaultstream.quick_imports import quick_imports
from vaultstream.settings import Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import Mapping

log = logging.getLogger(__name__)


def run_worker(role: str, job: str, *, deleted: bool = False, **overrides: object) -> int:
    """Runs a worker until its job has ended or it is asked to exit. In a pod it may wait and try again; see `vaultstream.patience`.

    If it fails, the last line of its log says why; see `vaultstream.last_words`.

    Args:
        role: of a `WorkerRole`. Only its module is loaded: a pool starts many signers.
        job: name or token of the job.
        deleted: as the records worker, seal that the job was deleted, and do nothing else.
        overrides: settings by field name; None means not given.

    Returns:
        The exit code.
    """
    told = ""
    while True:
        settings, last = _attempt(role, job, deleted=deleted, overrides=overrides)
        pause = pause_after(role, last, settings.last_words_file if settings else None)
        if settings is None or pause is None or asked_to_leave():
            break
        why = last.message if last else "The job has nothing to sign."
        if why != told:
            log.warning("waiting, and trying again: %s", why, extra={"seconds": round(pause, 1)})
            told = why
        if uvloop.run(rest(settings, role, last.message if last else None, pause)):
            return ExitCode.OK
        signal.signal(signal.SIGTERM, _leave_at_once)  # until the worker handles it again
    return write_exit(last) if last else ExitCode.OK


def _leave_at_once(*_: object) -> None:
    os._exit(ExitCode.INTERRUPTED)


def _attempt(
    role: str, job: str, *, deleted: bool, overrides: Mapping[str, object]
) -> tuple[Settings | None, VaultStreamError | None]:
    """Runs a worker once; returns its settings, and why it would leave: None if it has nothing more to do."""
    settings = None
    try:
        configure_logging(Settings.model_construct(), worker=True)  # until the settings are known
        settings = load_settings(**overrides)
        settings.set_environment()
        configure_logging(settings, worker=True)
        forbid_core_dumps()  # each role holds keys: private ones, those that wrap them, or the seal key
        with quick_imports():
            part = "deletion" if deleted else "worker"
            run = getattr(import_module(f"vaultstream.{role}.{part}"), f"run_{role}_{part}")
        uvloop.run(run(settings, job))
    except KeyboardInterrupt:  # before the worker handled signals itself
        return settings, Interrupted("The worker was asked to exit while it was starting.")
    except Exception as error:  # noqa: BLE001 - the process ends, and its exit code says how
        return settings, explained(error, part=role) or unexpected(error)
    return settings, None
