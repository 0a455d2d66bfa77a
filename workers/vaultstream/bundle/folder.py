"""Reads the files of a bundle, which anybody may have written: no link is followed, and nothing is read without a limit."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, BinaryIO

from vaultstream.bundle.layout import LONGEST_LINE
from vaultstream.errors import ProofError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_FILE_BYTES = 64 * 1024 * 1024
"""Of a file that is read as a whole; the keys are the largest."""


class BundleFolder:
    """A folder that may be a bundle.

    Raises:
        UsageError: there is no such folder.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_dir():
            raise UsageError(
                f"There is no folder {path}.", hint="`vaultstream export JOB --bundle DIR` writes one."
            )
        self.path = path

    def has(self, name: str) -> bool:
        """Whether there is anything with that name."""
        return os.path.lexists(self.path / name)

    def open(self, name: str) -> BinaryIO:
        """Opens a file.

        Raises:
            ProofError: it is missing, is no regular file, or can't be read.
        """
        try:
            # Without blocking: it may be a pipe.
            descriptor = os.open(self.path / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise ProofError(f"{name} of the bundle can't be read: {error.strerror}.") from None
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise ProofError(f"{name} of the bundle is no regular file.")
        return os.fdopen(descriptor, "rb")

    def size(self, name: str) -> int:
        """Returns the size of a file, in bytes; see `open`."""
        with self.open(name) as file:
            return os.fstat(file.fileno()).st_size

    def read(self, name: str) -> bytes:
        """Returns a small file; see `open`."""
        with self.open(name) as file:
            data = file.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise ProofError(f"{name} of the bundle has more than {MAX_FILE_BYTES} bytes.")
        return data

    def lines(self, name: str, start: int = 0, end: int | None = None) -> Iterator[tuple[int, bytes]]:
        """Yields the place in bytes and the text of each line that begins at or after `start` and before `end`; see `open`.

        Raises:
            ProofError: a line is too long, or the last one has no end.
        """
        with self.open(name) as file:
            place = start
            if start:  # the line that the byte before belongs to is not ours
                file.seek(start - 1)
                place = start - 1 + len(_line(file, name))
            while end is None or place < end:
                line = _line(file, name)
                if not line:
                    return
                yield place, line[:-1]
                place += len(line)


def _line(file: BinaryIO, name: str) -> bytes:
    line = file.readline(LONGEST_LINE + 1)
    if line and not line.endswith(b"\n"):
        raise ProofError(
            f"A line of {name} of the bundle has more than {LONGEST_LINE} bytes, or no end.",
            hint="The file is cut off, or is not one of a bundle.",
        )
    return line
