"""The admission policies: what the operator's token can not do although the operator's role has the verb."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from support.operating import POLICIES, QUICK, policies
from support.policed import (
    ADMISSION,
    Body,
    place,
    pod_of,
    refusal,
    signing_job,
)
from support.signingjobs import path_of
from support.waiting import eventually
from vaultstream_operator.adapters.kube_api import MERGE_PATCH, KubeApi
from vaultstream_operator.adapters.kubernetes import KubernetesCluster
from vaultstream_operator.adapters.marks import DELETION_COST, IDLE_COST
from vaultstream_operator.core.children import Owner

if TYPE_CHECKING:
    from kube.apiserver import ApiServer
    from support.operating import Site


pytestmark = pytest.mark.cluster


async def test_the_operator_marks_pods_of_signers_as_before(site: Site, api: KubeApi) -> None:
    pod = await place(site, *pod_of(site, other="kept"))
    for value in ("-100", None):
        await api.patch(pod, {"metadata": {"annotations": {DELETION_COST: value}}}, MERGE_PATCH)
        annotations = (await site.client.call("GET", pod))["metadata"]["annotations"]
        assert annotations == {"other": "kept"} | ({DELETION_COST: value} if value else {})


CHANGES_OF_A_POD: list[Body] = [
    {"spec": {"activeDeadlineSeconds": 1}},
    {"metadata": {"labels": {"app.kubernetes.io/part-of": None}}},
    {"metadata": {"labels": {"more": "labels"}}},
    {"metadata": {"annotations": {"other": "changed"}}},
    {"metadata": {"annotations": {"other": None}}},
    {"metadata": {"annotations": {"sidecar.istio.io/inject": "true", DELETION_COST: "-100"}}},
    {"metadata": {"finalizers": ["example.com/stuck"]}},
    {"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "a", "uid": "b"}]}},
]


async def test_the_operator_can_not_replace_the_image_of_a_pod(site: Site, api: KubeApi) -> None:
    pod = await place(site, *pod_of(site))
    [container] = (await site.client.call("GET", pod))["spec"]["containers"]
    stolen = {"spec": {"containers": [{**container, "image": "thief:1"}]}}
    assert "operator-pods" in await refusal(api, "PATCH", pod, stolen)


async def test_the_operator_can_change_nothing_else_of_a_pod(site: Site, api: KubeApi) -> None:
    pod = await place(site, *pod_of(site, other="kept"))
    assert [each for each in CHANGES_OF_A_POD if not await refusal(api, "PATCH", pod, each)] == []


async def test_the_operator_can_mark_no_pod_that_is_not_a_signer(site: Site, api: KubeApi) -> None:
    mark = {"metadata": {"annotations": {DELETION_COST: "-100"}}}
    for role in ("keys", "records"):
        assert await refusal(api, "PATCH", await place(site, *pod_of(site, role)), mark)
    path, stranger = pod_of(site)
    stranger["metadata"]["labels"] = {"app": "shop"}
    assert await refusal(api, "PATCH", await place(site, path, stranger), mark)


async def test_a_pod_that_a_tenant_gives_the_labels_of_a_job_keeps_no_signer_from_being_marked(
    site: Site, api: KubeApi
) -> None:
    path, signer = pod_of(site)
    labels = signer["metadata"]["labels"]
    strange = {name: value for name, value in labels.items() if name != "app.kubernetes.io/managed-by"}
    stranger = {**signer, "metadata": {**signer["metadata"], "name": "stranger", "labels": strange}}
    await place(site, path, stranger)
    pod = await place(site, path, signer)
    owner = Owner(site.namespace, labels["vaultstream.dev/job"], labels["vaultstream.dev/job-uid"])
    await KubernetesCluster(api).mark_idle(owner, set())
    assert (await site.client.call("GET", pod))["metadata"]["annotations"] == {DELETION_COST: IDLE_COST}


async def test_others_change_pods_as_their_rights_allow(site: Site, api: KubeApi) -> None:
    pod = await place(site, *pod_of(site))
    await site.client.call("PATCH", pod, {"metadata": {"labels": {"more": "labels"}}})


CHANGES_OF_A_SIGNING_JOB: list[Body] = [
    {"spec": {"suspend": False}},
    {"spec": {"deletionPolicy": "Delete"}},
    {"metadata": {"labels": {"more": "labels"}}},
    {"metadata": {"annotations": {"vaultstream.dev/paused": "true"}}},
    {"metadata": {"finalizers": ["example.com/stuck"]}},
]


async def test_the_operator_can_change_nothing_of_a_signing_job_but_its_finalizer(
    site: Site, api: KubeApi
) -> None:
    job = await place(site, path_of(site.namespace), signing_job())
    assert [each for each in CHANGES_OF_A_SIGNING_JOB if not await refusal(api, "PATCH", job, each)] == []
    for finalizers in (["vaultstream.dev/cleanup"], []):
        await api.patch(job, {"metadata": {"finalizers": finalizers}}, MERGE_PATCH)
        assert (await site.client.call("GET", job))["metadata"].get("finalizers", []) == finalizers


async def test_an_operator_runs_a_job_from_start_to_end_under_the_policies(site: Site, api: KubeApi) -> None:
    await site.operator()
    await site.apply("job", scaling=QUICK)
    await site.run_workers("job", signers=2)
    await site.becomes("job", "Complete", seconds=60)
    await site.delete("job")
    await eventually(lambda: site.gone("job"))


async def test_a_worker_that_a_policy_refuses_is_reported(site: Site, api: KubeApi) -> None:
    await site.operator(VAULTSTREAM_WORKER_IMAGE="vaultstream:other")
    await site.apply("job")
    stalled = await site.becomes("job", "Stalled", "ChildRefused")
    assert "vaultstream-operator-workers" in stalled["message"]


async def test_the_delivered_policies_can_be_applied_and_have_no_errors(api_server: ApiServer) -> None:
    for _ in range(2):
        await api_server.kubectl("apply", "-f", str(POLICIES))
    names = {document["metadata"]["name"] for document in policies()}

    async def checked() -> dict[str, Any] | None:
        found = await api_server.client.call("GET", f"{ADMISSION}/validatingadmissionpolicies")
        own = {each["metadata"]["name"]: each for each in found["items"] if each["metadata"]["name"] in names}
        return own if all("typeChecking" in each.get("status", {}) for each in own.values()) else None

    own = await eventually(checked, what="the types of all policies are checked")
    assert own.keys() == names
    assert {name: each["status"]["typeChecking"] for name, each in own.items()} == {name: {} for name in own}
