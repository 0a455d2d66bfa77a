"""Simulates the pods of the chart's hooks, which helm waits for, without a node: their commands really run here."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.command import Command

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kube.apiserver import ApiServer

ROUND_SECONDS = 0.2
_HOOKS = "labelSelector=app.kubernetes.io%2Fcomponent%3Dkek"


@contextmanager
def played_hooks(server: ApiServer, namespace: str) -> Iterator[list[str]]:
    """Runs each pending pod of a hook in a namespace as its service account, and reports its end to the API server.

    Yields:
        The output of the commands, one entry per pod; it grows.
    """
    said: list[str] = []
    over = threading.Event()

    async def play() -> None:
        path = f"/api/v1/namespaces/{namespace}/pods"
        while not over.is_set():
            for pod in (await server.client.call("GET", f"{path}?{_HOOKS}"))["items"]:
                if pod["status"].get("phase") == "Pending" and "deletionTimestamp" not in pod["metadata"]:
                    status, text = await _run(server, pod)
                    said.append(text)
                    body = pod | {"status": status}
                    del body["metadata"]["resourceVersion"]  # a controller may have touched it meanwhile
                    await server.client.call("PUT", f"{path}/{pod['metadata']['name']}/status", body)
            await asyncio.sleep(ROUND_SECONDS)

    failures: list[BaseException] = []

    def body() -> None:
        try:
            asyncio.run(play())
        except BaseException as error:  # noqa: BLE001 - reported below, where it fails the test
            failures.append(error)

    thread = threading.Thread(target=body, daemon=True)
    thread.start()
    try:
        yield said
    finally:
        over.set()
        thread.join()
    assert not failures, failures


async def _run(server: ApiServer, pod: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Runs its containers one after another; returns the pod's status and all that they printed."""
    place, account = pod["metadata"]["namespace"], pod["spec"]["serviceAccountName"]
    config = await server.service_account_kubeconfig(place, account)
    states: list[dict[str, Any]] = []
    said = ""
    for container in pod["spec"]["containers"]:
        with tempfile.TemporaryDirectory() as folder:
            process = Command(Path(folder)).start(*container["args"], KUBECONFIG=str(config))
            _, text = await asyncio.to_thread(process.communicate)
        code = process.returncode
        said += text
        ended = {"terminated": {"exitCode": code, "reason": "Error" if code else "Completed"}}
        states.append(
            {
                "name": container["name"],
                "ready": False,
                "restartCount": 0,
                "image": "i",
                "imageID": "",
                "state": ended,
            }
        )
    failed = any(state["state"]["terminated"]["exitCode"] for state in states)
    return {"phase": "Failed" if failed else "Succeeded", "containerStatuses": states}, said
