"""The chart's limits keep whoever may create SigningJobs from filling the API server with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from kube.client import RefusedError
from support.chart import NAMESPACE, render
from support.operating import put
from support.signingjobs import install_definition, path_of
from support.waiting import eventually

if TYPE_CHECKING:
    from kube.apiserver import ApiServer

pytestmark = pytest.mark.cluster

LIMITS = (
    "--set",
    "limits.signingJobs=2",
    "--set",
    "limits.metadata=2048",
    "--show-only",
    "templates/limits.yaml",
)
FINALIZER = "vaultstream.dev/cleanup"


def job(name: str, **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "vaultstream.dev/v1alpha1",
        "kind": "SigningJob",
        "metadata": {"name": name, **metadata},
        "spec": {"records": {"table": "records"}},
    }


async def test_a_namespace_has_no_more_jobs_and_no_larger_ones_than_the_limits_allow(
    api_server: ApiServer,
) -> None:
    client, jobs = api_server.client, path_of(NAMESPACE)
    await install_definition(client)
    await client.call("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
    large = {"example.com/note": "x" * 2100}
    await client.call("POST", jobs, job("before", annotations=large))
    collections = {
        "ResourceQuota": f"/api/v1/namespaces/{NAMESPACE}/resourcequotas",
        "ValidatingAdmissionPolicy": "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies",
        "ValidatingAdmissionPolicyBinding": "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings",
    }
    rendered = render(*LIMITS)
    (quota,) = rendered.of("ResourceQuota")
    assert quota["spec"] == {"hard": {"count/signingjobs.vaultstream.dev": "2"}}
    for manifest in rendered.manifests:
        if manifest is not quota:
            await put(client, collections[manifest["kind"]], manifest)

    async def refused(document: dict[str, Any], words: str) -> bool:
        try:
            await client.call("POST", f"{jobs}?dryRun=All", document)
        except RefusedError as error:
            return words in str(error)
        return False

    async def created(document: dict[str, Any]) -> bool:
        try:
            await client.call("POST", jobs, document)
        except RefusedError:
            return False
        return True

    await eventually(
        lambda: refused(job("large", annotations=large), "may have 2048 characters"), what="the policy"
    )
    assert await refused(
        job("large", annotations=large), "and this has 2116: remove annotations, labels or finalizers."
    )
    assert await refused(
        job("large", labels={f"example.com/{n}": "x" * 60 for n in range(40)}), "may have 2048"
    )
    assert await refused(
        job("large", finalizers=[f"example.com/{n:040}" for n in range(50)]), "may have 2048"
    )
    await client.call("POST", jobs, job("small", annotations={"example.com/note": "x" * 2030}))
    await put(client, collections["ResourceQuota"], quota)
    # Kubernetes counts objects of a new kind only some minutes after its definition: until then, it refuses all.
    third = job("third")
    await eventually(lambda: refused(third, "quota: vaultstream-signingjobs"), what="the quota")
    await client.call("DELETE", f"{collections['ResourceQuota']}/vaultstream-signingjobs")

    # The operator's finalizer does not count, and one that was there before can be changed, and deleted.
    for name in ("small", "before"):
        await client.call("PATCH", path_of(NAMESPACE, name), {"metadata": {"finalizers": [FINALIZER]}})
    foreign = {"metadata": {"finalizers": [FINALIZER, "example.com/hold"]}}
    with pytest.raises(RefusedError, match="may have 2048"):
        await client.call("PATCH", path_of(NAMESPACE, "before"), foreign)
    await client.call("PATCH", path_of(NAMESPACE, "before"), {"spec": {"suspend": True}})
    await client.call("PATCH", path_of(NAMESPACE, "before"), {"metadata": {"finalizers": []}})
    await client.call("DELETE", path_of(NAMESPACE, "before"))
    await eventually(lambda: created(third), what="a job without a quota")


def test_without_values_nothing_is_limited() -> None:
    assert not render().of("ResourceQuota")
    assert not [
        each
        for each in render().of("ValidatingAdmissionPolicy")
        if each["metadata"]["name"].endswith("-sizes")
    ]
