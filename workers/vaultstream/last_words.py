"""The last words of a worker.

They are a line of its log that says why it left.

As JSON the line is `{"level": "ERROR", "event": "exit", "code": 6, "pid": 4711, "message": "…", "hint": "…", …}`. The pool of a
laptop and the operator read it; the exit code alone cannot say which file is missing.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vaultstream.errors import ExitCode, VaultStreamError, redact, shown
from vaultstream.foreign_json import read_foreign_json

if TYPE_CHECKING:
    from collections.abc import Iterable

log = logging.getLogger(__name__)

_EVENT = "exit"


@dataclass(frozen=True)
class LastWords:
    """Why a worker left.

    Attributes:
        code: its exit code.
        message: what is wrong, in one sentence.
        hint: the next step, if there is one.
    """

    code: int
    message: str
    hint: str | None = None


def write_last_words(error: VaultStreamError) -> None:
    """Logs why this process is about to leave. Errors of VaultStream hold no secret; see `vaultstream.errors`."""
    level = logging.INFO if error.exit_code is ExitCode.INTERRUPTED else logging.ERROR
    extra: dict[str, object] = {"event": _EVENT, "code": int(error.exit_code), "pid": os.getpid()}
    if error.hint:
        extra["hint"] = error.hint
    log.log(level, "%s", error.message, extra=extra)


def unexpected(error: Exception) -> VaultStreamError:
    """Logs an error that is a fault of the program itself, with its traceback; returns the one to leave with."""
    log.critical("unexpected error", exc_info=error)
    return unexpected_error(error)


def unexpected_error(error: BaseException) -> VaultStreamError:
    """Returns the error to leave with because of a fault of the program itself."""
    return VaultStreamError(f"Unexpected error: {type(error).__name__}: {shown(error)}")


def write_exit(error: VaultStreamError) -> ExitCode:
    """Logs why this process is about to leave, and returns its exit code."""
    write_last_words(error)
    return error.exit_code


def read_last_words(lines: Iterable[str], *, pid: int | None = None) -> LastWords | None:
    """Returns the last words in a log; None if there are none, as after a SIGKILL.

    Args:
        lines: the log, or the end of it. Lines that are not JSON are skipped.
        pid: the process whose words are wanted, where several write to one log; None: any.
    """
    for line in reversed(list(lines)):
        try:
            entry = read_foreign_json(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and entry.get("event") == _EVENT and pid in (None, entry.get("pid")):
            hint = entry.get("hint")
            return LastWords(
                code=_code_of(entry.get("code")),
                message=redact(str(entry.get("message", ""))),
                hint=redact(str(hint)) if hint else None,
            )
    return None


def _code_of(value: object) -> int:
    """Returns an exit code; that of any failure for what is none. Whatever prints to the log of a pod may have written it."""
    return value if type(value) is int and 0 < value < 256 else ExitCode.FAILURE  # noqa: PLR2004 - a process has these
