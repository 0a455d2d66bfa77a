"""An API server with the admission policies in effect, and objects to try them on."""

from __future__ import annotations

import asyncio
import copy
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from support.operating import OPERATOR, grant_rights, policies, put_policies
from support.planning import TOKEN, spec_of
from support.signingjobs import install_definition, path_of
from support.waiting import eventually
from vaultstream_operator.adapters.kube_api import MERGE_PATCH, KubeApi, KubeError, open_kube_api
from vaultstream_operator.core.children import Owner, signing_deployment, worker_job
from vaultstream_operator.settings import WorkerSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from kube.apiserver import ApiServer
    from kube.client import Client
    from support.operating import Site


Body = dict[str, Any]


ADMISSION = "/apis/admissionregistration.k8s.io/v1"


@dataclass(frozen=True)
class Ground:
    """A namespace with the operator's account, in which a module finds out which policies are in effect."""

    server: ApiServer
    namespace: str

    @property
    def client(self) -> Client:
        return self.server.client


@pytest.fixture(scope="module")
def policies_in_effect(api_server: ApiServer) -> Iterator[None]:
    """All policies, for the operator's account of every namespace. They take seconds to come into effect."""
    ground = Ground(api_server, f"ground-{uuid4().hex[:12]}")
    asyncio.run(_put_into_effect(ground))
    yield
    asyncio.run(_let_workers_be(ground))


async def _put_into_effect(ground: Ground) -> None:
    await ground.client.call("POST", "/api/v1/namespaces", {"metadata": {"name": ground.namespace}})
    await install_definition(ground.client)
    await grant_rights(ground.client, ground.namespace)
    await put_policies(ground.client, policies())
    async with _as_operator(ground) as api:
        for probe in (
            await place(ground, *pod_of(ground)),
            await place(ground, path_of(ground.namespace), signing_job()),
            await place(ground, *deployment_of(ground)),
        ):
            await eventually(lambda probe=probe: refusal(api, "PATCH", probe, RELABELED), seconds=30)


async def _let_workers_be(ground: Ground) -> None:
    """Removes the policy of workers: other tests that share the API server have workers with other images."""
    for plural in ("validatingadmissionpolicybindings", "validatingadmissionpolicies"):
        await ground.client.call("DELETE", f"{ADMISSION}/{plural}/{OPERATOR}-workers")
    async with _as_operator(ground) as api:

        async def permitted() -> bool:
            path, made = deployment_of(ground)
            return await refusal(api, "POST", path, made | {"metadata": {"name": "plain"}}) == ""

        await eventually(permitted, seconds=30)
    await ground.client.call("DELETE", f"/api/v1/namespaces/{ground.namespace}")


@asynccontextmanager
async def _as_operator(place: Ground | Site) -> AsyncIterator[KubeApi]:
    config = await place.server.service_account_kubeconfig(place.namespace, OPERATOR)
    async with open_kube_api(str(config)) as api:
        yield api


@pytest.fixture
async def api(policies_in_effect: None, site: Site) -> AsyncIterator[KubeApi]:
    """The API with the operator's token, as a thief has it, while all policies are in effect."""
    async with _as_operator(site) as api:
        yield api


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


async def place(site: Site | Ground, path: str, body: Body) -> str:
    """Creates an object as the administrator; returns its path."""
    await site.client.call("POST", path, body)
    return f"{path}/{body['metadata']['name']}"


def pod_of(site: Site | Ground, role: str = "signing", **annotations: str) -> tuple[str, Body]:
    """A pod of a worker, which no node runs here."""
    template = worker(site, role)["spec"]["template"]
    name = f"{role}-{uuid4().hex[:8]}"
    metadata = {**template["metadata"], "name": name, "annotations": annotations}
    pod = {"metadata": metadata, "spec": {**template["spec"], "restartPolicy": "Always"}}
    return f"/api/v1/namespaces/{site.namespace}/pods", pod


def deployment_of(site: Site | Ground) -> tuple[str, Body]:
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


def worker(site: Site | Ground, role: str, options: WorkerSettings | None = None, **signer: Any) -> Body:
    """The manifest that the operator applies for a worker."""
    owner = Owner(site.namespace, f"job-{uuid4().hex[:8]}", str(uuid4()))
    spec, options = spec_of(signer=signer), options or WorkerSettings()
    if role == "signing":
        made = signing_deployment(owner, TOKEN, spec, options, replicas=0)
    else:
        made = worker_job(owner, role, TOKEN, spec, options)
    return copy.deepcopy(made)


def collection(site: Site | Ground, role: str) -> str:
    group, plural = ("apps", "deployments") if role == "signing" else ("batch", "jobs")
    return f"/apis/{group}/v1/namespaces/{site.namespace}/{plural}"
