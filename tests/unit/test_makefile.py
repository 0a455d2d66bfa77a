"""The build frame: `make` explains itself, passes settings on, and says what is missing."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]


def _run(*command: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs `command` apart from the make that may have started this test."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        command, cwd=cwd, env=inherited | environment, capture_output=True, text=True, check=False, timeout=60
    )


def _program(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o755)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A tree that make takes for installed, with a `vaultstream` that tells how it was called."""
    for name in ("Makefile", ".env.sample", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "constraints", tmp_path / "constraints")
    _program(tmp_path / ".venv/bin/vaultstream", 'echo "$@" batch=$BATCH_SIZE data=$VAULTSTREAM_DATA_DIR')
    (tmp_path / ".venv/bin/python").symlink_to(sys.executable)
    _program(tmp_path / "hack/native")
    for stamp in (".build", ".native", ".runtime"):
        (tmp_path / ".venv" / stamp).touch()
    return tmp_path


def test_help_is_the_default_and_lists_every_target() -> None:
    phony = re.findall(r"^\.PHONY: (.*)", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    targets = set(" ".join(phony).split()) - {"help", "python-gone"}
    shown = _run("make", cwd=ROOT)
    listed = set(re.findall(r"^  ([a-z0-9-]+) +[A-Z].*\.$", shown.stdout, flags=re.MULTILINE))
    assert shown.returncode == 0
    assert listed == targets
    assert {"quick-start", "test", "lint", "logs", "psql", "streams", "clean"} <= listed


def test_help_has_no_color_when_not_on_a_terminal() -> None:
    assert "\033" not in _run("make", "help", cwd=ROOT, TERM="xterm").stdout


@pytest.mark.parametrize(("arguments", "environment"), [(["BATCH_SIZE=50"], {}), ([], {"BATCH_SIZE": "50"})])
def test_a_setting_reaches_the_command(
    installed: Path, arguments: list[str], environment: dict[str, str]
) -> None:
    ran = _run("make", "quick-start", *arguments, cwd=installed, **environment)
    assert ran.returncode == 0, ran.stderr
    assert "quick-start batch=50" in ran.stdout


def test_psql_gets_its_arguments(installed: Path) -> None:
    assert "debug psql batch=" in _run("make", "psql", cwd=installed).stdout
    ran = _run("make", "psql", "ARGS=-At -c 'SELECT 1'", cwd=installed)
    assert "debug psql -- -At -c SELECT 1 batch=" in ran.stdout


def test_env_is_written_for_its_owner_alone_and_never_overwritten(installed: Path) -> None:
    env = installed / ".env"
    assert _run("make", "quick-start", cwd=installed).returncode == 0
    assert env.read_text() == (ROOT / ".env.sample").read_text()
    assert env.stat().st_mode & 0o777 == 0o600

    env.write_text("BATCH_SIZE=7\n")
    (installed / ".env.sample").touch()
    assert _run("make", "quick-start", cwd=installed).returncode == 0
    assert env.read_text() == "BATCH_SIZE=7\n"


def test_clean_data_stops_the_services_before_it_removes_their_data(installed: Path) -> None:
    (installed / ".vaultstream").mkdir()
    ran = _run("make", "clean-data", cwd=installed, VAULTSTREAM_DATA_DIR="elsewhere")
    assert "debug stop batch= data=.vaultstream" in ran.stdout
    assert not (installed / ".vaultstream").exists()


def test_clean_data_keeps_the_data_of_services_that_do_not_stop(installed: Path) -> None:
    (installed / ".vaultstream").mkdir()
    _program(installed / ".venv/bin/vaultstream", "exit 5")
    assert _run("make", "clean-data", cwd=installed).returncode != 0
    assert (installed / ".vaultstream").exists()


def test_a_failed_quick_start_fails_make(installed: Path) -> None:
    _program(installed / ".venv/bin/vaultstream", "exit 3")
    assert _run("make", "quick-start", cwd=installed).returncode != 0


def test_an_old_python_is_refused_with_the_next_step(tmp_path: Path) -> None:
    _program(tmp_path / "old", "exit 1")
    ran = _run(str(ROOT / "hack/python"), cwd=tmp_path, PYTHON=str(tmp_path / "old"))
    assert ran.returncode == 1
    assert "is not Python 3.11 or newer" in ran.stderr
    assert "next:" in ran.stderr


def test_a_python_without_venv_is_refused_with_the_next_step(tmp_path: Path) -> None:
    _program(tmp_path / "bare", 'case "$2" in *ensurepip*) exit 1 ;; esac', f'exec "{sys.executable}" "$@"')
    ran = _run(str(ROOT / "hack/python"), cwd=tmp_path, PYTHON=str(tmp_path / "bare"))
    assert ran.returncode == 1
    assert "lacks the modules venv and ensurepip" in ran.stderr
    assert f"apt install python3.{sys.version_info.minor}-venv" in ran.stderr


def test_a_python_that_does_not_run_is_skipped(tmp_path: Path) -> None:
    _program(tmp_path / "bin/python3", "exit 127")
    _program(tmp_path / "bin/python3.14", "exit 127")
    (tmp_path / "bin/python3.13").symlink_to(sys.executable)
    ran = _run(str(ROOT / "hack/python"), cwd=tmp_path, PATH=f"{tmp_path}/bin:/usr/bin:/bin", PYTHON="")
    assert ran.stdout.strip() == f"{tmp_path}/bin/python3.13"
