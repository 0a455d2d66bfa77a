"""An API server with the admission policies in effect, and objects to try them on."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from support.operating import OPERATOR, policies, put_policies
from support.planning import TOKEN, spec_of
from support.signingjobs import path_of
from support.waiting import eventually
from vaultstream_operator.adapters.kube_api import MERGE_PATCH, KubeApi, KubeError, open_kube_api
from vaultstream_operator.core.children import Owner, signing_deployment, worker_job
from vaultstream_operator.settings import WorkerSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from support.operating import Site


Body = dict[str, Any]


ADMISSION = "/apis/admissionregistration.k8s.io/v1"


@pytest.fixture
async def api(site: Site) -> AsyncIterator[KubeApi]:
    """The API with the operator's token, as a thief has it, while all policies are in effect."""
    await put_policies(site.client, policies())
    config = await site.server.service_account_kubeconfig(site.namespace, OPERATOR)
    async with open_kube_api(str(config)) as api:
        probes = [await place(site, *pod_of(site)), await place(site, path_of(site.namespace), signing_job())]
        deployment = await place(site, *deployment_of(site))
        for probe in (*probes, deployment):
            await eventually(lambda probe=probe: refusal(api, "PATCH", probe, RELABELED), seconds=30)
            await site.client.call("DELETE", probe)
        yield api
        # Other tests that share the API server have workers with other images.
        for plural in ("validatingadmissionpolicybindings", "validatingadmissionpolicies"):
            await site.client.call("DELETE", f"{ADMISSION}/{plural}/{OPERATOR}-workers")

        async def permitted() -> bool:
            path, made = deployment_of(site)
            return await refusal(api, "POST", path, made | {"metadata": {"name": "plain"}}) == ""

        await eventually(permitted, seconds=30)


RELABELED: Body = {"metadata": {"labels": {"app.kubernetes.io/managed-by": "somebody"}}}


async def refusal(api: KubeApi, method: str, path: str, body: Body | None = None) -> str:
    """Sends a request that changes nothing; returns why the API server forbids it, empty if it does not."""
    kind = MERGE_PATCH if method == "PATCH" else "application/json"
    try:
        await api.request(method, path, body=body, content_type=kind, query={"dryRun": "All"})
    except KubeError as error:
        if error.status != 403 or "ValidatingAdmissionPolicy 'vaultstream-operator-" not in error.message:
            raise
        return error.message
    return ""


async def place(site: Site, path: str, body: Body) -> str:
    """Creates an object as the administrator; returns its path."""
    await site.client.call("POST", path, body)
    return f"{path}/{body['metadata']['name']}"


def pod_of(site: Site, role: str = "signing", **annotations: str) -> tuple[str, Body]:
    """A pod of a worker, which no node runs here."""
    template = worker(site, role)["spec"]["template"]
    name = f"{role}-{uuid4().hex[:8]}"
    metadata = {**template["metadata"], "name": name, "annotations": annotations}
    pod = {"metadata": metadata, "spec": {**template["spec"], "restartPolicy": "Always"}}
    return f"/api/v1/namespaces/{site.namespace}/pods", pod


def deployment_of(site: Site) -> tuple[str, Body]:
    made = worker(site, "signing")
    made["metadata"].pop("ownerReferences")  # of a SigningJob that does not exist
    return f"/apis/apps/v1/namespaces/{site.namespace}/deployments", made


def signing_job() -> Body:
    return {
        "apiVersion": "vaultstream.dev/v1alpha1",
        "kind": "SigningJob",
        "metadata": {"name": f"job-{uuid4().hex[:8]}"},
        "spec": {"records": {"table": "records"}, "batchSize": 10, "keys": {"count": 4}, "suspend": True},
    }


def worker(site: Site, role: str, options: WorkerSettings | None = None, **signer: Any) -> Body:
    """The manifest that the operator applies for a worker."""
    owner = Owner(site.namespace, f"job-{uuid4().hex[:8]}", str(uuid4()))
    spec, options = spec_of(signer=signer), options or WorkerSettings()
    if role == "signing":
        made = signing_deployment(owner, TOKEN, spec, options, replicas=0)
    else:
        made = worker_job(owner, role, TOKEN, spec, options)
    return copy.deepcopy(made)


def collection(site: Site, role: str) -> str:
    group, plural = ("apps", "deployments") if role == "signing" else ("batch", "jobs")
    return f"/apis/{group}/v1/namespaces/{site.namespace}/{plural}"
