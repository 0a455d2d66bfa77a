"""Pods are marked before the count of signers is lowered, early enough for whoever deletes them to know."""

from __future__ import annotations

import time
from typing import Any, cast

import pytest

from vaultstream_operator.adapters.kube_api import KubeApi
from vaultstream_operator.adapters.kubernetes import (
    DELETION_COST,
    IDLE_COST,
    MARKED_SECONDS,
    KubernetesCluster,
)
from vaultstream_operator.core.children import Owner

pytestmark = pytest.mark.unit

OWNER = Owner("shop", "receipts", "uid-1")


class Pods:
    """The pods of an API server."""

    def __init__(self, **costs: str | None) -> None:
        self.costs = costs

    async def get(self, _path: str, **_query: str) -> dict[str, Any]:
        return {
            "items": [
                {"metadata": {"name": name, "annotations": {DELETION_COST: cost} if cost else {}}}
                for name, cost in self.costs.items()
            ]
        }

    async def patch(self, path: str, body: dict[str, Any], *_: object, **_options: object) -> None:
        self.costs[path.rpartition("/")[2]] = body["metadata"]["annotations"][DELETION_COST]


@pytest.mark.parametrize(
    ("before", "waits"),
    [
        ({"busy": None, "idle": None}, True),
        ({"busy": IDLE_COST, "idle": IDLE_COST}, True),
        ({"busy": None, "idle": IDLE_COST}, False),
    ],
)
async def test_the_count_follows_new_marks_after_a_moment_and_old_ones_at_once(
    before: dict[str, str | None], waits: bool
) -> None:
    pods = Pods(**before)
    began = time.monotonic()
    await KubernetesCluster(cast(KubeApi, pods)).mark_idle(OWNER, {"busy"})
    assert pods.costs == {"busy": None, "idle": IDLE_COST}
    assert (time.monotonic() - began >= 0.99 * MARKED_SECONDS) is waits
