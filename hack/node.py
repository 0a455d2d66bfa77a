"""The node of `make kind-up`, for scripts that measure on it: kubectl, and which processes come first."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parent.parent
CACHE = Path(os.environ.get("CLUSTER_CACHE") or Path.home() / ".cache/vaultstream-cluster")
STATE = Path(os.environ.get("CLUSTER_STATE") or "/var/lib/vaultstream-cluster")
KUBECTL = shutil.which("kubectl") or str(CACHE / "bin/kubectl")
CONTEXT = ["--kubeconfig", str(STATE / "control-plane/admin.kubeconfig"), "--namespace", "vaultstream"]
DAEMONS = -19
"""Niceness of the node's daemons, which weigh more than its pods: those must not keep the kubelet from seeing what they do."""
WEIGHTS = {"cpu.shares": "10000", "cpu.weight": "1000"}
"""Of all pods together, that of a process with a niceness of about -10, in control groups of version 1 and 2."""


def kubectl(*words: str, stdin: str | None = None) -> str:
    """Runs kubectl in the trial's namespace; returns what it printed.

    Raises:
        subprocess.CalledProcessError: it failed; what it said is on stderr.
    """
    ran = subprocess.run(
        [KUBECTL, *CONTEXT, *words], input=stdin, stdout=subprocess.PIPE, text=True, check=True
    )
    return ran.stdout


def prefer(daemons: Callable[[bytes, str], bool]) -> None:
    """Gives daemons of the node precedence over its pods, and pods over other work of this machine, until `make kind-down`. As root.

    Args:
        daemons: whether a process is one of them, by its command line and its control groups.
    """
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if daemons((folder / "cmdline").read_bytes(), (folder / "cgroup").read_text()):
                for task in (folder / "task").iterdir():
                    os.setpriority(os.PRIO_PROCESS, int(task.name), DAEMONS)
        except OSError:
            continue
    for group in (Path("/sys/fs/cgroup/cpu/kubepods/cpu.shares"), Path("/sys/fs/cgroup/kubepods/cpu.weight")):
        if group.exists():
            group.write_text(WEIGHTS[group.name])


def write_between(page: Path, begin: str, text: str, end: str) -> None:
    """Replaces what is between two marks of a page."""
    written = re.sub(
        f"{begin}.*{end}",
        lambda _: f"{begin}\n{text}{end}",
        page.read_text(encoding="utf-8"),
        flags=re.DOTALL,
    )
    page.write_text(written, encoding="utf-8")
