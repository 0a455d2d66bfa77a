"""A claim gets a volume once its pod's node is known, and the volume goes with its claim."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kube.provisioner import is_left, is_waiting, volume_of
from kube.storage import CLASS, PROVISIONER, storage_class

pytestmark = pytest.mark.unit

NODE_IS_KNOWN = {"volume.kubernetes.io/selected-node": "node"}


def claim(*, annotations: dict[str, str] = NODE_IS_KNOWN, **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"namespace": "a", "name": "data", "uid": "1-2", "annotations": annotations},
        "spec": {
            "storageClassName": CLASS,
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "2Gi"}},
            **spec,
        },
    }


def volume(phase: str, provisioner: str = PROVISIONER) -> dict[str, Any]:
    return {
        "metadata": {"name": "pv", "annotations": {"pv.kubernetes.io/provisioned-by": provisioner}},
        "status": {"phase": phase},
    }


def test_a_claim_waits_once_its_node_is_known() -> None:
    assert is_waiting(claim())
    assert not is_waiting(claim(annotations={}))


def test_a_claim_of_another_class_or_with_a_volume_is_ignored() -> None:
    assert not is_waiting(claim(storageClassName="other"))
    assert not is_waiting(claim(volumeName="pv"))


def test_a_claim_that_is_being_deleted_gets_no_volume() -> None:
    leaving = claim()
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert not is_waiting(leaving)


def test_a_volume_is_for_its_claim_alone_and_as_large_as_asked_for() -> None:
    made = volume_of(claim(), Path("/volumes/x"))
    assert made["metadata"]["name"] == "pvc-1-2"
    assert made["spec"]["claimRef"]["uid"] == "1-2"
    assert made["spec"]["capacity"] == {"storage": "2Gi"}
    assert made["spec"]["local"] == {"path": "/volumes/x"}
    assert made["spec"]["storageClassName"] == storage_class()["metadata"]["name"]


@pytest.mark.parametrize(
    ("phase", "left"), [("Bound", False), ("Available", False), ("Released", True), ("Failed", True)]
)
def test_a_volume_is_removed_when_its_claim_is_gone(phase: str, left: bool) -> None:
    assert is_left(volume(phase)) is left


def test_a_volume_of_another_provisioner_is_left_alone() -> None:
    assert not is_left(volume("Released", "other"))
