"""Logs of every process: JSON lines, or one readable line per event where a worker's standard output is a terminal."""

from __future__ import annotations

import io
import logging
import sys
from typing import TYPE_CHECKING, Any

from pythonjsonlogger.json import JsonFormatter

from vaultstream.errors import redact, shortened
from vaultstream.visible import visible, visible_json, visible_lines

if TYPE_CHECKING:
    from vaultstream.settings import Settings


MESSAGE_CHARACTERS = 10_000
"""How long the message of a line can be. Much of it may come from tables and services."""
TRACEBACK_CHARACTERS = 40_000
"""How long a traceback can be, which has the text of its errors."""


def _ends_of(traceback: str) -> str:
    """Returns a traceback without its middle if it is too long: it begins with where, and ends with what."""
    half = TRACEBACK_CHARACTERS // 2
    return traceback if len(traceback) <= 2 * half else f"{traceback[:half]}…{traceback[-half:]}"


class _Redacting(logging.Filter):
    """Removes passwords of connection strings that slipped into a message, as the last guard."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg = shortened(redact(record.getMessage()), MESSAGE_CHARACTERS)
        record.args = None
        return True


class _TextFormatter(logging.Formatter):
    def formatException(self, ei: Any) -> str:  # noqa: N802 - the name is logging's
        return _ends_of(super().formatException(ei))

    def format(self, record: logging.LogRecord) -> str:
        line = visible_lines(super().format(record))
        extra = " ".join(f"{key}={value}" for key, value in _extra(record).items())
        return f"{line} {visible(extra)}" if extra else line


class _JsonFormatter(JsonFormatter):
    def format(self, record: logging.LogRecord) -> str:
        return visible_json(super().format(record))  # readable text stays as it is

    def formatException(self, ei: Any) -> str:  # noqa: N802 - the name is logging's
        return _ends_of(redact(str(logging.Formatter.formatException(self, ei))))


_STANDARD = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None))) | {
    "message",
    "asctime",
    "taskName",
}


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    return {key: value for key, value in vars(record).items() if key not in _STANDARD}


def configure_logging(settings: Settings, *, worker: bool = False) -> None:
    """Sets up the root logger.

    Args:
        settings: level and format.
        worker: whether this is a worker, which logs to standard output. The command keeps that for data, and logs
            warnings to standard error.
    """
    stream = sys.stdout if worker else sys.stderr
    as_json = settings.log_format == "json" or (
        settings.log_format == "auto" and worker and not stream.isatty()
    )
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")  # what its encoding does not have is escaped
    handler = logging.StreamHandler(stream)
    handler.addFilter(_Redacting())
    if as_json:
        handler.setFormatter(
            _JsonFormatter(
                "%(asctime)s %(levelname)s %(name)s %(message)s",
                rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
                datefmt="%Y-%m-%dT%H:%M:%S%z",
                json_ensure_ascii=False,
            )
        )
    else:
        handler.setFormatter(_TextFormatter("%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(
        settings.log_level.upper()
        if worker
        else max(logging.WARNING, logging.getLevelName(settings.log_level.upper()))
    )
    logging.getLogger("nats").setLevel(logging.WARNING)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    # While Postgres is down, the pool would warn with a traceback at each attempt; whoever needs a connection says why there is none.
    logging.getLogger("asyncpg.pool").setLevel(logging.ERROR)
