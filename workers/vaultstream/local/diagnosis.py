"""Why an embedded service does not start, in words a person can act on."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from vaultstream.errors import LocalServiceError

if TYPE_CHECKING:
    from pathlib import Path

# With less than this free, a server that fails may not even have been able to log why.
FULL_BELOW_BYTES = 32 * 1024 * 1024
_LINES = 8


def explain_failure(
    service: str, log: str, *, data_dir: Path, free_bytes: int, log_file: Path
) -> LocalServiceError:
    """The error to raise when `service` does not start.

    Args:
        service: its name for people.
        log: what it wrote since it was started.
        data_dir: where the user told us to keep data.
        free_bytes: space left on the disk of `data_dir`.
        log_file: where all of the log can be read.
    """
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    last = "\n".join(f"  {line}" for line in lines[-_LINES:])
    said = f" Its last words:\n{last}" if last else ""
    if "no space left on device" in log.lower() or free_bytes < FULL_BELOW_BYTES:
        return LocalServiceError(
            f"The embedded {service} can't start: the disk of {data_dir} is full "
            f"({free_bytes // (1024 * 1024)} MiB free).{said}",
            hint=f"Free some space on the disk of {data_dir} and run the command again: it goes on from where it "
            "stopped. Or give another --data-dir.",
        )
    if "permission denied" in log.lower():
        return LocalServiceError(
            f"The embedded {service} can't start: it may not use a file or directory it needs.{said}",
            hint=f"Make {data_dir} and what is in it yours (`ls -la {data_dir}`), or give another --data-dir.",
        )
    return LocalServiceError(
        f"The embedded {service} does not start.{said}",
        hint=f"All it said is in {log_file}; `vaultstream doctor` looks further.",
    )


def free_bytes(path: Path) -> int:
    """Space left for an ordinary user on the disk that holds `path` (or the closest directory that exists)."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free
