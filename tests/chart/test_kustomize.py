"""The kustomize base: the overlay sets the image everywhere, and an API server takes all of it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import kustomize_base
from kube import binaries
from kube.apiserver import ApiServer
from support.chart import ROOT
from support.waiting import eventually

BASE = ROOT / "deploy" / "kustomize"
OVERLAY = ROOT / "examples" / "production" / "kustomize"
IMAGE = "registry.example.com/vaultstream:0.1.0"
NAMESPACE = "vaultstream"


def build(folder: Path) -> list[dict[str, Any]]:
    kubectl = binaries.find("kubectl", pinned=True)
    assert kubectl, "kubectl is built before the tests start"
    done = subprocess.run([kubectl, "kustomize", folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def texts(value: Any) -> Iterator[str]:
    """Yields every text in an object."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from texts(each)


@pytest.mark.unit
def test_the_base_is_the_chart_as_helm_renders_it() -> None:
    text = kustomize_base.rendered()
    assert text == kustomize_base.RENDERED.read_text()
    assert "helm.sh" not in text
    assert "managed-by: Helm" not in text


@pytest.mark.unit
def test_the_overlay_sets_the_image_in_every_place() -> None:
    def images(folder: Path) -> list[str]:
        found = [text for manifest in build(folder) for text in texts(manifest)]
        return sorted(text.strip("'") for text in found if "vaultstream:0.1.0" in text)

    base = images(BASE)
    assert len(base) >= 4
    assert images(OVERLAY) == [IMAGE] * len(base)


@pytest.mark.cluster
async def test_an_api_server_takes_the_overlay_and_starts_the_operators(api_server: ApiServer) -> None:
    words = ("apply", "--server-side", "--kustomize", str(OVERLAY))
    await api_server.kubectl(*words)
    again = (await api_server.kubectl(*words)).stdout
    assert "serverside-applied" in again
    pods = f"/api/v1/namespaces/{NAMESPACE}/pods"

    async def started() -> bool:
        found = (await api_server.client.call("GET", pods))["items"]
        return [pod["spec"]["containers"][0]["image"] for pod in found] == [IMAGE] * 2

    await eventually(started, what="two operators under the Pod Security level restricted")
    await api_server.kubectl("delete", "--kustomize", str(OVERLAY), "--wait=false")
