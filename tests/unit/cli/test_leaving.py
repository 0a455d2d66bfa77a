"""What ends a command, and what it may find closed when it begins."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys

import pytest

from vaultstream.errors import ExitCode
from vaultstream_cli.app import execute
from vaultstream_cli.main import interrupt_early

pytestmark = pytest.mark.unit


async def hung_up(_: object) -> None:
    os.kill(os.getpid(), signal.SIGHUP)
    await asyncio.sleep(0.2)


@pytest.fixture
def _as_before() -> object:
    before = signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("_as_before")
def test_a_closed_terminal_interrupts_a_command_like_sigterm() -> None:
    assert execute({}, hung_up, worker=False) == ExitCode.INTERRUPTED


@pytest.mark.usefixtures("_as_before")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_command_that_still_loads_is_interrupted_and_one_that_serves_is_not(number: signal.Signals) -> None:
    """The default action would end it with another exit code and without a word."""
    before = signal.signal(number, signal.SIG_DFL)
    try:
        interrupt_early(serving=True)
        assert signal.getsignal(number) is signal.SIG_DFL
        interrupt_early(serving=False)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
        signal.signal(number, signal.SIG_IGN)
        interrupt_early(serving=False)
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        for each in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, signal.SIG_DFL)
        signal.signal(number, before)


@pytest.mark.usefixtures("_as_before")
def test_a_command_under_nohup_outlives_its_terminal() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    assert execute({}, hung_up, worker=False) == ExitCode.OK


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&-", "<&- >&- 2>&-"])
def test_a_closed_descriptor_is_like_the_null_device(closed: str, tmp_path: object) -> None:
    program = f"{sys.executable} -m vaultstream_cli jobs --data-dir {tmp_path}/none {closed}"
    ran = subprocess.run(["sh", "-c", program], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "Traceback" not in ran.stderr
