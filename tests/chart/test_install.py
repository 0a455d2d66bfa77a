"""A release on a real API server: it is accepted under enforced Pod Security, and keeps what must be kept."""

from __future__ import annotations

import json
import shutil
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from kube.apiserver import ApiServer
from kube.client import RefusedError
from support.chart import CHART, helm
from support.chart_hooks import played_hooks
from support.waiting import eventually
from vaultstream.crypto.seal_keys import parse_seal_keys

pytestmark = pytest.mark.cluster

CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/signingjobs.vaultstream.dev"
RESTRICTED = {
    "pod-security.kubernetes.io/enforce": "restricted",
    "pod-security.kubernetes.io/enforce-version": "latest",
}

FORMER_KEY = r"""
{{- range $namespace := include "vaultstream.jobNamespaces" . | fromJsonArray }}
{{- $name := include "vaultstream.kekSecret" $ }}
{{- $kept := lookup "v1" "Secret" $namespace $name }}
{{- $kek := randBytes 32 }}
{{- $id := printf "vaultstream key-encryption key id 1\x00%s" (b64dec $kek) | sha256sum | trunc 12 }}
{{- $new := printf "kek-%s %s" $id $kek }}
---
apiVersion: v1
kind: Secret
metadata:
  {{- include "vaultstream.metadata" (dict "root" $ "component" "worker" "namespace" $namespace "name" $name "annotations" (dict "helm.sh/resource-policy" "keep")) | nindent 2 }}
type: Opaque
immutable: true
data:
  kek: {{ dig "data" "kek" "" (default dict $kept) | default (b64enc $new) }}
{{- end }}
"""


