"""What is wrong with an option is said in words of a user; no width splits a number of a progress bar."""

from __future__ import annotations

import io
import signal

import pytest
from rich.console import Console

from vaultstream_cli import progress
from vaultstream_cli.commands.debug import exit_code_of
from vaultstream_cli.main import main
from vaultstream_cli.progress import show_progress

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("form", [(), ("--json",)])
@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (("--records", "abc"), "it must be a whole number"),
        (("--records", "0"), "it must be at least 1"),
        (("--batch-size", "20001"), "it must be at most 20000"),
        (("--limit-seconds", "abc"), "it must be a number"),
    ],
)
def test_a_value_that_an_option_does_not_take_is_told_what_it_must_be(
    arguments: tuple[str, ...],
    wanted: str,
    form: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.argv", ["vaultstream", "bench", *arguments, *form])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert wanted in " ".join(capfd.readouterr().err.split())


@pytest.mark.parametrize(
    ("code", "wanted"), [(0, 0), (3, 3), (-signal.SIGPIPE, 0), (-signal.SIGTERM, 143), (-signal.SIGKILL, 137)]
)
def test_a_process_that_a_signal_ended_has_the_exit_code_of_a_shell_and_none_if_its_reader_left(
    code: int, wanted: int
) -> None:
    assert exit_code_of(code) == wanted


def test_no_number_of_a_progress_bar_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Console(file=io.StringIO(), force_terminal=True, width=42, color_system=None)
    monkeypatch.setattr(progress, "err", terminal)
    with show_progress("verifying") as show:
        show(5_000_001, 10_000_000)
    shown = terminal.file.getvalue()  # type: ignore[attr-defined]
    assert "5000001/10000000" in shown
    assert "…" not in shown
