"""Small file systems, for tests that fill them up."""

from __future__ import annotations

import os
import subprocess
import tempfile
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """Mounts a file system of `size`, such as `64k` or `400m`, on a folder; skips the test unless run by root."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    folder.mkdir(exist_ok=True)
    options = f"size={size},mode=0755"  # services of other users must be able to enter it
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def small_disk_for_all(size: str) -> Iterator[Path]:
    """Mounts a small file system where Postgres can use it, which runs as another user."""
    with tempfile.TemporaryDirectory(prefix="vaultstream-disk-") as folder:
        Path(folder).chmod(0o755)
        with small_disk(Path(folder) / "disk", size) as mounted:
            yield mounted


def small_disk_if_root(size: str) -> AbstractContextManager[Path | None]:
    """Mounts a small file system as `small_disk_for_all` does; None if not run by root."""
    return nullcontext() if os.geteuid() else small_disk_for_all(size)


def enlarge(folder: Path, size: str) -> None:
    """Changes the size of a file system mounted here while it is in use."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"remount,size={size}", "tmpfs", str(folder)], check=True)
