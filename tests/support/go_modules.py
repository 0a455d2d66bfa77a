"""The sources of Go modules that tests read, each pinned by a go.mod and go.sum under hack/kube/tools."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

_TOOLS = Path(__file__).parents[2] / "hack" / "kube" / "tools"


def sources(name: str, module: str) -> Path:
    """Returns the folder of a module's sources, downloaded and checked against the go.sum of tools/`name` if needed."""
    done = subprocess.run(
        ["go", "mod", "download", "-json", module],
        cwd=_TOOLS / name,
        env=os.environ | {"GOFLAGS": "-mod=readonly", "GOWORK": "off"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return Path(json.loads(done.stdout)["Dir"])
