"""Objects that a tenant shapes to hurt the shared operator: it goes on, starts again, and serves every other namespace."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from support.operating import put
from support.signingjobs import path_of
from support.waiting import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from support.operating import Operator, Site

pytestmark = pytest.mark.cluster

DEEP = '{"a":' * 3_000 + "1" + "}" * 3_000


async def started(site: Site, name: str) -> None:
    await site.apply(name)
    await eventually(lambda: site.child(name, "signing"), seconds=20, what=f"{name} in {site.namespace}")


async def serves(site: Site, tenant: Site) -> Operator:
    return await site.operator(VAULTSTREAM_NAMESPACES=f"{site.namespace},{tenant.namespace}")


async def put_deep_job(tenant: Site, name: str, folder: Path) -> None:
    spec = f'{{"records": {{"table": "t"}}, "keys": {{"count": 1}}, "workers": {{"affinity": {{"nodeAffinity": {DEEP}}}}}}}'
    text = f'{{"apiVersion": "vaultstream.dev/v1alpha1", "kind": "SigningJob", "metadata": {{"name": "{name}"}}, "spec": {spec}}}'
    file = folder / f"{name}.json"
    await asyncio.to_thread(file.write_text, text)
    await tenant.server.kubectl("create", "--raw", path_of(tenant.namespace), "-f", str(file))


async def test_a_job_that_is_nested_deeply_hurts_no_other_namespace(
    site: Site, tenant: Site, tmp_path: Path
) -> None:
    operator = await serves(site, tenant)
    await put_deep_job(tenant, "deep", tmp_path)
    await started(tenant, "beside")
    await started(site, "while-it-runs")
    assert operator.process.returncode is None
    await operator.kill()
    operator = await serves(site, tenant)
    await started(site, "after-a-restart")
    assert operator.process.returncode is None
    condition: dict[str, Any] = await tenant.becomes("deep", "Stalled", "SpecNotUnderstood")
    assert "50 levels" in condition["message"]


async def put_pod(tenant: Site, name: str, message: str, **labels: str) -> None:
    ours = {
        "app.kubernetes.io/managed-by": "vaultstream-operator",
        "app.kubernetes.io/component": "signing",
        "vaultstream.dev/job-uid": "x",
    }
    pods = f"/api/v1/namespaces/{tenant.namespace}/pods"
    account = {"metadata": {"name": "default"}}
    await put(tenant.client, f"/api/v1/namespaces/{tenant.namespace}/serviceaccounts", account)
    spec = {"containers": [{"name": "c", "image": "x"}]}
    metadata = {"name": name, "labels": ours | labels}
    await tenant.client.call("POST", pods, {"metadata": metadata, "spec": spec})
    ended = {"terminated": {"exitCode": 1, "reason": "Error", "message": message}}
    container = {"name": "c", "image": "x", "imageID": "x", "ready": False, "restartCount": 5}
    container |= {"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": ended}
    await tenant.client.call("PATCH", f"{pods}/{name}/status", {"status": {"containerStatuses": [container]}})


async def test_no_pod_of_a_tenant_hurts_another_namespace(site: Site, tenant: Site) -> None:
    operator = await serves(site, tenant)
    await put_pod(tenant, "brackets", "[" * 4096, **{"vaultstream.dev/job": "job"})
    await put_pod(tenant, "of-no-job", "[" * 4096)
    await started(site, "while-it-runs")
    assert operator.process.returncode is None
    assert "reconcile failed" not in operator.log.read_text()
    await operator.kill()
    operator = await serves(site, tenant)
    await started(site, "after-a-restart")
    assert "Traceback" not in operator.log.read_text()
