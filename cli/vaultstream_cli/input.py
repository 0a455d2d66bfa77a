"""Standard input as a file: readers of records need its size, and some its end first."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import tempfile
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from vaultstream.errors import Interrupted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

STANDARD_INPUT = Path("-")
"""The value of an argument that means standard input."""

_DESCRIPTOR_0 = {Path("/dev/stdin"), Path("/dev/fd/0"), Path("/proc/self/fd/0")}

_BYTES = 1 << 20
_SECONDS = 0.25
"""How long a cancellation waits for an input that is silent."""


def is_standard_input(path: Path) -> bool:
    """Whether a path means standard input, whose name is no place beside which a file may be written."""
    return path == STANDARD_INPUT or path in _DESCRIPTOR_0


@asynccontextmanager
async def spooled_input(name: str) -> AsyncIterator[Path]:
    """Copies standard input to a temporary file, which only this user can read, and yields its path; removes it at the end.

    Args:
        name: of the file.
    """
    with tempfile.TemporaryDirectory(prefix="vaultstream-") as folder:
        path = Path(folder) / name
        with path.open("wb") as file:
            while (data := await asyncio.to_thread(_read)) != b"":
                if data:
                    await asyncio.to_thread(file.write, data)
        yield path


@contextmanager
def interruptible() -> Iterator[None]:
    """Lets Ctrl-C and SIGTERM end what blocks the event loop, such as reading a pipe or a simulation; its handlers would not see them.

    Raises:
        Interrupted: one of them came.
    """
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, _interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(*_: object) -> None:
    raise Interrupted("Interrupted; nothing was changed.")


def _read() -> bytes | None:
    """Returns the next bytes, none at the end; None if there are none yet."""
    ready, _, _ = select.select([0], [], [], _SECONDS)
    return os.read(0, _BYTES) if ready else None
