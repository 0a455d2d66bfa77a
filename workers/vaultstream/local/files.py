"""Files of the data directory: private to their owner, written atomically, locked across processes."""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import shlex
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from vaultstream.errors import LocalServiceError, UsageError

if TYPE_CHECKING:
    from pathlib import Path
    from pwd import struct_passwd

_NOT_IN_NAMES = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
"""What the files of settings of the embedded services can't hold."""
_LOCK_POLL_SECONDS = 0.02

USERS_LOCK = "users.lock"
"""Name of the lock that each command holds which uses the services of a data directory."""
_OWN_NAMES = {"kek", "seal-key", "seals", "revocations", "logs", "lost+found"}
"""What may be in a data directory before services run there."""
_LOG_LIMIT_BYTES = 16 * 1024 * 1024


def make_private_dir(path: Path, owner: struct_passwd | None = None, *, mode: int = 0o700) -> Path:
    """Creates `path` and its parents with `mode`, owned by `owner` if given; returns it.

    A directory that exists gets that mode too, which corrects a permissive umask or copy.

    Raises:
        LocalServiceError: it exists, and belongs to another user, who could replace what is in it. A link of that user
            could have us give away any directory.
    """
    _refuse_other_owners(path, {0, os.geteuid()} | ({owner.pw_uid} if owner else set()))
    path.mkdir(mode=mode, parents=True, exist_ok=True)
    if owner is not None and path.stat().st_uid != owner.pw_uid:
        os.chown(path, owner.pw_uid, owner.pw_gid)
    if stat.S_IMODE(path.stat().st_mode) != mode:
        path.chmod(mode)
    return path


def _refuse_other_owners(path: Path, trusted: set[int]) -> None:
    if any(status.st_uid not in trusted for status in _statuses(path)):
        raise LocalServiceError(
            f"The directory {path} belongs to another user{_owner_of(path)}.",
            hint="Run the command as that user, or use another --data-dir, in a directory that only you can write.",
        )


def no_permission(data_dir: Path, error: PermissionError) -> LocalServiceError:
    """Returns the error to show where a data directory, or something in it, may not be used."""
    return LocalServiceError(
        f"The data directory {data_dir}{_owner_of(data_dir)} can't be used: no permission for {error.filename}.",
        hint=f"Run the command as its owner, or use another --data-dir. `ls -la {shlex.quote(str(data_dir))}` shows who owns what is in it.",
    )


def _owner_of(path: Path) -> str:
    """Returns the name of a path's owner in parentheses; empty: nobody knows."""
    try:
        return f" ({path.owner()})"
    except (OSError, KeyError):
        return ""


def whole_data_dir(path: Path) -> Path:
    """Returns the absolute path of a data directory, of which neither a link nor a home directory is left.

    Raises:
        UsageError: its links lead nowhere, the user whose home it names does not exist, it is a file or below one, it can't be
            searched, or its name is not plain text.
    """
    if _NOT_IN_NAMES.search(str(path)):
        raise UsageError(
            f"The name of the directory {str(path)!r} has control characters, or is not UTF-8.",
            hint="Name another directory with --data-dir.",
        )
    try:
        whole = path.expanduser().resolve()
    except (RuntimeError, OSError):  # as pathlib raises them
        raise UsageError(
            f"The directory {path} can't be found: its links form a loop, or it names a user that does not exist.",
            hint="Name another directory with --data-dir.",
        ) from None
    try:
        file = not stat.S_ISDIR(whole.stat().st_mode)
    except FileNotFoundError:
        file = False
    except NotADirectoryError:
        file = True
    except OSError as error:
        raise UsageError(
            f"The directory {path} can't be read: {error.strerror}.",
            hint="Name a directory of your own with --data-dir.",
        ) from None
    if file:
        raise UsageError(
            f"{path} can't be the data directory: it is a file, or below one.",
            hint="Name a directory, or a path where one can be created, with --data-dir.",
        )
    return whole


def claim_data_dir(path: Path, *, mode: int) -> Path:
    """Creates the data directory with `mode`, or checks that one which exists is empty or VaultStream's; returns it.

    The mode of a directory that exists stays as it is.

    Raises:
        UsageError: it is a file or below one, other things are in it, or others may write to it.
        LocalServiceError: another user owns it.
    """
    path = whole_data_dir(path)
    if not path.is_dir():
        return make_private_dir(path, mode=mode)
    _refuse_other_owners(path, {0, os.geteuid()})
    if not is_data_dir(path) and (others := sorted(set(os.listdir(path)) - _OWN_NAMES)):  # noqa: PTH208 - names alone
        raise UsageError(
            f"The directory {path} has other things in it, such as {others[0]!r}.",
            hint="Name an empty directory, or one that does not exist, with --data-dir.",
        )
    if (found := stat.S_IMODE(path.stat().st_mode)) & (stat.S_IWGRP | stat.S_IWOTH):
        raise UsageError(
            f"Other users may write to the directory {path} (mode {found:04o}), and so replace what is in it.",
            hint=f"chmod go-w {shlex.quote(str(path))}, or name another directory with --data-dir.",
        )
    return path


def is_data_dir(path: Path) -> bool:
    """Whether services ran in a directory."""
    return (path / USERS_LOCK).is_file()


def _statuses(path: Path) -> list[os.stat_result]:
    """Returns the status of a path itself, and of what it leads to if it is a link; of nothing, nothing."""
    found = []
    for read in (path.lstat, path.stat):
        with suppress(FileNotFoundError):
            found.append(read())
    return found


def write_private(path: Path, text: str, owner: struct_passwd | None = None) -> None:
    """Replaces the file `path` by one with `text`, mode 0600; after a crash the old or the new one is there, whole."""
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
    """Opens a service's log for appending (mode 0600); rotates it to `<name>.1` first if it is large.

    Returns a file descriptor, which the caller closes.
    """
    if path.exists() and path.stat().st_size > _LOG_LIMIT_BYTES:
        path.replace(path.with_name(f"{path.name}.1"))
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def size_of(path: Path) -> int:
    """Returns the size of the file in bytes, 0 if it does not exist."""
    return path.stat().st_size if path.exists() else 0


def read_from(path: Path, offset: int) -> str:
    """Returns the content of the file from the byte `offset`; empty if it does not exist."""
    if not path.exists():
        return ""
    with path.open("rb") as file:
        file.seek(offset)
        return file.read().decode(errors="replace")


def number_in(path: Path) -> int | None:
    """Returns the number in the first line of a file, such as a pid file; None if there is no such file or number."""
    try:
        return int(path.read_text(errors="replace").split("\n", 1)[0])
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def open_the_way(path: Path, user: struct_passwd) -> list[Path]:
    """Lets `user` pass through the directories above `path`, by the execute bit alone, where it can't yet.

    The user can't list or read these directories; their content stays as private as its own mode.

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
    """A lock between processes (flock), which the kernel releases when its holder dies, however it dies."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def try_acquire(self, *, exclusive: bool) -> bool:
        """Takes the lock or changes its kind, unless another process holds it; if it returns False, it holds nothing."""
        kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
        try:
            fcntl.flock(self._descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    async def acquire(self, *, exclusive: bool) -> Self:
        """Takes the lock as soon as other holders release it; can be canceled."""
        while not self.try_acquire(exclusive=exclusive):  # noqa: ASYNC110 - the kernel does not notify
            await asyncio.sleep(_LOCK_POLL_SECONDS)
        return self

    def release(self) -> None:
        """Releases the lock; the object can't be used again. A second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
