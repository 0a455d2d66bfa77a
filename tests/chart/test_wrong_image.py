"""A release whose image can't be pulled: what its administrator sees, and what goes on as before."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest

from kube.apiserver import ApiServer
from support.chart import CHART, helm

pytestmark = pytest.mark.cluster

ANSWER = 'Failed to pull image "vaultstream:wrong": not found'
SECONDS = "4s"


@pytest.fixture
async def namespace(api_server: ApiServer) -> AsyncIterator[str]:
    name = f"image-{uuid4().hex[:8]}"
    await api_server.client.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    yield name
    helm("uninstall", "vaultstream", "--ignore-not-found", "--no-hooks", *place(api_server, name))
    await api_server.client.call("DELETE", f"/api/v1/namespaces/{name}")


def place(server: ApiServer, namespace: str) -> tuple[str, ...]:
    return ("--namespace", namespace, "--kubeconfig", str(server.kubeconfig))


def install(server: ApiServer, namespace: str, tag: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    given = (
        "--set",
        "services=external",
        "--set",
        "networkPolicy.enabled=false",
        "--set",
        f"image.tag={tag}",
    )
    return helm(
        "upgrade",
        "--install",
        "vaultstream",
        CHART,
        *place(server, namespace),
        *given,
        *arguments,
        check=False,
    )


def documented_commands(namespace: str) -> list[list[str]]:
    """The commands of the README for this case, for another namespace."""
    text = (CHART / "README.md").read_text()
    [block] = [each for each in re.findall(r"```bash\n(.*?)```", text, re.DOTALL) if "component=kek" in each]
    lines = block.replace("--namespace vaultstream", f"--namespace {namespace}").splitlines()
    return [shlex.split(line) for line in lines]


async def cannot_pull(server: ApiServer, namespace: str) -> None:
    """Reports what a kubelet reports of the pod whose image can't be pulled."""
    [pod] = (await server.client.call("GET", f"/api/v1/namespaces/{namespace}/pods"))["items"]
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": ANSWER}}
    states = [
        {"name": each["name"], "image": each["image"], "imageID": "", "ready": False, "restartCount": 0}
        | {"state": waiting}
        for each in pod["spec"]["containers"]
    ]
    del pod["metadata"]["resourceVersion"]
    pod["status"] = {"phase": "Pending", "containerStatuses": states}
    path = f"/api/v1/namespaces/{namespace}"
    await server.client.call("PUT", f"{path}/pods/{pod['metadata']['name']}/status", pod)
    names = {key: pod["metadata"][key] for key in ("name", "namespace", "uid")}
    event: dict[str, Any] = {
        "metadata": {"generateName": "pull-", "namespace": namespace},
        "involvedObject": {"kind": "Pod", "apiVersion": "v1"} | names,
        "reason": "Failed",
        "message": ANSWER,
        "type": "Warning",
    }
    await server.client.call("POST", f"{path}/events", event)


async def test_the_pod_that_shows_why_is_kept_and_the_documented_commands_find_it(
    api_server: ApiServer, namespace: str
) -> None:
    done = install(api_server, namespace, "wrong", "--timeout", SECONDS)
    assert done.returncode != 0
    assert f"Job/{namespace}/vaultstream-kek" in done.stderr
    await cannot_pull(api_server, namespace)
    shown = []
    for program, *words in documented_commands(namespace):
        assert program == "kubectl"
        shown.append((await api_server.kubectl(*words)).stdout)
    assert "ImagePullBackOff" in shown[0]
    assert ANSWER in shown[1]


async def test_an_upgrade_to_an_image_that_can_not_be_pulled_leaves_the_operator_as_it_is(
    api_server: ApiServer, namespace: str
) -> None:
    def images(found: dict[str, Any]) -> set[str]:
        spec = found["spec"]["template"]["spec"]
        return {each["image"] for each in [*spec["containers"], *spec["initContainers"]]}

    first = install(api_server, namespace, "right", "--no-hooks", "--wait=false")
    assert first.returncode == 0, first.stderr
    deployment = f"/apis/apps/v1/namespaces/{namespace}/deployments/vaultstream-operator"
    assert images(await api_server.client.call("GET", deployment)) == {"vaultstream:right"}
    assert install(api_server, namespace, "wrong", "--timeout", SECONDS).returncode != 0
    assert images(await api_server.client.call("GET", deployment)) == {"vaultstream:right"}
