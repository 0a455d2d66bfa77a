"""The copy outside of Postgres: the newest checkpoint, and each job's plan, seal and checkpoint.

    checkpoint                      of the log of plans and seals, as a signed note; of a tenant's below tenants/<namespace>/
    jobs/<token>/plan.json          the plan, as it was entered
    jobs/<token>/planning.json      how far planning is, until then
    jobs/<token>/seal.json          the newest seal
    jobs/<token>/checkpoint         the checkpoint of the job's log which that seal names

Each file is replaced as a whole. A checkpoint is never replaced by a smaller one.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from vaultstream.errors import ProofError
from vaultstream.regular_file import open_regular

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CHECKPOINT, PLAN, PLANNING, SEAL = "checkpoint", "plan.json", "planning.json", "seal.json"
_PART = re.compile(r"[a-z0-9-]{1,64}")
"""A token, as `guard_jobs` accepts it, or the name of a namespace."""
FOLDER_LOCK_SECONDS = 3.0
"""How long a folder is waited for that another process has locked: whoever may read it can lock it."""
FOLDER_POLL_SECONDS = 0.05


class SealsFolder:
    """The copies of one log of plans and seals."""

    def __init__(self, path: Path, tenant: str | None = None) -> None:
        self.path = path / "tenants" / _part(tenant) if tenant else path

    @property
    def checkpoint(self) -> Path:
        return self.path / CHECKPOINT

    def job(self, token: str) -> Path:
        """Returns the folder of a job, which may not exist."""
        return self.path / "jobs" / _part(token)


def read_copy(path: Path) -> bytes | None:
    """Returns the content of a file; None if there is none.

    Raises:
        OSError: it can't be read, or is no regular file.
    """
    try:
        with open_regular(path) as file:
            return file.read()
    except FileNotFoundError:
        return None


def write_copy(path: Path, data: bytes, *, replaces: Callable[[bytes], bool] = lambda _: True) -> bool:
    """Replaces a file, and makes its folder if missing; after a crash the old or the new one is there, whole.

    Args:
        path: of the file.
        data: its content.
        replaces: returns whether this content may be replaced. No other process writes in between.

    Returns:
        Whether the file was replaced.

    Raises:
        OSError: it can't be written, or another process has its folder locked.
    """
    _make_folder(path.parent)
    with _locked(path.parent) as folder:
        former = read_copy(path)
        if former == data or (former is not None and not replaces(former)):
            return False
        draft = path.with_name(f".{path.name}.new")
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        os.fsync(folder)
    return True


def _make_folder(folder: Path) -> None:
    """Makes a folder and those above it that are missing, each for its owner alone."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)


@contextmanager
def _locked(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _lock(descriptor)
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    deadline = time.monotonic() + FOLDER_LOCK_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise TimeoutError(errno.ETIMEDOUT, "another process has locked the folder") from None
            time.sleep(FOLDER_POLL_SECONDS)
        else:
            return


def _part(name: str) -> str:
    """Returns a name that leads to no other folder. The triggers of Postgres accept no other names; its owner could."""
    if not _PART.fullmatch(name):
        raise ProofError(f"{name!r} is no token of a job and no namespace.")
    return name
