"""Writes the kustomize base in deploy/kustomize: the chart as helm renders it with the values there, without what is only for Helm.

With --check, reports whether it is up to date.
"""

from __future__ import annotations

import asyncio
import re
import sys
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


def main() -> None:
    """Writes the base, or with --check exits with 1 if it is not up to date."""
    text = rendered()
    if text is None:
        print("Without helm, and Go to build it, deploy/kustomize is left as it is.")  # noqa: T201 - its output
    elif "--check" not in sys.argv[1:]:
        RENDERED.write_text(text, encoding="utf-8")
    elif RENDERED.read_text(encoding="utf-8") != text:
        place = RENDERED.relative_to(ROOT)
        sys.exit(f"error: {place} differs from the chart.\n  try: make generate")


if __name__ == "__main__":
    main()
