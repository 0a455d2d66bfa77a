"""Commands that read a file or a pipe end at a signal, although nothing comes."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import termios
from typing import TYPE_CHECKING

import pytest

from support.waiting import eventually

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("words", [("run", "-f"), ("submit", "-f"), ("lint",)])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_the_reading_of_a_silent_pipe(
    tmp_path: Path, words: tuple[str, ...], number: signal.Signals
) -> None:
    reading, writing = os.pipe()
    child = subprocess.Popen(  # noqa: ASYNC220 - it returns at once
        [sys.executable, "-m", "vaultstream_cli", *words, "-"],
        stdin=reading,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
    )

    def reads() -> bool:
        return fcntl.ioctl(reading, termios.FIONREAD, bytes(4)) == bytes(4)

    try:
        os.write(writing, b"a")
        await eventually(reads)
        child.send_signal(number)
        _, err = child.communicate(timeout=30)
        assert (child.returncode, b"Interrupted" in err, b"Traceback" in err) == (130, True, False)
    finally:
        child.kill()
        os.close(reading)
        os.close(writing)
