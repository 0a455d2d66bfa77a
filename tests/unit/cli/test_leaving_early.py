"""A process that gets SIGTERM while it starts exits, also as the first process of a container."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vaultstream.errors import ExitCode

pytestmark = pytest.mark.unit

FIRST = ("unshare", "--pid", "--fork", "--kill-child")
needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None, reason="a PID namespace needs root and unshare"
)


def worker_of(process: subprocess.Popen[str], *, inner: bool) -> int:
    """The worker's process id, once it handles SIGTERM."""
    until = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < until:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        if not inner or children:
            pid = int(children[0]) if inner else process.pid
            status = Path(f"/proc/{pid}/status").read_text()
            caught = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
            if int(caught, 16) >> (signal.SIGTERM - 1) & 1:
                return pid
        time.sleep(0.001)
    pytest.fail(f"it never handled SIGTERM: {process.communicate()}")


@pytest.mark.parametrize(
    "before", [pytest.param((), id="any"), pytest.param(FIRST, id="first", marks=needs_root)]
)
@pytest.mark.parametrize(
    "words",
    [
        ("vaultstream_cli", "worker", "signing", "receipts"),
        ("vaultstream", "worker", "signing", "receipts"),
        ("vaultstream_cli", "operator"),
    ],
    ids=["worker", "worker of the engine", "operator"],
)
def test_a_process_that_gets_sigterm_while_it_starts_exits(
    tmp_path: Path, before: tuple[str, ...], words: tuple[str, ...]
) -> None:
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("VAULTSTREAM_", "DATABASE_URL"))
    }
    process = subprocess.Popen(
        [*before, sys.executable, "-m", *words],
        cwd=tmp_path,
        env=kept,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.kill(worker_of(process, inner=bool(before)), signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == ExitCode.INTERRUPTED, (
        said
    )  # and not that its settings are missing, as it later would
    assert "Traceback" not in said
