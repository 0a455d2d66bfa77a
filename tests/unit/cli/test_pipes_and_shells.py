"""The command in a pipe, and under a shell that completes its words."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from vaultstream_cli.app import app
from vaultstream_cli.main import load

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.unit

COMMAND = [sys.executable, "-m", "vaultstream_cli"]


@pytest.mark.parametrize(
    "arguments", [("--help",), ("--version",), ("lint", "many.csv"), ("completion", "bash")]
)
def test_a_reader_that_leaves_is_no_failure(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    rejected = "".join(f",{n}\n" for n in range(100))
    (tmp_path / "many.csv").write_text(f"id,a\n{rejected}")
    reading, writing = os.pipe()
    os.close(reading)
    try:
        ran = subprocess.run(
            [*COMMAND, *arguments],
            cwd=tmp_path,
            stdout=writing,
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
        )
    finally:
        os.close(writing)
    assert (ran.returncode, ran.stderr) == (0, b"")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_a_script(shell: str) -> None:
    load(None)
    ran = CliRunner().invoke(app, ["completion", shell])
    assert ran.exit_code == 0
    assert "_VAULTSTREAM_COMPLETE" in ran.output


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
