"""A process that gives each PersistentVolumeClaim a directory of the host as its volume, and removes it with the claim.

When the scheduler has chosen the node of a claim's first pod, it creates a directory and a PersistentVolume, and Kubernetes
binds them. It polls all claims every second, so it catches up after it was down.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kube.apiserver import ApiServer
from kube.client import RefusedError
from kube.place import NODE, NODE_IP
from kube.storage import CLASS, PROVISIONER

if TYPE_CHECKING:
    from kube.client import Client

_POLL_SECONDS = 1.0
_CONFLICT = 409
_NOT_FOUND = 404
_VOLUMES = "/api/v1/persistentvolumes"


def is_waiting(claim: dict[str, Any]) -> bool:
    """Returns whether a claim waits for a volume of ours: our class, no volume, and a selected node."""
    annotations = claim["metadata"].get("annotations", {})
    return (
        claim["spec"].get("storageClassName") == CLASS
        and not claim["spec"].get("volumeName")
        and not claim["metadata"].get("deletionTimestamp")
        and "volume.kubernetes.io/selected-node" in annotations
    )


def is_left(volume: dict[str, Any]) -> bool:
    """Returns whether a volume is ours and its claim was deleted."""
    ours = volume["metadata"].get("annotations", {}).get("pv.kubernetes.io/provisioned-by") == PROVISIONER
    return ours and volume.get("status", {}).get("phase") in {"Released", "Failed"}


def volume_of(claim: dict[str, Any], directory: Path) -> dict[str, Any]:
    """Returns a PersistentVolume on `directory` that only `claim` can bind."""
    metadata = claim["metadata"]
    this_node = {"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {
            "name": f"pvc-{metadata['uid']}",
            "annotations": {"pv.kubernetes.io/provisioned-by": PROVISIONER},
        },
        "spec": {
            "capacity": {"storage": claim["spec"]["resources"]["requests"]["storage"]},
            "accessModes": claim["spec"]["accessModes"],
            "storageClassName": CLASS,
            "persistentVolumeReclaimPolicy": "Delete",
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                **{name: metadata[name] for name in ("namespace", "name", "uid")},
            },
            "local": {"path": str(directory)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [this_node]}]}},
        },
    }


async def _provision(client: Client, directory: Path) -> None:
    for claim in (await client.call("GET", "/api/v1/persistentvolumeclaims"))["items"]:
        if is_waiting(claim):
            place = directory / f"pvc-{claim['metadata']['uid']}"
            place.mkdir(parents=True, exist_ok=True)
            place.chmod(0o777)  # for pods of any user
            await _unless(_CONFLICT, client, "POST", _VOLUMES, volume_of(claim, place))
    for volume in (await client.call("GET", _VOLUMES))["items"]:
        if is_left(volume):
            shutil.rmtree(directory / volume["metadata"]["name"], ignore_errors=True)
            await _unless(_NOT_FOUND, client, "DELETE", f"{_VOLUMES}/{volume['metadata']['name']}")


async def _unless(status: int, client: Client, method: str, path: str, body: Any = None) -> None:
    """Sends a request; an answer of `status` means that it was done before."""
    try:
        await client.call(method, path, body)
    except RefusedError as error:
        if error.status != status:
            raise


async def serve(control_plane: Path, directory: Path) -> None:
    """Serves the claims of the API server in `control_plane` with directories in `directory`, until it is stopped."""
    client = ApiServer(control_plane, host=NODE_IP).client
    while True:
        try:
            await _provision(client, directory)
        except (OSError, RefusedError) as error:  # the API server restarts
            sys.stderr.write(f"{error}\n")
        await asyncio.sleep(_POLL_SECONDS)


def main() -> None:
    """Runs with two arguments: the directory of the API server, and the directory of the volumes."""
    control_plane, directory = (Path(word) for word in sys.argv[1:])
    asyncio.run(serve(control_plane, directory))
