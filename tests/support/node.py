"""Programs in JavaScript, run by Node: code that is not ours checks what we write."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest


def find_node() -> str | None:
    """Returns the path of Node; None: it is not installed."""
    return shutil.which("node")


def run_node(program: str, given: Any) -> Any:
    """Runs a program of this folder with `given` as JSON on its standard input; returns the JSON that it prints."""
    node = find_node()
    if node is None:
        pytest.skip("Node is not installed")
    ran = subprocess.run(
        [node, "--no-warnings", str(Path(__file__).with_name(program))],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)
