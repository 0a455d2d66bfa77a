"""Children that vanish with their SigningJob, whose finalizer somebody else took off: the operator is never asked to delete them."""

from __future__ import annotations

import copy
from typing import Any, cast
from uuid import uuid4

import pytest

from support.planning import TOKEN, spec_of
from vaultstream_operator.adapters.kube_api import KubeApi, KubeError
from vaultstream_operator.adapters.kubernetes import KubernetesCluster
from vaultstream_operator.adapters.mirror import DEPLOYMENTS
from vaultstream_operator.core.children import SIGNING, Owner, signing_deployment
from vaultstream_operator.settings import WorkerSettings

pytestmark = pytest.mark.unit


class Empty:
    """An API server that creates what is applied, and lists nothing."""

    def __init__(self) -> None:
        self.version = 0
        self.made: dict[str, Any] = {}

    async def get(self, path: str, **_query: str) -> dict[str, Any]:
        if not path.endswith("s"):
            raise KubeError(404, "NotFound", f"{path} is not there")
        return {"items": [], "metadata": {"resourceVersion": str(self.version)}}

    async def patch(self, _path: str, body: dict[str, Any], *_: object, **_options: object) -> dict[str, Any]:
        self.version += 1
        added = {"uid": str(uuid4()), "resourceVersion": str(self.version), "generation": 1}
        self.made = copy.deepcopy(body) | {"metadata": body["metadata"] | added}
        return self.made


async def test_nothing_is_kept_of_the_children_of_jobs_that_are_gone() -> None:
    server = Empty()
    cluster = KubernetesCluster(cast("KubeApi", server))

    def kept() -> int:
        return sum(len(value) for value in vars(cluster).values() if isinstance(value, dict))

    for number in range(5):
        owner = Owner("shop", f"job-{number}", str(uuid4()))
        await cluster.apply(signing_deployment(owner, TOKEN, spec_of(), WorkerSettings(), replicas=1))
        made = server.made
        await cluster.nudge(owner, SIGNING)
        cluster.saw(DEPLOYMENTS, "DELETED", made)
    assert kept() > 0
    await cluster.resync()
    assert kept() == 0
