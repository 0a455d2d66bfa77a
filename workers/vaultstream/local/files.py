"""Files of the data directory: private to their owner, written whole or not at all, locked across processes."""

from __future__ import annotations

import asyncio
import fcntl
import os
import stat
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pathlib import Path
    from pwd import struct_passwd

_LOCK_POLL_SECONDS = 0.02
_LOG_LIMIT_BYTES = 16 * 1024 * 1024


def make_private_dir(path: Path, owner: struct_passwd | None = None, *, mode: int = 0o700) -> Path:
    """Makes `path` (its parents too) with `mode`, given to `owner` if there is one; returns it.

    A directory that exists gets that mode too, so that a permissive umask or copy is put right.
    """
    path.mkdir(mode=mode, parents=True, exist_ok=True)
    if owner is not None and path.stat().st_uid != owner.pw_uid:
        os.chown(path, owner.pw_uid, owner.pw_gid)
    if stat.S_IMODE(path.stat().st_mode) != mode:
        path.chmod(mode)
    return path


def write_private(path: Path, text: str, owner: struct_passwd | None = None) -> None:
    """Replaces the file `path` by one with `text`, mode 0600; a reader or a crash sees the old or the new one."""
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(
        os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8"
    ) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
        if owner is not None:
            os.fchown(file.fileno(), owner.pw_uid, owner.pw_gid)
    draft.replace(path)


def open_log(path: Path) -> int:
    """Opens a service's log for appending (mode 0600), set aside as `<name>.1` first if it has grown large.

    Returns a file descriptor, which the caller closes.
    """
    if path.exists() and path.stat().st_size > _LOG_LIMIT_BYTES:
        path.replace(path.with_name(f"{path.name}.1"))
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def size_of(path: Path) -> int:
    """Bytes in the file, 0 if there is none."""
    return path.stat().st_size if path.exists() else 0


def read_from(path: Path, offset: int) -> str:
    """What was written to the file after the byte `offset`; empty if there is no file."""
    if not path.exists():
        return ""
    with path.open("rb") as file:
        file.seek(offset)
        return file.read().decode(errors="replace")


def open_the_way(path: Path, user: struct_passwd) -> list[Path]:
    """Lets `user` pass through the directories above `path`, by the x bit for others alone, where it can't yet.

    Passing is not listing nor reading: what lies there stays as private as its own mode makes it.

    Returns:
        The directories whose mode was changed.
    """
    changed = []
    for directory in path.resolve().parents:
        status = directory.stat()
        if status.st_uid == user.pw_uid:
            bit = stat.S_IXUSR
        elif status.st_gid == user.pw_gid:
            bit = stat.S_IXGRP
        else:
            bit = stat.S_IXOTH
        if not status.st_mode & bit:
            directory.chmod(stat.S_IMODE(status.st_mode) | bit)
            changed.append(directory)
    return changed


class FileLock:
    """A lock between processes that the kernel lets go of when its holder dies, however it dies (flock)."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def try_acquire(self, *, exclusive: bool) -> bool:
        """Takes the lock, or changes its kind, if nobody is in the way; after False it holds nothing."""
        kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
        try:
            fcntl.flock(self._descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    async def acquire(self, *, exclusive: bool) -> Self:
        """Takes the lock as soon as whoever is in the way lets go; may be cancelled."""
        while not self.try_acquire(exclusive=exclusive):  # noqa: ASYNC110 - a lock of the kernel sets no event
            await asyncio.sleep(_LOCK_POLL_SECONDS)
        return self

    def release(self) -> None:
        """Lets go; the object can't be used again. Harmless when called twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
