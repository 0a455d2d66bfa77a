"""A second release in a cluster: it is told whose the definition is, and installed without it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from support.chart import CHART, helm

if TYPE_CHECKING:
    import subprocess

    from kube.apiserver import ApiServer

pytestmark = pytest.mark.cluster

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
CRD = f"{DEFINITIONS}/signingjobs.vaultstream.dev"


async def test_a_second_release_is_refused_with_the_way_out_unless_it_leaves_the_definition(
    api_server: ApiServer,
) -> None:
    client, namespace = api_server.client, f"second-{uuid4().hex[:8]}"
    await client.call("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})

    def install(release: str, *given: str) -> subprocess.CompletedProcess[str]:
        place = (
            "--namespace",
            namespace,
            "--kubeconfig",
            str(api_server.kubeconfig),
            "--no-hooks",
            "--wait=false",
        )
        return helm("upgrade", "--install", release, CHART, *place, *given, check=False)

    first = install("first", "--set", "services=external", "--set", "networkPolicy.enabled=false")
    assert first.returncode == 0, first.stderr
    given = ("--set", "services=external", "--set", "networkPolicy.enabled=false")
    try:
        refused = install("other", *given)
        assert refused.returncode != 0
        assert f"belongs to the release first in namespace {namespace}" in refused.stderr
        assert "Set crds.create=false" in refused.stderr
        assert f"meta.helm.sh/release-name=other meta.helm.sh/release-namespace={namespace}" in refused.stderr
        alone = install("other", *given, "--set", "crds.create=false")
        assert alone.returncode == 0, alone.stderr
        again = install("first", *given)
        assert again.returncode == 0, again.stderr
        await client.call("PATCH", CRD, {"metadata": {"annotations": {"meta.helm.sh/release-name": None}}})
        assert "was not installed by Helm" in install("other", *given).stderr
    finally:
        for release in ("first", "other"):
            helm(
                "uninstall",
                release,
                "--namespace",
                namespace,
                "--kubeconfig",
                str(api_server.kubeconfig),
                "--no-hooks",
                "--ignore-not-found",
            )
        await client.call("DELETE", CRD)
        await client.call("DELETE", f"/api/v1/namespaces/{namespace}")
