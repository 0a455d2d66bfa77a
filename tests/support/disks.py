"""File systems that are small, so that they fill up."""

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
    """Mounts a file system of `size`, such as `64k` or `400m`, on a folder; skips the test where only root could."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    folder.mkdir(exist_ok=True)
    options = f"size={size},mode=0755"  # services of other users must get there
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def small_disk_for_all(size: str) -> Iterator[Path]:
    """The same, in a folder that Postgres, which runs as another user, can reach."""
    with tempfile.TemporaryDirectory(prefix="vaultstream-disk-") as folder:
        Path(folder).chmod(0o755)
        with small_disk(Path(folder) / "disk", size) as mounted:
            yield mounted


def small_disk_if_root(size: str) -> AbstractContextManager[Path | None]:
    """The same; None for users who may not mount it."""
    return nullcontext() if os.geteuid() else small_disk_for_all(size)


def enlarge(folder: Path, size: str) -> None:
    """Gives a file system that was mounted here another size, while it is in use."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"remount,size={size}", "tmpfs", str(folder)], check=True)
