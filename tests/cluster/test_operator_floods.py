"""One tenant floods the shared operator in every way that it has: jobs of another namespace are decided on all the same."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from kube.client import RefusedError
from support.operating import put
from support.signingjobs import path_of
from support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from support.operating import Operator, Site

pytestmark = pytest.mark.cluster

JOBS, LARGE = 80, 10
BOUND_SECONDS = 60.0
"""For a machine that is busy with the flood itself; 2 to 9 s on two cores at a load of 16, where it was more than 120."""


def flooding(name: str, **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "vaultstream.dev/v1alpha1",
        "kind": "SigningJob",
        "metadata": {"name": name, **metadata},
        "spec": {"records": {"table": "records"}, "keys": {"count": 4, "algorithm": "ED25519"}},
    }


class Flood:
    """What a tenant may do in its own namespace, over and over."""

    def __init__(self, tenant: Site) -> None:
        self._tenant = tenant
        self.tasks: list[asyncio.Task[None]] = []

    async def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> None:
        with suppress(OSError, RefusedError):  # whatever the API server makes of it
            await self._tenant.client.call(method, path, body)

    def begin(self, *kinds: Callable[[], Awaitable[None]]) -> None:
        self.tasks += [asyncio.create_task(self._again(kind)) for kind in kinds]

    async def _again(self, kind: Callable[[], Awaitable[None]]) -> None:
        while True:
            await kind()

    async def end(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def create(self) -> None:
        """Many small jobs, and large ones."""
        path, limit = path_of(self._tenant.namespace), asyncio.Semaphore(4)

        async def one(document: dict[str, Any]) -> None:
            async with limit:
                await self._call("POST", path, document)

        large = {"x": "y" * 250_000}
        jobs = [flooding(f"large-{number}", annotations=large) for number in range(LARGE)]
        jobs += [flooding(f"small-{number}") for number in range(JOBS)]
        await asyncio.gather(*map(one, jobs))

    async def change(self) -> None:
        """A job that changes as fast as it can."""
        await self._call(
            "PATCH",
            path_of(self._tenant.namespace, "small-0"),
            {"metadata": {"annotations": {"x": uuid4().hex}}},
        )

    async def come_and_go(self) -> None:
        await self._call("POST", path_of(self._tenant.namespace), flooding("short"))
        await self._call("DELETE", path_of(self._tenant.namespace, "short"))

    async def add_pods(self) -> None:
        """Pods with the labels of the operator's own, of a job that is there."""
        labels = {
            "app.kubernetes.io/managed-by": "vaultstream-operator",
            "app.kubernetes.io/component": "signing",
            "vaultstream.dev/job": "small-0",
            "vaultstream.dev/job-uid": "x",
        }
        metadata = {"generateName": "flood-", "labels": labels}
        spec = {"containers": [{"name": "c", "image": "x"}]}
        path = f"/api/v1/namespaces/{self._tenant.namespace}/pods"
        await self._call("POST", path, {"metadata": metadata, "spec": spec})

    async def tell(self) -> None:
        """Events, which the operator searches for those of its workers."""
        regarding = {"kind": "Job", "namespace": self._tenant.namespace, "name": "small-0-keys"}
        event = {
            "metadata": {"generateName": "flood-"},
            "eventTime": "2026-01-01T00:00:00.000000Z",
            "type": "Warning",
            "reason": "FailedCreate",
            "note": "x" * 1_000,
            "action": "x",
            "reportingController": "x",
            "reportingInstance": "x",
            "regarding": regarding,
        }
        await self._call("POST", f"/apis/events.k8s.io/v1/namespaces/{self._tenant.namespace}/events", event)


def lines_about(operator: Operator, name: str) -> list[str]:
    return [line["message"] for line in operator.lines() if line.get("job") == name]


@pytest.mark.timeout(400)
async def test_no_flood_of_a_tenant_keeps_a_job_of_another_namespace_waiting(
    site: Site, tenant: Site
) -> None:
    account = {"metadata": {"name": "default"}}
    await put(tenant.client, f"/api/v1/namespaces/{tenant.namespace}/serviceaccounts", account)
    operator = await site.operator(VAULTSTREAM_NAMESPACES=f"{site.namespace},{tenant.namespace}")
    flood = Flood(tenant)
    flood.begin(flood.change, flood.come_and_go, flood.add_pods, flood.tell)
    creating = asyncio.create_task(flood.create())
    try:
        for number in range(3):
            name = f"beside-{number}"
            await site.apply(name, scaling={"minReplicaCount": 1})
            await eventually(
                lambda name=name: site.child(name, "signing"),
                seconds=BOUND_SECONDS,
                what=f"signers of {name}",
            )
        await creating
    finally:
        creating.cancel()
        await flood.end()
    condition = await tenant.becomes("large-0", "Stalled", "TooLarge", seconds=120)
    assert "metadata has 250," in condition["message"]
    assert operator.process.returncode is None
    assert len(lines_about(operator, "large-0")) == 1
    assert "Traceback" not in operator.log.read_text()
