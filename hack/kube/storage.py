"""A default storage class over directories of the host: a fixed number of volumes, each bound on first use."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from kube.place import NODE

if TYPE_CHECKING:
    from pathlib import Path

    from kube.apiserver import ApiServer

_VOLUMES = 12
_SIZE = "20Gi"
_CLASS = "standard"


async def set_up(api: ApiServer, directory: Path) -> None:
    """Makes the class, and the volumes in `directory`; what is there stays as it is."""
    volumes = [directory / f"pv{number}" for number in range(_VOLUMES)]
    for volume in volumes:
        volume.mkdir(parents=True, exist_ok=True)
        volume.chmod(0o777)  # whoever a Pod runs as
    items = [_storage_class(), *(_volume(volume) for volume in volumes)]
    await api.kubectl(
        "apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    )


def _storage_class() -> dict[str, Any]:
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": _CLASS,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer",
        "reclaimPolicy": "Delete",
    }


def _volume(directory: Path) -> dict[str, Any]:
    this_node = {"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": directory.name},
        "spec": {
            "capacity": {"storage": _SIZE},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": _CLASS,
            "persistentVolumeReclaimPolicy": "Delete",
            "local": {"path": str(directory)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [this_node]}]}},
        },
    }
