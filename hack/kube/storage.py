"""The default storage class: each claim gets a volume when its first pod is scheduled."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kube.apiserver import ApiServer

CLASS = "standard"
PROVISIONER = "vaultstream.dev/host-directory"


async def set_up(api: ApiServer) -> None:
    """Creates the class; `kube.provisioner` creates the volumes."""
    await api.kubectl("apply", "-f", "-", stdin=json.dumps(storage_class()))


def storage_class() -> dict[str, Any]:
    """Returns the manifest of the class."""
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": CLASS,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": PROVISIONER,
        "volumeBindingMode": "WaitForFirstConsumer",
        "reclaimPolicy": "Delete",
    }
