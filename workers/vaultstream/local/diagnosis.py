"""Explains why an embedded service does not start, with the next step."""

from __future__ import annotations

import os
import shlex
import shutil
from typing import TYPE_CHECKING

from vaultstream.errors import LocalServiceError

if TYPE_CHECKING:
    from pathlib import Path

# With less than this free, a failing server may not have been able to log why.
FULL_BELOW_BYTES = 32 * 1024 * 1024
_LINES = 8


def explain_failure(
    service: str, log: str, *, data_dir: Path, free_bytes: int, log_file: Path | None
) -> LocalServiceError:
    """Returns the error to raise when `service` does not start.

    Args:
        service: display name of the service.
        log: what it logged since its start.
        data_dir: the data directory.
        free_bytes: space left on the disk of `data_dir`.
        log_file: the complete log; None: there is none, and `log` is an error of the file system.
    """
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    last = "\n".join(f"  {line}" for line in lines[-_LINES:])
    said = f" {log}." if log_file is None else f" Its last log lines:\n{last}" if last else ""
    if "read-only file system" in log.lower():
        return LocalServiceError(
            f"The embedded {service} can't start: the disk of {data_dir} is mounted for reading only.{said}",
            hint="Set another --data-dir.",
        )
    # An error of the file system says itself whether the disk is full; one such as that of /proc has no space at all.
    if "no space left on device" in log.lower() or (log_file is not None and free_bytes < FULL_BELOW_BYTES):
        return LocalServiceError(
            f"The embedded {service} can't start: the disk of {data_dir} is full "
            f"({free_bytes // (1024 * 1024)} MiB free).{said}",
            hint=f"Free some space on the disk of {data_dir} and run the command again: it resumes where it stopped. "
            "Or set another --data-dir.",
        )
    if "permission denied" in log.lower():
        return LocalServiceError(
            f"The embedded {service} can't start: it has no permission for a file or directory that it needs.{said}",
            hint=f"Make yourself the owner of {data_dir} and its contents (`ls -la {shlex.quote(str(data_dir))}`), or set another --data-dir.",
        )
    if "could not look up effective user id" in log.lower():
        return LocalServiceError(
            f"The embedded {service} can't start: the user {os.geteuid()} has no name on this machine.{said}",
            hint="Run the command as a user that is listed in /etc/passwd, in a container as one of the image's users, or set DATABASE_URL and "
            "VAULTSTREAM_NATS_URL.",
        )
    if log_file is None:
        return LocalServiceError(
            f"The embedded {service} can't start.{said}",
            hint=f"Correct what is wrong with {data_dir}, or set another --data-dir.",
        )
    return LocalServiceError(
        f"The embedded {service} does not start.{said}",
        hint=f"Its complete log is {log_file}; `vaultstream doctor` checks further.",
    )


def free_bytes(path: Path) -> int:
    """Returns the bytes available to an ordinary user on the disk of `path`, or of its closest existing parent."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free
