"""Whatever the values are, the policies of the workers admit what the operator creates, and no other image or Secret."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from support.chart import CHART, ROOT, Manifest, render
from support.operating import policies, put, put_policies
from support.planning import TOKEN, spec_of
from support.waiting import eventually
from vaultstream_operator.adapters.kube_api import KubeApi, KubeError, open_kube_api
from vaultstream_operator.core.children import Owner, signing_deployment, worker_job
from vaultstream_operator.settings import WorkerSettings, load_worker_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from kube.apiserver import ApiServer

pytestmark = pytest.mark.cluster

PRODUCTION = ROOT / "examples" / "production"
ROLES = ("keys", "records", "signing")
EVERYTHING = [
    "imagePullSecrets={registry,mirror}",
    "workers.serviceAccount.name=worker",
    "workers.extraEnv.QUOTED='\"$%{}",
    "workers.podLabels.owner=platform",
    "workers.podAnnotations.quoted='\"{}",
    "workers.nodeSelector.pool=batch",
    "workers.tolerations[0].key=gpu",
    "workers.tolerations[0].operator=Exists",
    "workers.priorityClassName=low",
    "workers.resources.limits.cpu=1",
    "workers.securityContext.seccompProfile.type=RuntimeDefault",
    "workers.allowed.podLabels={team,example.com/*}",
    "workers.allowed.podAnnotations={*}",
    "workers.allowed.priorityClasses={batch}",
    "workers.allowed.tolerations={dedicated}",
]
SIGNER = {
    "podLabels": {"team": "a", "example.com/cost": "b"},
    "podAnnotations": {"any": "thing"},
    "priorityClassName": "batch",
    "tolerations": [{"key": "dedicated", "operator": "Exists"}],
}
CASES: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "the defaults": ([], {}),
    "every setting": ([word for each in EVERYTHING for word in ("--set-string", each)], SIGNER),
    "external": (["--values", CHART / "ci" / "external-values.yaml"], {}),
    "cert-manager": (["--values", CHART / "ci" / "cert-manager-values.yaml"], {}),
    "production": (["--values", PRODUCTION / "vaultstream-values.yaml"], {}),
    "OpenShift": (["--values", PRODUCTION / "openshift-values.yaml"], {}),
}


BEYOND: list[Callable[[Manifest], Any]] = [
    lambda template: template["metadata"]["labels"].update(owner="thief"),
    lambda template: template["metadata"]["labels"].update(app="shop"),
    lambda template: template["spec"].update(priorityClassName="system-cluster-critical"),
    lambda template: template["spec"].update(tolerations=[{"operator": "Exists"}]),
    lambda template: template["spec"].update(tolerations=[{"key": "gpu", "effect": "NoExecute"}]),
    lambda template: template["spec"]["securityContext"].update(runAsUser=0),
    lambda template: template["spec"]["securityContext"].update(supplementalGroups=[0]),
    lambda template: template["spec"]["containers"][0]["securityContext"].update(
        readOnlyRootFilesystem=False
    ),
]
"""What no administrator's settings ask for here, beside what they do."""


def settings_of(deployment: Manifest, monkeypatch: pytest.MonkeyPatch) -> WorkerSettings:
    """The operator's settings, from the environment that the chart gives it."""
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    for variable in container["env"]:
        if variable["name"].startswith(("VAULTSTREAM_WORKER_", "VAULTSTREAM_TENANTS")):
            monkeypatch.setenv(variable["name"], variable["value"])
    return load_worker_settings()


def worker(namespace: str, role: str, options: WorkerSettings, **signer: Any) -> tuple[str, Manifest]:
    owner, spec = Owner(namespace, "receipts", str(uuid4())), spec_of(signer=signer)
    if role == "signing":
        made = signing_deployment(owner, TOKEN, spec, options, replicas=2)
        return f"/apis/apps/v1/namespaces/{namespace}/deployments", made
    return f"/apis/batch/v1/namespaces/{namespace}/jobs", worker_job(owner, role, TOKEN, spec, options)


async def admitted(api: KubeApi, path: str, made: Manifest) -> str:
    """Returns why the API server refuses an object; empty if it admits it."""
    try:
        await api.create(path, made, dryRun="All")
    except KubeError as error:
        return error.message
    return ""


@pytest.mark.parametrize("case", CASES)
async def test_the_policies_admit_the_workers_of_the_operator(
    case: str, api_server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, signer = CASES[case]
    namespace = f"policies-{uuid4().hex[:8]}"
    chart = render("--namespace", namespace, *given, "--set", "jobNamespaces=null")
    client = api_server.client
    await client.call("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
    accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    await put(client, accounts, {"metadata": {"name": "vaultstream-operator"}})
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    own = render("--namespace", namespace)
    for kind, plural in (("Role", "roles"), ("RoleBinding", "rolebindings")):
        await put(client, f"{rbac}/{plural}", own.one(kind, "vaultstream-operator", namespace))
    limits = f"{namespace}-vaultstream-sizes"
    rendered = [
        one
        for one in chart.manifests
        if one["kind"].startswith("ValidatingAdmissionPolicy") and one["metadata"]["name"] != limits
    ]
    assert len(rendered) == len(policies())
    await put_policies(client, rendered)
    options = settings_of(chart.one("Deployment", "vaultstream-operator", namespace), monkeypatch)
    config = await api_server.service_account_kubeconfig(namespace, "vaultstream-operator")
    async with open_kube_api(str(config)) as api:
        path, thief = worker(namespace, "keys", options)
        thief["spec"]["template"]["spec"]["containers"][0]["image"] = "thief:1"
        await eventually(lambda: admitted(api, path, thief), seconds=30)
        for role in ROLES:
            path, made = worker(namespace, role, options, **(signer if role == "signing" else {}))
            assert await admitted(api, path, made) == "", json.dumps(made)
            for beyond in BEYOND:
                other = copy.deepcopy(made)
                beyond(other["spec"]["template"])
                assert "operator-workers" in await admitted(api, path, other), beyond
            other = copy.deepcopy(made)
            secret = {"name": "more", "secret": {"secretName": f"{options.secret_prefix}-other"}}
            other["spec"]["template"]["spec"]["volumes"].append(secret)
            assert "operator-workers" in await admitted(api, path, other)
