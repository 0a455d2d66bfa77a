"""The chart as helm renders it, for tests."""

from __future__ import annotations

import subprocess
from base64 import b64decode
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from kube import binaries

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "vaultstream"
NAMESPACE = "signing"

Manifest = dict[str, Any]


def helm(*arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Runs helm, which the tests' conftest builds first."""
    program = binaries.find("helm")
    assert program, "helm is built before the tests start"
    words = [str(word) for word in (program, *arguments)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done


@dataclass(frozen=True)
class Rendered:
    """The objects of a release."""

    manifests: list[Manifest]

    def of(self, kind: str) -> list[Manifest]:
        return [manifest for manifest in self.manifests if manifest["kind"] == kind]

    def one(self, kind: str, name: str, namespace: str = NAMESPACE) -> Manifest:
        found = [
            manifest
            for manifest in self.of(kind)
            if (manifest["metadata"]["name"], manifest["metadata"].get("namespace", namespace))
            == (name, namespace)
        ]
        assert len(found) == 1, f"{len(found)} of {kind} {namespace}/{name}"
        return found[0]

    def secret(self, name: str, namespace: str = NAMESPACE) -> dict[str, str]:
        """The values of a Secret, as text."""
        data = self.one("Secret", name, namespace)["data"]
        return {key: b64decode(value).decode() for key, value in data.items()}


def render(*arguments: str | Path) -> Rendered:
    """Renders the chart as the release `vaultstream`, without access to a cluster."""
    text = helm("template", "vaultstream", CHART, "--namespace", NAMESPACE, *arguments).stdout
    return Rendered([manifest for manifest in yaml.safe_load_all(text) if manifest])
