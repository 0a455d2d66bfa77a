"""Pods are marked before the count of signers is lowered, early enough for whoever deletes them to know."""

from __future__ import annotations

import asyncio
import time
from typing import Any, cast

import pytest

from vaultstream_operator.adapters import marks as module
from vaultstream_operator.adapters.kube_api import LIST_OF_METADATA, KubeApi, KubeError
from vaultstream_operator.adapters.kubernetes import KubernetesCluster
from vaultstream_operator.adapters.lists import LIST_PAGE
from vaultstream_operator.adapters.marks import DELETION_COST, IDLE_COST, MARKED_SECONDS, MOST_MARKED
from vaultstream_operator.core.children import Owner

pytestmark = pytest.mark.unit

OWNER = Owner("shop", "receipts", "uid-1")


class Pods:
    """The pods of an API server, which refuses to change some of them."""

    def __init__(self, refused: frozenset[str] = frozenset(), **costs: str | None) -> None:
        self.costs, self.refused = costs, refused
        self.asked: list[tuple[str, str]] = []
        self.open, self.most_open = 0, 0

    async def get(self, _path: str, *, brief: str = "", **query: str) -> dict[str, Any]:
        self.asked.append((brief, query["labelSelector"]))
        first, size = int(query.get("continue", 0)), int(query["limit"])
        items = [
            {"metadata": {"name": name, "annotations": {DELETION_COST: cost} if cost else {}}}
            for name, cost in list(self.costs.items())[first : first + size]
        ]
        more = {"continue": str(first + size)} if first + size < len(self.costs) else {}
        return {"items": items, "metadata": more}

    async def patch(self, path: str, body: dict[str, Any], *_: object, **_options: object) -> None:
        name = path.rpartition("/")[2]
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        await asyncio.sleep(0)
        self.open -= 1
        if name in self.refused:
            raise KubeError(403, "Forbidden", f"pods {name} is forbidden")
        self.costs[name] = body["metadata"]["annotations"][DELETION_COST]


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


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets nobody wait for marks to be noticed."""
    monkeypatch.setattr(module, "MARKED_SECONDS", 0.0)


def many(count: int) -> dict[str, str | None]:
    return {f"pod-{number:05}": None for number in range(count)}


@pytest.mark.usefixtures("at_once")
async def test_pods_are_read_and_marked_few_at_a_time_and_without_what_others_wrote_into_them() -> None:
    pods = Pods(**many(3 * LIST_PAGE))
    await KubernetesCluster(cast(KubeApi, pods)).mark_idle(OWNER, set())
    assert set(pods.costs.values()) == {IDLE_COST}
    assert [brief for brief, _ in pods.asked] == [LIST_OF_METADATA] * 3
    assert pods.most_open == LIST_PAGE


@pytest.mark.usefixtures("at_once")
async def test_no_number_of_pods_with_the_labels_of_a_job_keeps_the_operator_marking_without_end() -> None:
    pods = Pods(**many(MOST_MARKED + 1))
    await KubernetesCluster(cast(KubeApi, pods)).mark_idle(OWNER, set())
    assert list(pods.costs.values()).count(IDLE_COST) == MOST_MARKED


@pytest.mark.usefixtures("at_once")
async def test_a_pod_that_may_not_be_marked_keeps_no_other_from_it(caplog: pytest.LogCaptureFixture) -> None:
    pods = Pods(frozenset({"stranger"}), stranger=None, idle=None)
    await KubernetesCluster(cast(KubeApi, pods)).mark_idle(OWNER, set())
    assert pods.costs == {"stranger": None, "idle": IDLE_COST}
    assert "can't mark 1 pod of signers" in caplog.text
