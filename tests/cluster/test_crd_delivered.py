"""The manifests in crds/ and deploy/ work with `kubectl apply` as they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

if TYPE_CHECKING:
    from kube.apiserver import ApiServer

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).parents[2]
CRD = ROOT / "crds" / "signingjobs.vaultstream.dev.yaml"


async def test_the_crd_can_be_applied_twice(api_server: ApiServer) -> None:
    for _ in range(2):
        await api_server.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(CRD))
    await api_server.kubectl("wait", "--for=condition=Established", "-f", str(CRD), "--timeout=30s")


async def test_the_rbac_manifest_can_be_applied_from_scratch(api_server: ApiServer) -> None:
    name = f"fresh-{uuid4().hex[:12]}"
    text = (ROOT / "deploy" / "operator-rbac.yaml").read_text()
    text = text.replace("vaultstream-operator", f"{name}-operator")
    text = text.replace("name: vaultstream\n", f"name: {name}\n")
    text = text.replace("namespace: vaultstream\n", f"namespace: {name}\n")
    try:
        for _ in range(2):
            await api_server.kubectl("apply", "-f", "-", stdin=text)
        found = await api_server.kubectl("get", "-f", "-", "-o", "json", stdin=text)
        kinds = [item["kind"] for item in json.loads(found.stdout)["items"]]
        assert kinds == [
            "Namespace",
            "ServiceAccount",
            "ClusterRole",
            "ClusterRoleBinding",
            "Role",
            "RoleBinding",
        ]
        account = f"system:serviceaccount:{name}:{name}-operator"
        asked = await api_server.kubectl(
            "auth", "can-i", "patch", "signingjobs.vaultstream.dev/status", "--as", account, check=False
        )
        assert asked.stdout.strip() == "yes"
    finally:
        await api_server.kubectl("delete", "--wait=false", "-f", "-", stdin=text)
