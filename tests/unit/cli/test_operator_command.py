"""`vaultstream operator` where its extra is not installed, or its settings are missing, says what to do."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from vaultstream.errors import ExitCode
from vaultstream.last_words import read_last_words

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.unit

_WITHOUT = "import sys; sys.modules['{name}'] = None; from vaultstream_cli.main import main; main()"


def run(folder: Path, code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    ours = ("VAULTSTREAM_", "DATABASE_URL", "KUBE")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    return subprocess.run(
        [sys.executable, "-c", code, "operator"],
        cwd=folder,
        env=kept | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def last_words(ended: subprocess.CompletedProcess[str]) -> str:
    """What the last line of its output says, which is JSON like all others where there is no terminal."""
    words = read_last_words(ended.stdout.splitlines()[-1:])
    assert words is not None, (ended.stdout, ended.stderr)
    assert words.code == ended.returncode
    return f"{words.message} {words.hint}"


@pytest.mark.parametrize("name", ["kopf", "kubernetes"])
def test_a_missing_extra_is_reported_with_the_way_to_install_it(tmp_path: Path, name: str) -> None:
    ended = run(tmp_path, _WITHOUT.format(name=name))
    assert ended.returncode == ExitCode.USAGE
    assert f"needs {name}" in last_words(ended)
    assert "pip install 'vaultstream[operator]'" in last_words(ended)


def test_a_missing_setting_is_named(tmp_path: Path) -> None:
    ended = run(tmp_path, "from vaultstream_cli.main import main; main()")
    assert ended.returncode == ExitCode.USAGE
    assert "DATABASE_URL" in last_words(ended)


def test_missing_credentials_for_an_api_server_are_reported(tmp_path: Path) -> None:
    given = {
        "DATABASE_URL": "postgresql://u:secret-word@127.0.0.1:1/d",
        "VAULTSTREAM_NATS_URL": "nats://127.0.0.1:1",
        "VAULTSTREAM_OPERATOR_PORT": "0",
    }
    ended = run(tmp_path, "from vaultstream_cli.main import main; main()", **given)
    assert ended.returncode == ExitCode.USAGE
    assert "KUBECONFIG" in last_words(ended)
    assert "secret-word" not in ended.stdout + ended.stderr
