"""The command in a pipe, and under a shell that completes its words."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from support.command_tree import leaves
from support.forking import run_command
from vaultstream.visible import visible
from vaultstream_cli.main import load
from vaultstream_cli.root import app

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.unit

COMMAND = [sys.executable, "-m", "vaultstream_cli"]


def run_unread(folder: Path, *arguments: str, unread: str) -> subprocess.CompletedProcess[bytes]:
    """Runs the command with a pipe for an output whose reader has left."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        outputs = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, unread: writing}
        return subprocess.run(
            [*COMMAND, *arguments], cwd=folder, env=clean(), check=False, timeout=60, **outputs
        )
    finally:
        os.close(writing)


def clean() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith(("VAULTSTREAM_", "DATABASE_URL"))}


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("--version",),
        ("lint", "many.csv"),
        ("completion", "bash"),
        ("doctor", "--no-start"),
        ("debug", "logs", "--no-follow", "--data-dir", "data"),
    ],
)
def test_a_reader_that_leaves_is_no_failure(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    rejected = "".join(f",{n}\n" for n in range(100))
    (tmp_path / "many.csv").write_text(f"id,a\n{rejected}")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "nats.log").write_text("a line\n")
    ran = run_unread(tmp_path, *arguments, unread="stdout")
    assert (ran.returncode, ran.stderr) == (0, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")  # noqa: PTH110
@pytest.mark.parametrize(
    "words", [("--help",), ("jobs", "--help"), ("--version",), ("completion", "zsh"), ("jobs", "--json")]
)
def test_an_output_that_is_full_ends_each_command_with_a_sentence(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        ran = subprocess.run(
            [*COMMAND, *words],
            cwd=tmp_path,
            env=clean(),
            check=False,
            timeout=60,
            stdout=full,
            stderr=subprocess.PIPE,
        )
    assert (ran.returncode, b"Traceback" in ran.stderr) == (1, False), ran.stderr
    assert b"Standard output can't be written: No space left on device" in ran.stderr


def test_results_are_printed_although_nobody_reads_the_notes(tmp_path: Path) -> None:
    ran = run_unread(tmp_path, "jobs", "--json", unread="stderr")
    assert (ran.returncode, ran.stdout) == (0, b"[]\n")
    assert run_unread(tmp_path, "jobs", unread="stderr").returncode == 0, "its only output is a note"
    assert run_unread(tmp_path, "status", "none", unread="stderr").returncode == 2


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_a_script(shell: str) -> None:
    load(None)
    ran = CliRunner().invoke(app, ["completion", shell])
    assert ran.exit_code == 0
    assert "_VAULTSTREAM_COMPLETE" in ran.output


@pytest.mark.parametrize(
    "line", ["run -f ", "import ", "lint fi", "export job --output ", "jobs --data-dir "]
)
def test_a_shell_completes_files_where_one_is_expected(tmp_path: Path, line: str) -> None:
    words = f"vaultstream {line}"
    in_bash = {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}
    others = {"_TYPER_COMPLETE_ARGS": words, "_TYPER_COMPLETE_FISH_ACTION": "is-args"}
    # Each shell names files by itself: bash after no words, zsh by this function, fish after a failure.
    answers = {"bash": (in_bash, 0, ""), "zsh": (others, 0, "_files"), "fish": (others, 1, "")}
    for shell, (asked, code, answer) in answers.items():
        environment = {**os.environ, "_VAULTSTREAM_COMPLETE": f"complete_{shell}", **asked}
        ran = run_command([], cwd=tmp_path, env=environment)
        assert (ran.returncode, ran.stdout.strip()) == (code, answer), shell


def test_no_help_shows_a_mark_of_its_layout() -> None:
    for words, command in leaves():
        text = command.get_help(command.context_class(command, info_name=" ".join(words)))
        assert visible(text, keep="\n") == text, words
        assert "\\b" not in text, words


def test_a_shell_gets_commands_and_options(tmp_path: Path) -> None:
    found = []
    for words, number in (("vaultstream su", "1"), ("vaultstream jobs --w", "2")):
        asked = {"_VAULTSTREAM_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": number}
        ran = subprocess.run(
            COMMAND,
            cwd=tmp_path,
            env={**os.environ, **asked},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        found += ran.stdout.split()
    assert found == ["submit", "suspend", "--wide"]