class Release:
    """A release in its own namespace, with another namespace for jobs."""

    def __init__(self, server: ApiServer, namespace: str, team: str) -> None:
        self.server, self.namespace, self.team = server, namespace, team

    def helm(self, *arguments: str | Path, check: bool = True) -> str:
        place = ("--namespace", self.namespace, "--kubeconfig", self.server.kubeconfig)
        return helm(*arguments, *place, check=check).stdout

    def install(
        self, *arguments: str, chart: Path = CHART, teams: tuple[str, ...] | None = None
    ) -> list[str]:
        """Installs or upgrades; returns the output of the hooks' pods."""
        names = f"jobNamespaces={{{','.join(teams or (self.namespace, self.team))}}}"
        with played_hooks(self.server, self.namespace) as said:
            self.helm("upgrade", "--install", "vaultstream", chart, "--set", names, *arguments)
        return said

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

    async def made_once(self, *, by_rendering: bool = False) -> dict[str, dict[str, str]]:
        """Everything that must never be created a second time; if `by_rendering`, what former templates rendered."""
        sealing = {
            f"seal key of {namespace}": await self.secret("vaultstream-seal-key", namespace)
            for namespace in (() if by_rendering else (self.namespace, self.team))
        }
        return sealing | {
            "key-encryption key": await self.secret("vaultstream-kek"),
            "key-encryption key of the other namespace": await self.secret("vaultstream-kek", self.team),
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
        assert error.status == 404  # noqa: PT017 - it was already gone
    await eventually(lambda: definition_is_gone(api_server))


async def definition_is_gone(server: ApiServer) -> bool:
    return not await server.client.exists(CRD)


async def test_the_chart_is_accepted_and_its_pods_are_created_under_the_level_restricted(
    release: Release,
) -> None:
    assert release.install("--dry-run=server") == []
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


async def test_adding_a_namespace_adds_logins_and_restarts_nats_for_its_account_but_not_postgres(
    release: Release,
) -> None:
    async def template(name: str) -> dict[str, Any]:
        found: dict[str, Any] = (await release.get("statefulsets", name))["spec"]["template"]
        return found

    release.install(teams=(release.namespace,))
    postgres, nats = await template("vaultstream-postgres"), await template("vaultstream-nats")
    before = await release.secret("vaultstream-credentials")
    release.install()
    after = await release.secret("vaultstream-credentials")
    assert before.items() <= after.items()
    assert after.keys() - before.keys() == {
        f"postgres.source.{release.team}",
        *(
            name
            for role in ("keys", "records", "signing")
            for name in (
                f"postgres.{role}.{release.team}",
                f"nats.{role}-{release.team}",
                f"nats.{role}-{release.team}.bcrypt",
            )
        ),
    }
    assert await template("vaultstream-postgres") == postgres
    restarted = await template("vaultstream-nats")
    assert restarted["spec"] == nats["spec"]
    assert restarted["metadata"]["annotations"] != nats["metadata"]["annotations"]


async def test_an_uninstall_keeps_what_can_not_be_recreated_and_an_install_uses_it(
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


async def test_an_upgrade_restores_lost_rights_and_leaves_out_a_namespace_that_was_deleted(
    release: Release,
) -> None:
    """Even while it is being deleted: then nothing can be created in it."""
    release.install()
    rights = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{release.team}"
    for kind in ("roles", "rolebindings"):  # as an administrator of the namespace may
        await release.server.client.call("DELETE", f"{rights}/{kind}/vaultstream-operator")
    release.install()
    for kind in ("roles", "rolebindings"):
        assert await release.server.client.exists(f"{rights}/{kind}/vaultstream-operator")
    gone = f"/api/v1/namespaces/{release.team}"
    await release.server.client.call("PATCH", gone, {"metadata": {"finalizers": ["example.com/held"]}})
    await release.server.client.call("DELETE", gone)
    assert len(release.install("--set", "operator.logLevel=debug")) == 1
    await release.server.client.call("PATCH", gone, {"metadata": {"finalizers": []}})

    async def deleted() -> bool:
        return not await release.server.client.exists(gone)

    await eventually(deleted)
    assert len(release.install("--set", "operator.logLevel=info")) == 1
    assert f"were left out: {release.team}." in release.helm("get", "notes", "vaultstream")

    await release.server.client.call("POST", "/api/v1/namespaces", {"metadata": {"name": release.team}})
    release.install()
    assert await release.secret("vaultstream-signing", release.team)
    assert await release.secret("vaultstream-kek", release.team)


async def test_a_key_is_created_once_for_each_namespace(release: Release) -> None:
    [said] = release.install(teams=(release.namespace,))
    first = await release.secret("vaultstream-kek")
    assert f"{release.namespace}/vaultstream-kek with" in said
    with pytest.raises(RefusedError, match="404"):
        await release.secret("vaultstream-kek", release.team)
    [said] = release.install()
    assert "was not changed" in said
    assert await release.secret("vaultstream-kek") == first
    assert await release.secret("vaultstream-kek", release.team) != first


async def test_each_namespace_has_a_seal_key_whose_log_has_its_name(release: Release) -> None:
    [said] = release.install("--set", "sealKey.name=example.com/sign")
    for namespace in (release.namespace, release.team):
        data = await release.secret("vaultstream-seal-key", namespace)
        keys = parse_seal_keys(data["seal-key"].encode(), namespace)
        assert keys.origin == f"example.com/sign/{namespace}"
        assert f"{namespace}/vaultstream-seal-key with {keys.signing.public_key.vkey}: created" in said
        assert data["seal-key"].split()[0] not in said


async def test_the_key_left_by_an_uninstall_is_found_by_its_labels(release: Release) -> None:
    release.install()
    release.helm("uninstall", "vaultstream")
    selector = "labelSelector=app.kubernetes.io%2Finstance%3Dvaultstream"
    for namespace in (release.namespace, release.team):
        listed = await release.server.client.call("GET", f"/api/v1/namespaces/{namespace}/secrets?{selector}")
        found = {item["metadata"]["name"] for item in listed["items"]}
        assert {"vaultstream-kek", "vaultstream-seal-key"} <= found


async def test_no_release_record_contains_a_key_that_a_hook_created(release: Release) -> None:
    release.install()
    keys = set()
    for namespace in (release.namespace, release.team):
        keys.add((await release.secret("vaultstream-kek", namespace))["kek"].split()[-1])
        seal_key = (await release.secret("vaultstream-seal-key", namespace))["seal-key"]
        keys.add(seal_key.strip().split("+", 4)[-1])  # PRIVATE+KEY+name+id+base64
    assert len(keys) == 4
    told = release.helm("get", "all", "vaultstream")
    encoded = {b64encode(b" " * shift + key.encode())[4:-8].decode() for key in keys for shift in range(3)}
    assert "vaultstream-credentials" in told
    assert [key for key in keys | encoded if key in told] == []


async def test_the_hook_that_creates_the_keys_is_removed_with_its_permissions(release: Release) -> None:
    release.install()
    for kind in ("jobs", "serviceaccounts", "roles", "rolebindings", "networkpolicies"):
        for namespace in (release.namespace, release.team):
            found = await release.server.kubectl("get", kind, "-n", namespace, "-o", "name")
            assert "vaultstream-kek" not in found.stdout, kind


async def test_an_unusable_key_stops_the_installation_and_is_kept(release: Release) -> None:
    body = {"metadata": {"name": "vaultstream-kek"}, "data": {"kek": b64encode(b"no key").decode()}}
    await release.server.client.call("POST", f"/api/v1/namespaces/{release.team}/secrets", body)
    with played_hooks(release.server, release.namespace) as said:
        refused = release.helm(
            "install", "vaultstream", CHART, "--set", f"jobNamespaces={{{release.team}}}", check=False
        )
    assert refused == ""
    assert [text for text in said if f"Line 1 of Secret {release.team}/vaultstream-kek" in text] == said
    assert len(said) == 1, "a failure that a retry can not change is not retried"
    assert await release.secret("vaultstream-kek", release.team) == {"kek": "no key"}
    assert "operator" not in await release.pods()


@pytest.fixture
def former_chart(tmp_path: Path) -> Path:
    """The chart as it was when its templates created the key."""
    chart = tmp_path / "vaultstream"
    shutil.copytree(CHART, chart)
    shutil.rmtree(chart / "templates/kek")
    (chart / "templates/kek.yaml").write_text(FORMER_KEY)
    return chart


async def test_an_upgrade_from_the_chart_that_rendered_the_key_keeps_it(
    release: Release, former_chart: Path
) -> None:
    assert release.install(chart=former_chart) == []
    before = await release.made_once(by_rendering=True)
    for _ in range(2):
        [said] = release.install()
        assert "was not changed" in said
        assert await release.made_once(by_rendering=True) == before
    release.helm("uninstall", "vaultstream")
    assert await release.made_once(by_rendering=True) == before


async def test_a_rollback_to_the_chart_that_rendered_the_key_keeps_it(
    release: Release, former_chart: Path
) -> None:
    release.install(chart=former_chart)
    before = await release.made_once(by_rendering=True)
    release.install()
    release.helm("rollback", "vaultstream")
    assert await release.made_once(by_rendering=True) == before


async def test_the_operator_manages_jobs_only_in_job_namespaces_and_reads_no_secret(
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
    assert await may(operator, "patch", "signingjobs.vaultstream.dev/status", "default")
    assert not await may(operator, "delete", "signingjobs.vaultstream.dev", "default")
    assert not await may(operator, "list", "pods", "default")
    assert not await may(operator, "get", "secrets", release.team)
    assert not await may(operator, "create", "pods", release.team)
    assert not await may(worker, "get", "secrets", release.team)
    assert not await may(worker, "list", "pods", release.team)


async def test_editors_of_a_namespace_can_edit_its_jobs_and_viewers_can_not(release: Release) -> None:
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
