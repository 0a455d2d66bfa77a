"""What CI does before its tests: no tool whose absence would skip some of them may be missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vaultstream.doctor.signing import examine_signing

pytestmark = pytest.mark.unit

TOOLS = Path(__file__).parents[2] / ".ci" / "tools"
NEEDED = ("go", "node", "openssl")


def check(programs: Path, *names: str) -> subprocess.CompletedProcess[str]:
    """Runs the check on a machine that has these programs alone."""
    for name in names:
        program = programs / name
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    return subprocess.run(
        ["/bin/sh", TOOLS],
        env={"PATH": str(programs)},
        capture_output=True,
        text=True,
        check=False,
        timeout=10,
    )


def test_all_tools_are_enough(tmp_path: Path) -> None:
    assert check(tmp_path, *NEEDED).returncode == 0


@pytest.mark.parametrize("missing", NEEDED)
def test_a_missing_tool_is_named_and_fails(tmp_path: Path, missing: str) -> None:
    ran = check(tmp_path, *(name for name in NEEDED if name != missing))
    assert ran.returncode == 1
    assert f"Missing on the PATH: {missing}." in ran.stderr


def test_a_run_says_what_signs_on_its_machine_before_its_last_line(tmp_path: Path) -> None:
    """Else nobody sees that the tests of the native extension were skipped: it is built on any x86-64."""
    programs = {
        "hack/native": "",
        "hack/python": f'exec {sys.executable} "$@"',
        ".ci/tools": "",
        ".venv/bin/python": f'exec {sys.executable} "$@"',
        "programs/make": "echo '==== 7 passed in 1.23s ===='",
        "programs/id": "echo 1000",  # it installs no packages
    }
    for name, line in programs.items():
        program = tmp_path / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(f"#!/bin/sh\n{line}\n")
        program.chmod(0o755)
    shutil.copy(TOOLS.with_name("run"), tmp_path / ".ci/run")
    ran = subprocess.run(
        [tmp_path / ".ci/run"],
        env={**os.environ, "PATH": f"{tmp_path / 'programs'}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-2:] == [examine_signing().message, "==== 7 passed in 1.23s ===="]
