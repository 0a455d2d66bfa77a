"""The default storage class, as most clusters have one: a volume for each claim, made when its first Pod comes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kube.apiserver import ApiServer

CLASS = "standard"
PROVISIONER = "vaultstream.dev/host-directory"


async def set_up(api: ApiServer) -> None:
    """Makes the class; `kube.provisioner` makes the volumes."""
    await api.kubectl("apply", "-f", "-", stdin=json.dumps(storage_class()))


def storage_class() -> dict[str, Any]:
    """The class as it is applied."""
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
