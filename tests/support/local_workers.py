"""The running workers of a data directory, found as any user can: a signer's environment is readable by root alone."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from vaultstream.local.worker_logs import log_folder


def workers_of(data_dir: Path, role: str = "") -> list[int]:
    """Returns the process ids of the workers of one role or all, including stopped ones.

    A worker's arguments name its job by a random token, and the data directory has a folder of logs for each token.
    """
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError, ValueError):
                words = (entry / "cmdline").read_text().split("\0")
                its_role, token = words[words.index("worker") + 1 :][:2]
                if token and its_role.startswith(role) and log_folder(data_dir, token).is_dir():
                    found.append(int(entry.name))
    return found
