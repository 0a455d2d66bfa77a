"""The data directory and the room on its disk."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from vaultstream.doctor.findings import Finding, failed, ok, warning
from vaultstream.local.diagnosis import free_bytes

if TYPE_CHECKING:
    from pathlib import Path

SCARCE_BYTES = 2 * 1024**3
"""Less than this, and a job of some millions of records may not fit."""
SHORT_BYTES = 256 * 1024**2
"""Less than this, and Postgres may stop at its next segment of log."""

_LISTABLE = stat.S_IRGRP | stat.S_IWGRP | stat.S_IROTH | stat.S_IWOTH


def examine_machine(data_dir: Path) -> list[Finding]:
    """Looks at the directory of the embedded services, and at its disk."""
    if not data_dir.exists():
        return [
            ok("data directory", f"{data_dir} is not there yet; any command makes it."),
            judge_space(data_dir, free_bytes(data_dir)),
        ]
    if not data_dir.is_dir():
        return [failed("data directory", f"{data_dir} is no directory.", "Give another with --data-dir.")]
    return [
        judge_mode(data_dir, stat.S_IMODE(data_dir.stat().st_mode)),
        judge_space(data_dir, free_bytes(data_dir)),
    ]


def judge_mode(data_dir: Path, mode: int) -> Finding:
    """Tells whether others can look into the directory."""
    if mode & _LISTABLE:
        return warning(
            "data directory",
            f"{data_dir} is open to other users of this machine (mode {mode:04o}).",
            f"chmod go-rw {data_dir}",
        )
    return ok("data directory", f"{data_dir} is private.")


def judge_space(data_dir: Path, free: int) -> Finding:
    """Tells whether `free` bytes are enough to go on with."""
    text = f"{free / 1024**3:,.1f} GiB are free on the disk of {data_dir}."
    if free < SHORT_BYTES:
        return failed("disk space", text, "Free some; a job that stopped for it goes on where it was.")
    if free < SCARCE_BYTES:
        return warning("disk space", text, "A million ECDSA signatures take about 0.3 GiB: free some.")
    return ok("disk space", text)
