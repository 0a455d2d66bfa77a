"""Simulates a kubelet: reports pods as running to the API server, without a node or a container."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from kube.client import RefusedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from kube.client import Client

ROUND_SECONDS = 0.25
_OURS = "labelSelector=app.kubernetes.io%2Fmanaged-by%3Dvaultstream-operator"


@asynccontextmanager
async def running_pods(client: Client, namespace: str) -> AsyncIterator[None]:
    """Reports each pod of the operator's children as running and ready soon after it was created."""
    task = asyncio.create_task(_keep_running(client, f"/api/v1/namespaces/{namespace}/pods"))
    try:
        yield
    finally:
        assert not task.done(), task.exception()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _keep_running(client: Client, pods: str) -> None:
    while True:
        found = (await client.call("GET", f"{pods}?{_OURS}&resourceVersion=0"))["items"]
        for pod in found:
            if (pod.get("status") or {}).get("phase") == "Pending":
                with suppress(
                    RefusedError
                ):  # the pod changed or was deleted in between: the next round sees it
                    name = pod["metadata"]["name"]
                    await client.call("PUT", f"{pods}/{name}/status", pod | {"status": _running()})
        await asyncio.sleep(ROUND_SECONDS)


def _running() -> dict[str, Any]:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    conditions = ("PodScheduled", "Initialized", "ContainersReady", "Ready")
    container = {
        "name": "worker",
        "ready": True,
        "started": True,
        "restartCount": 0,
        "image": "i",
        "imageID": "",
        "state": {"running": {"startedAt": now}},
    }
    return {
        "phase": "Running",
        "startTime": now,
        "conditions": [{"type": kind, "status": "True", "lastTransitionTime": now} for kind in conditions],
        "containerStatuses": [container],
    }
