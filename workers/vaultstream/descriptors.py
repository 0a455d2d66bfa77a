"""Closed descriptors 0 to 2. Those that can't be written are treated alike."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Any

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


def open_standard_descriptors() -> None:
    """Opens those of the three that are closed on the null device, as the C library does for programs that it distrusts.

    Otherwise the next file or socket that is opened gets the number, and what is meant for a terminal is written into it.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:  # a lower one was closed meanwhile
                os.dup2(opened, number)
                os.close(opened)
            os.set_inheritable(number, True)
    for name, mode, number in (("stdin", "r", 0), ("stdout", "w", 1), ("stderr", "w", 2)):
        if getattr(sys, name) is None:
            stream = open(number, mode, encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115 - for the whole process
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)


class _LossyFile(io.FileIO):
    def write(self, data: Any) -> int:
        try:
            return super().write(data) or 0
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            return len(data)


def outlive_full_disk() -> None:
    """Lets standard error lose what has no room, as in a log on a full disk: no job fails because its notes can't be kept."""
    stream = sys.stderr
    if isinstance(stream, io.TextIOWrapper):
        raw = _LossyFile(stream.fileno(), "w", closefd=False)
        sys.stderr = io.TextIOWrapper(
            io.BufferedWriter(raw), encoding=stream.encoding, errors=stream.errors, line_buffering=True
        )
