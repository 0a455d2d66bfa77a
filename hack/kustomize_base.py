"""The kustomize base in deploy/kustomize: the chart as helm renders it with the values there, without what is only for Helm."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from kube.binaries import MissingBinaryError, ensure
from kube.commands import run

ROOT = Path(__file__).parents[1]
BASE = ROOT / "deploy" / "kustomize"
RENDERED = BASE / "vaultstream.yaml"

_HEAD = "# Written by `make generate` from charts/vaultstream and values.yaml. Change it in an overlay; see docs/gitops.md.\n"
_ONLY_FOR_HELM = re.compile(
    r"^(# Source: .*| *(helm\.sh/chart: .*|app\.kubernetes\.io/managed-by: Helm))\n", re.MULTILINE
)
_OLDEST_KUBERNETES = "1.30"


def rendered() -> str | None:
    """Returns the content of the base; None without helm and without Go to build it."""
    try:
        program = asyncio.run(ensure(["helm"]))["helm"]
    except MissingBinaryError:
        return None
    named = ("template", "vaultstream", ROOT / "charts" / "vaultstream", "--namespace", "vaultstream")
    given = ("--values", BASE / "values.yaml", "--kube-version", _OLDEST_KUBERNETES)
    text = asyncio.run(run(program, *named, *given)).stdout
    return _HEAD + _ONLY_FOR_HELM.sub("", text)
