"""Workers in namespaces with quotas, limits and policies of their own: refused by default, admitted with what the advice names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from kube.client import RefusedError
from support.planning import TOKEN, spec_of
from support.waiting import eventually
from vaultstream_operator.core.children import Owner, signing_deployment, worker_job
from vaultstream_operator.core.pod_advice import advice_on_a_refusal
from vaultstream_operator.core.shapes import WorkerShape
from vaultstream_operator.settings import WorkerSettings

if TYPE_CHECKING:
    from kube.apiserver import ApiServer

pytestmark = pytest.mark.cluster

ROLES = ("keys", "records", "signing")
ADMISSION = "/apis/admissionregistration.k8s.io/v1"


async def refusal(server: ApiServer, namespace: str, role: str, **shape: Any) -> str:
    """Returns why the API server refuses a pod of a worker of this shape; empty if it admits it."""
    owner = Owner(namespace, "receipts", "4f1d8c52-0000-4000-8000-000000000000")
    options = WorkerSettings(service_account="default", shape=WorkerShape.model_validate(shape))
    if role == "signing":
        made = signing_deployment(owner, TOKEN, spec_of(), options, replicas=1)
    else:
        made = worker_job(owner, role, TOKEN, spec_of(), options)
    pod = made["spec"]["template"]
    pod["metadata"]["name"] = f"receipts-{role}"
    try:
        await server.client.call("POST", f"/api/v1/namespaces/{namespace}/pods?dryRun=All", pod)
    except RefusedError as error:
        return str(error)
    return ""


async def test_a_quota_of_processor_limits_admits_workers_that_have_one(
    api_server: ApiServer, namespace: str
) -> None:
    quota = {"metadata": {"name": "strict"}, "spec": {"hard": {"limits.cpu": "8"}}}
    path = f"/api/v1/namespaces/{namespace}/resourcequotas"
    await api_server.client.call("POST", path, quota)

    async def enforced() -> bool:
        return "hard" in (await api_server.client.call("GET", f"{path}/strict")).get("status", {})

    await eventually(enforced)
    for role in ROLES:
        words = await refusal(api_server, namespace, role)
        assert advice_on_a_refusal(words, role).startswith("Set limits.cpu in `workers.resources`"), words
        assert await refusal(api_server, namespace, role, resources={"limits": {"cpu": "1"}}) == ""


async def test_the_minimum_of_a_limit_range_admits_workers_that_ask_for_it(
    api_server: ApiServer, namespace: str
) -> None:
    least = {"cpu": "600m", "memory": "512Mi"}
    limits = {"metadata": {"name": "strict"}, "spec": {"limits": [{"type": "Container", "min": least}]}}
    path = f"/api/v1/namespaces/{namespace}/limitranges"
    await api_server.client.call("POST", path, limits)

    async def enforced() -> str:
        return await refusal(api_server, namespace, "keys")

    await eventually(enforced)
    for role in ROLES:
        words = await refusal(api_server, namespace, role)
        assert "LimitRange" in advice_on_a_refusal(words, role), words
        assert await refusal(api_server, namespace, role, resources={"requests": least}) == ""


async def test_a_policy_that_requires_a_label_admits_workers_that_have_it(
    api_server: ApiServer, namespace: str
) -> None:
    spec = {
        "matchConstraints": {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "resourceRules": [
                {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
            ],
        },
        "validations": [
            {
                "expression": "object.metadata.?labels['team'].orValue('') != ''",
                "message": "Each pod needs the label team.",
            }
        ],
    }
    policy = f"{ADMISSION}/validatingadmissionpolicies"
    binding = f"{ADMISSION}/validatingadmissionpolicybindings"
    await api_server.client.call("POST", policy, {"metadata": {"name": namespace}, "spec": spec})
    bound = {"policyName": namespace, "validationActions": ["Deny"]}
    await api_server.client.call("POST", binding, {"metadata": {"name": namespace}, "spec": bound})
    try:

        async def enforced() -> str:
            return await refusal(api_server, namespace, "keys")

        await eventually(enforced, seconds=30)
        for role in ROLES:
            words = await refusal(api_server, namespace, role)
            assert "`workers.podLabels`" in advice_on_a_refusal(words, role), words
            assert await refusal(api_server, namespace, role, podLabels={"team": "signing"}) == ""
    finally:
        for path in (binding, policy):
            await api_server.client.call("DELETE", f"{path}/{namespace}")
