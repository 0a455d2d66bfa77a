"""What CI does before its tests: no tool whose absence would skip some of them may be missing."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

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
