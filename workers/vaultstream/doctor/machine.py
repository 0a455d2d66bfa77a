"""Checks the data directory and the free space on its disk."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from vaultstream.doctor.findings import Finding, failed, ok, warning
from vaultstream.local.diagnosis import free_bytes

if TYPE_CHECKING:
    from pathlib import Path

SCARCE_BYTES = 2 * 1024**3
"""With less free space than this, a job of a few million records may not fit."""
SHORT_BYTES = 256 * 1024**2
"""With less free space than this, Postgres may stop when it needs its next WAL segment."""

_LISTABLE = stat.S_IRGRP | stat.S_IWGRP | stat.S_IROTH | stat.S_IWOTH


def examine_machine(data_dir: Path) -> list[Finding]:
    """Checks the directory of the embedded services and its disk."""
    nearest = next(path for path in (data_dir, *data_dir.parents) if path.exists())
    if not nearest.is_dir():
        return [failed("data directory", f"{nearest} is not a directory.", "Choose another with --data-dir.")]
    if nearest != data_dir:
        return [
            ok(
                "data directory",
                f"{data_dir} does not exist yet; the first command that needs it creates it.",
            ),
            judge_space(data_dir, free_bytes(data_dir)),
        ]
    return [
        judge_mode(data_dir, stat.S_IMODE(data_dir.stat().st_mode)),
        judge_space(data_dir, free_bytes(data_dir)),
    ]


def judge_mode(data_dir: Path, mode: int) -> Finding:
    """Checks that other users can't list the directory or write to it."""
    if mode & _LISTABLE:
        return warning(
            "data directory",
            f"{data_dir} is open to other users of this machine (mode {mode:04o}).",
            f"chmod go-rw {data_dir}",
        )
    return ok("data directory", f"{data_dir} is private.")


def judge_space(data_dir: Path, free: int) -> Finding:
    """Checks that `free` bytes are enough to continue."""
    text = f"{free / 1024**3:,.1f} GiB are free on the disk of {data_dir}."
    if free < SHORT_BYTES:
        return failed(
            "disk space", text, "Free some space; a job that stopped for lack of it continues where it was."
        )
    if free < SCARCE_BYTES:
        return warning("disk space", text, "A million ECDSA signatures take about 0.3 GiB: free some space.")
    return ok("disk space", text)
