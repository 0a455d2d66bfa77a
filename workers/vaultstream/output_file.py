"""A file that a user names for output. A regular one is replaced as a whole, anything else is written to."""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import stat
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from vaultstream.errors import OutputError, UsageError, explain_output

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

_POLL_SECONDS = 0.05


@asynccontextmanager
async def open_output(path: Path) -> AsyncIterator[BinaryIO]:
    """Opens a file for output; a regular one has its new content when the block ends without an error, else its former one.

    A symbolic link stays one, and what it leads to is written. A regular file that exists keeps its mode, and its owner
    where that is allowed. A device or a pipe is written to; for a pipe, it waits for its reader.

    Raises:
        UsageError: it can't be written, or is a directory.
        OutputError: its disk is full or failing, or nobody reads the pipe any longer.
    """
    if is_special(path):
        with _explained(path), os.fdopen(await _open_special(path), "wb") as stream:
            yield stream
        return
    with _explained(path):
        real, former = await asyncio.to_thread(replaceable, path)
        part = real.with_name(
            f".{secrets.token_hex(8)}.part"
        )  # short: the name itself may be as long as names can be
        with _explained(path, creating=True):
            descriptor = os.open(
                part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600 if former else 0o666
            )
        try:
            with os.fdopen(descriptor, "wb") as stream:
                if former:
                    liken(descriptor, former)
                yield stream
                stream.flush()
                os.fsync(descriptor)
            with _explained(path, creating=True):
                part.replace(real)
        finally:
            part.unlink(missing_ok=True)


async def write_output(path: Path, data: bytes) -> None:
    """Writes a file that a user names for output, as `open_output` does; raises what that raises."""
    async with open_output(path) as stream:
        stream.write(data)


def is_special(path: Path) -> bool:
    """Whether there is something else than a regular file or a directory, such as a device or a pipe, also behind a link."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def open_special(path: Path) -> int:
    """Opens a device or a pipe for writing, creating and truncating nothing; returns the descriptor.

    Raises:
        OSError: it can't be opened; ENXIO: it is a pipe that nobody reads.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    os.set_blocking(descriptor, True)
    return descriptor


def liken(descriptor: int, former: os.stat_result) -> None:
    """Gives an open file the mode of another, and its owner and group where that is allowed."""
    with suppress(PermissionError):
        os.fchown(descriptor, former.st_uid, former.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(former.st_mode))


async def _open_special(path: Path) -> int:
    while True:
        try:
            return open_special(path)
        except OSError as error:
            if error.errno != errno.ENXIO or not _is_pipe(path):
                raise UsageError(f"{path} can't be written: {error.strerror}.") from None
        await asyncio.sleep(_POLL_SECONDS)  # the kernel does not notify


def _is_pipe(path: Path) -> bool:
    return path.is_fifo()


def replaceable(path: Path) -> tuple[Path, os.stat_result | None]:
    """Returns the file that a path leads to, which need not exist, and its status if it does.

    Raises:
        UsageError: it can't be replaced: it is a directory or read-only.
    """
    try:
        real = path.resolve()
        former = real.stat() if real.exists() else None
    except (OSError, RuntimeError) as error:  # RuntimeError: a link that leads to itself
        raise UsageError(f"{path} can't be written: {getattr(error, 'strerror', None) or error}.") from None
    if former and stat.S_ISDIR(former.st_mode):
        raise UsageError(f"{path} is a directory.", hint="Name a file in it.")
    if former and not os.access(real, os.W_OK, effective_ids=True):
        raise UsageError(
            f"{path} can't be written: it is read-only.", hint="Name another file, or remove it."
        )
    return real, former


@contextmanager
def _explained(path: Path, *, creating: bool = False) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise OutputError(f"{path} can't be written: nobody reads it any longer.") from None
        if explained := explain_output(error, path):
            raise explained from None
        if creating and isinstance(error, PermissionError):
            folder = path.absolute().parent
            raise UsageError(
                f"{path} can't be written: no file can be created in {folder}. {error.strerror}.",
                hint="Name a file in another folder: the new content is written beside the former one, and then replaces it.",
            ) from None
        if creating:
            raise UsageError(f"{path} can't be written: {error.strerror}.") from None
        raise
