"""A release on a real API server: accepted under enforced Pod Security, and what must stay stays."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from kube.apiserver import ApiServer
from kube.client import RefusedError
from support.chart import CHART, helm
from support.waiting import eventually

pytestmark = pytest.mark.cluster

CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/signingjobs.vaultstream.dev"
RESTRICTED = {
    "pod-security.kubernetes.io/enforce": "restricted",
    "pod-security.kubernetes.io/enforce-version": "latest",
}


class Release:
    """A release in a namespace of its own, with another namespace for jobs."""

    def __init__(self, server: ApiServer, namespace: str, team: str) -> None:
        self.server, self.namespace, self.team = server, namespace, team

    def helm(self, *arguments: str | Path, check: bool = True) -> str:
        place = ("--namespace", self.namespace, "--kubeconfig", self.server.kubeconfig)
        return helm(*arguments, *place, check=check).stdout

    def install(self, *arguments: str) -> str:
        namespaces = f"jobNamespaces={{{self.namespace},{self.team}}}"
        # The definition is the cluster's, and the tests run side by side.
        return self.helm("upgrade", "--install", "vaultstream", CHART, "--set", namespaces, *arguments)

    async def get(self, kind: str, name: str, namespace: str | None = None) -> dict[str, Any]:
        group = {"secrets": "/api/v1", "persistentvolumeclaims": "/api/v1", "statefulsets": "/apis/apps/v1"}[
            kind
        ]
        return await self.server.client.call(
            "GET", f"{group}/namespaces/{namespace or self.namespace}/{kind}/{name}"
        )

    async def secret(self, name: str, namespace: str | None = None) -> dict[str, str]:
        data = (await self.get("secrets", name, namespace))["data"]
        return {key: b64decode(value).decode() for key, value in data.items()}

    async def made_once(self) -> dict[str, dict[str, str]]:
        """All that must never be made a second time."""
        return {
            "key-encryption key": await self.secret("vaultstream-kek"),
            "that of the other namespace": await self.secret("vaultstream-kek", self.team),
            "passwords": await self.secret("vaultstream-credentials"),
            "authority": await self.secret("vaultstream-authority"),
        }

    async def pods(self) -> set[str]:
        found = await self.server.client.call("GET", f"/api/v1/namespaces/{self.namespace}/pods")
        return {pod["metadata"]["labels"]["app.kubernetes.io/component"] for pod in found["items"]}


@pytest.fixture
async def release(api_server: ApiServer) -> AsyncIterator[Release]:
    names = [f"chart-{uuid4().hex[:8]}" for _ in range(2)]
    for name in names:
        body = {"metadata": {"name": name, "labels": RESTRICTED}}
        await api_server.client.call("POST", "/api/v1/namespaces", body)
    release = Release(api_server, *names)
    yield release
    release.helm("uninstall", "vaultstream", "--ignore-not-found")
    for name in names:
        await api_server.client.call("DELETE", f"/api/v1/namespaces/{name}")
    try:
        await api_server.client.call("DELETE", CRD)
    except RefusedError as error:
        assert error.status == 404  # noqa: PT017 - it was gone already
    await eventually(lambda: definition_is_gone(api_server))


async def definition_is_gone(server: ApiServer) -> bool:
    return not await server.client.exists(CRD)


async def test_all_of_it_is_accepted_and_its_pods_are_made_under_the_level_restricted(
    release: Release,
) -> None:
    dry = release.install("--dry-run=server")
    assert "kind: Deployment" in dry
    assert not await release.server.client.exists(CRD)

    release.install()
    await eventually(lambda: all_made(release), what="a pod of each component")
    events = await release.server.client.call("GET", f"/api/v1/namespaces/{release.namespace}/events")
    assert [event["message"] for event in events["items"] if event["reason"] == "FailedCreate"] == []


async def all_made(release: Release) -> bool:
    return {"operator", "postgres", "nats"} <= await release.pods()


async def test_an_upgrade_keeps_keys_passwords_and_certificates(release: Release) -> None:
    release.install()
    before = await release.made_once()
    certificate = await release.secret("vaultstream-postgres-tls")
    worker = await release.secret("vaultstream-signing", release.team)
    postgres = (await release.get("statefulsets", "vaultstream-postgres"))["metadata"]["generation"]
    release.install("--set", "operator.logLevel=debug")
    assert await release.made_once() == before
    assert await release.secret("vaultstream-postgres-tls") == certificate
    assert await release.secret("vaultstream-signing", release.team) == worker
    assert (await release.get("statefulsets", "vaultstream-postgres"))["metadata"]["generation"] == postgres


async def test_one_more_namespace_gets_logins_and_restarts_no_server(release: Release) -> None:
    one = ("--set", f"jobNamespaces={{{release.namespace}}}")
    release.helm("install", "vaultstream", CHART, *one)
    servers = [
        (await release.get("statefulsets", name))["spec"]["template"]
        for name in ("vaultstream-postgres", "vaultstream-nats")
    ]
    before = await release.secret("vaultstream-credentials")
    release.install()
    after = await release.secret("vaultstream-credentials")
    assert before.items() <= after.items()
    assert after.keys() - before.keys() == {
        f"postgres.{role}.{release.team}" for role in ("keys", "records", "signing")
    }
    assert servers == [
        (await release.get("statefulsets", name))["spec"]["template"]
        for name in ("vaultstream-postgres", "vaultstream-nats")
    ]


async def test_an_uninstall_keeps_what_can_not_be_made_again_and_an_install_finds_it(
    release: Release,
) -> None:
    release.install()
    job = {
        "apiVersion": "vaultstream.dev/v1alpha1",
        "kind": "SigningJob",
        "metadata": {"name": "kept"},
        "spec": {"records": {"table": "receipts"}},
    }
    path = f"/apis/vaultstream.dev/v1alpha1/namespaces/{release.team}/signingjobs"
    await eventually(lambda: release.server.client.exists(path))
    await release.server.client.call("POST", path, job)
    before = await release.made_once()
    await eventually(lambda: all_made(release), what="a pod of each component")
    volume = (await release.get("persistentvolumeclaims", "data-vaultstream-postgres-0"))["metadata"]["uid"]

    release.helm("uninstall", "vaultstream", "--wait")
    assert await release.made_once() == before
    assert await release.server.client.exists(f"{path}/kept")
    with pytest.raises(RefusedError):
        await release.secret("vaultstream-signing", release.team)

    release.install()
    assert await release.made_once() == before
    assert (await release.get("persistentvolumeclaims", "data-vaultstream-postgres-0"))["metadata"][
        "uid"
    ] == volume
    assert (await release.server.client.call("GET", f"{path}/kept"))["metadata"]["name"] == "kept"


async def test_a_rendering_without_a_look_at_the_cluster_does_not_replace_the_key(release: Release) -> None:
    release.install()
    before = await release.secret("vaultstream-kek")
    blind = helm(
        *("template", "vaultstream", CHART, "--namespace", release.namespace),
        *("--show-only", "templates/workers/kek.yaml"),
    ).stdout
    applied = await release.server.kubectl(
        "apply", "--server-side", "--force-conflicts", "-f", "-", stdin=blind, check=False
    )
    assert applied.status != 0
    assert "immutable" in applied.stderr
    assert await release.secret("vaultstream-kek") == before


async def test_the_operator_may_look_after_jobs_where_they_may_run_and_read_no_secret(
    release: Release,
) -> None:
    release.install()
    operator = await release.server.service_account_kubeconfig(release.namespace, "vaultstream-operator")
    worker = await release.server.service_account_kubeconfig(release.team, "vaultstream-worker")

    async def may(who: Path, verb: str, what: str, where: str) -> bool:
        asked = await release.server.kubectl(
            "auth", "can-i", verb, what, "-n", where, config=who, check=False
        )
        return asked.stdout.strip() == "yes"

    assert await may(operator, "create", "deployments.apps", release.team)
    assert await may(operator, "patch", "signingjobs.vaultstream.dev/status", release.team)
    assert not await may(operator, "create", "deployments.apps", "default")
    assert not await may(operator, "list", "signingjobs.vaultstream.dev", "default")
    assert not await may(operator, "get", "secrets", release.team)
    assert not await may(operator, "create", "pods", release.team)
    assert not await may(worker, "get", "secrets", release.team)
    assert not await may(worker, "list", "pods", release.team)


async def test_who_edits_a_namespace_edits_its_jobs_and_who_views_it_does_not(release: Release) -> None:
    release.install()
    for role in ("view", "edit"):
        await release.server.kubectl("create", "serviceaccount", role, "-n", release.team)
        await release.server.kubectl(
            *("create", "rolebinding", role, "-n", release.team),
            *(f"--clusterrole={role}", f"--serviceaccount={release.team}:{role}"),
        )
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "resourceAttributes": {
                "namespace": release.team,
                "group": "vaultstream.dev",
                "resource": "signingjobs",
            }
        },
    }

    async def may(role: str, verb: str) -> bool:
        body = json.loads(json.dumps(review))
        body["spec"]["resourceAttributes"]["verb"] = verb
        body["spec"]["user"] = f"system:serviceaccount:{release.team}:{role}"
        path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
        return bool((await release.server.client.call("POST", path, body))["status"]["allowed"])

    await eventually(lambda: may("edit", "create"), what="the controller to aggregate roles")
    await eventually(lambda: may("view", "list"), what="the controller to aggregate roles")
    assert not await may("view", "create")
    assert not await may("view", "delete")
