"""The three roles of a worker process, each run from its start to its exit code."""

from __future__ import annotations

import logging
from importlib import import_module

import uvloop

from vaultstream.crypto.core_dumps import forbid_core_dumps
from vaultstream.errors import ExitCode, Interrupted, VaultStreamError, shown
from vaultstream.exits import explained
from vaultstream.last_words import write_last_words
from vaultstream.logs import configure_logging
from vaultstream.quick_imports import quick_imports
from vaultstream.settings import Settings, load_settings

log = logging.getLogger(__name__)


def run_worker(role: str, job: str, *, deleted: bool = False, **overrides: object) -> int:
    """Runs a worker until its job has ended or it is asked to exit.

    If it fails, the last line of its log says why; see `vaultstream.last_words`.

    Args:
        role: of a `WorkerRole`. Only its module is loaded: a pool starts many signers.
        job: name or token of the job.
        deleted: as the records worker, seal that the job was deleted, and do nothing else.
        overrides: settings by field name; None means not given.

    Returns:
        The exit code.
    """
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
        last: VaultStreamError = Interrupted("The worker was asked to exit while it was starting.")
    except Exception as error:  # noqa: BLE001 - the process ends, and its exit code says how
        last = explained(error, part=role) or _unexpected(error)
    else:
        return ExitCode.OK
    write_last_words(last)
    return last.exit_code


def _unexpected(error: Exception) -> VaultStreamError:
    log.critical("unexpected error", exc_info=error)
    return VaultStreamError(f"Unexpected error: {type(error).__name__}: {shown(error)}")
