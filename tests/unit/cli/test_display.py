"""What a run shows of itself, and what of it stays."""

from __future__ import annotations

import io
from contextlib import suppress
from dataclasses import replace

import pytest

from support.stored import RUNNING, UNSTARTED
from vaultstream.api import JobState
from vaultstream.local.runner import RunState
from vaultstream.store.sessions import WorkerSession
from vaultstream_cli import display
from vaultstream_cli.display import RunDisplay, describe_run, others_text
from vaultstream_cli.output import _VisibleConsole

pytestmark = pytest.mark.unit

AT_WORK = RunState(
    job=RUNNING,
    progress=replace(UNSTARTED, records=1000, signed=500, records_left=500, batches_left=5, planned=True),
    signers=2,
    rate=100.0,
    eta_seconds=5.0,
    trouble=None,
)
ENDED = replace(
    AT_WORK,
    job=replace(RUNNING, state=JobState.COMPLETE),
    progress=replace(AT_WORK.progress, signed=1000, records_left=0, batches_left=0, ended=True),
)


def other(number: int) -> WorkerSession:
    return WorkerSession("signing", 1, "here", number, 1, "sign")


def test_a_run_is_described_with_its_time_and_the_rate_of_each_signer() -> None:
    assert describe_run(AT_WORK, 61.0) == (
        "500 of 1,000 records (50%) · lag 5 batches · 100 records/s, 50 per signer · 2 signers · 1 min 01 s · ETA 5.0 s"
    )
    assert describe_run(ENDED, 10.0) == (
        "1,000 of 1,000 records (100%) · 100 records/s, 50 per signer · 2 signers · 10.0 s"
    )


def test_before_records_are_counted_it_plans() -> None:
    planning = replace(AT_WORK, job=replace(RUNNING, planned=False), progress=UNSTARTED)
    assert describe_run(planning) == "planning batches · 2 signers"


def test_workers_of_another_command_are_named() -> None:
    assert others_text(AT_WORK) == ""
    said = others_text(replace(AT_WORK, others=tuple(other(n) for n in range(1, 8))))
    assert "another command works on this job too" in said
    assert "signing here:1" in said
    assert "and 3 more" in said


def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    screen = io.StringIO()
    console = _VisibleConsole(stderr=True, width=80)
    console.file, console._force_terminal = screen, True
    monkeypatch.setattr(display, "err", console)
    return screen


def test_the_display_stays_on_the_screen_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(monkeypatch)
    with RunDisplay() as shown:
        shown.show(AT_WORK)
        shown.show(ENDED)
    last = screen.getvalue().rpartition("\x1b[1A")[2]
    assert "1,000 of 1,000 records (100%)" in screen.getvalue()
    assert "\x1b[2K" not in last.partition("\n")[2], "nothing is erased after the last drawing"


def test_an_interrupted_display_promises_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(monkeypatch)
    with suppress(KeyboardInterrupt), RunDisplay() as shown:
        shown.show(AT_WORK)
        raise KeyboardInterrupt
    last = screen.getvalue().rpartition("500 of 1,000")[2]
    assert "stopped" in last
    assert "ETA" not in last


def test_without_a_terminal_another_command_is_told_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []
    monkeypatch.setattr(display, "note", said.append)
    with RunDisplay() as shown:
        for _ in range(3):
            shown.show(replace(AT_WORK, others=(other(7),)))
    assert sum("another command" in line for line in said) == 1
