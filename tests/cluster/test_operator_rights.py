"""The operator's permissions: exactly those of its role, in its namespaces or in all, and never to read a Secret."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from support.operating import OPERATOR, RBAC, RBAC_API, SIGNINGJOBS_RBAC, put
from vaultstream_operator.adapters.kube_api import MERGE_PATCH, KubeApi, KubeError, open_kube_api

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from support.operating import Site

pytestmark = pytest.mark.cluster

SECRET = {"metadata": {"name": "vaultstream-kek"}, "stringData": {"kek": "not to be seen"}}
SIGNINGJOBS = list(yaml.safe_load_all(SIGNINGJOBS_RBAC.read_text()))
DOCUMENTS = {document["kind"]: document for document in yaml.safe_load_all(RBAC.read_text())}

MAY = [
    *(f"{verb} vaultstream.dev/signingjobs" for verb in ("get", "list", "watch", "patch", "delete")),
    "patch vaultstream.dev/signingjobs/status",
    *(f"{verb} apps/deployments" for verb in ("get", "list", "watch", "create", "patch", "delete")),
    *(f"{verb} batch/jobs" for verb in ("get", "list", "watch", "create", "patch", "delete")),
    *(f"{verb} /pods" for verb in ("list", "watch", "patch")),
    *(f"{verb} events.k8s.io/events" for verb in ("create", "list", "patch")),
]
MAY_OUTSIDE = [
    *(f"{verb} vaultstream.dev/signingjobs" for verb in ("get", "list", "watch", "patch")),
    "patch vaultstream.dev/signingjobs/status",
]
"""In namespaces where its role is not bound: enough to take its finalizer off, and to say that the role is missing."""
MAY_NOT = [
    *(f"{verb} /secrets" for verb in ("get", "list", "watch", "create", "patch", "update", "delete")),
    *(f"{verb} /configmaps" for verb in ("get", "list", "create", "patch")),
    *(f"{verb} /pods" for verb in ("get", "create", "update", "delete", "deletecollection")),
    *(f"create /pods/{part}" for part in ("exec", "attach", "portforward", "eviction", "binding")),
    *("get /pods/log", "get /pods/exec", "get /pods/proxy", "patch /pods/ephemeralcontainers"),
    *("create /serviceaccounts", "get /serviceaccounts", "create /serviceaccounts/token"),
    *(f"impersonate /{whom}" for whom in ("users", "groups", "serviceaccounts")),
    *("get /nodes", "list /nodes", "get /nodes/proxy", "create /namespaces", "list /namespaces"),
    *("create vaultstream.dev/signingjobs", "update vaultstream.dev/signingjobs"),
    *(
        "create apps/daemonsets",
        "patch apps/statefulsets",
        "patch apps/deployments/scale",
        "delete apps/replicasets",
    ),
    *(
        f"{verb} rbac.authorization.k8s.io/{resource}"
        for resource in ("roles", "rolebindings", "clusterroles", "clusterrolebindings")
        for verb in ("create", "patch", "update", "bind", "escalate")
    ),
    "patch apiextensions.k8s.io/customresourcedefinitions",
    "create admissionregistration.k8s.io/validatingwebhookconfigurations",
    "create certificates.k8s.io/certificatesigningrequests",
]


@dataclass(frozen=True)
class Account:
    """The operator's account, with its role bound in one namespace or in all.

    Attributes:
        inside: namespaces that it watches.
        outside: namespaces that it must not touch.
    """

    name: str
    config: Path
    api: KubeApi
    inside: list[str]
    outside: list[str]


@pytest.fixture(params=["in its namespaces", "everywhere"])
async def account(request: pytest.FixtureRequest, site: Site) -> AsyncIterator[Account]:
    """The account with its role bound in one namespace, and one with the role bound in all."""
    everywhere = request.param == "everywhere"
    name = "everywhere" if everywhere else OPERATOR
    if everywhere:
        accounts = f"/api/v1/namespaces/{site.namespace}/serviceaccounts"
        await put(site.client, accounts, {"metadata": {"name": name}})
        subject = {
            **DOCUMENTS["ClusterRoleBinding"]["subjects"][0],
            "name": name,
            "namespace": site.namespace,
        }
        binding = {
            "metadata": {"name": f"everywhere-{site.namespace}"},
            "roleRef": DOCUMENTS["ClusterRoleBinding"]["roleRef"],
            "subjects": [subject],
        }
        await site.client.call("POST", f"{RBAC_API}/clusterrolebindings", binding)
    config = await site.server.service_account_kubeconfig(site.namespace, name)
    others = ["default", "kube-system"]
    async with open_kube_api(str(config)) as api:
        if everywhere:
            yield Account(name, config, api, inside=[site.namespace, *others], outside=[])
        else:
            yield Account(name, config, api, inside=[site.namespace], outside=others)
    if everywhere:
        await site.client.call("DELETE", f"{RBAC_API}/clusterrolebindings/everywhere-{site.namespace}")


async def may(account: Account, right: str, namespace: str) -> bool:
    """Asks as the account whether it has a right such as `get apps/deployments`; in all namespaces, if none is named."""
    verb, _, place = right.partition(" ")
    group, resource, *part = place.split("/")
    attributes = {"verb": verb, "group": group, "resource": resource, "namespace": namespace}
    spec = {"resourceAttributes": attributes | ({"subresource": part[0]} if part else {})}
    kind = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview"}
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    return bool((await account.api.create(path, {**kind, "spec": spec}))["status"]["allowed"])


async def test_the_operator_may_do_what_it_needs_and_no_more(account: Account) -> None:
    for namespace in account.inside:
        assert [right for right in MAY if not await may(account, right, namespace)] == []
    for namespace in (*account.inside, *account.outside, ""):
        assert [right for right in MAY_NOT if await may(account, right, namespace)] == []
    for namespace in account.outside:
        assert [right for right in MAY if await may(account, right, namespace)] == MAY_OUTSIDE


async def test_the_operator_has_the_rights_of_its_role_and_no_others(site: Site, account: Account) -> None:
    """Besides those that every service account has."""
    plain = await site.server.service_account_kubeconfig(site.namespace, "default")
    role, lease = (rights(DOCUMENTS[kind]["rules"]) for kind in ("ClusterRole", "Role"))
    [small] = [rights(each["rules"]) for each in SIGNINGJOBS if "rules" in each]
    async with open_kube_api(str(plain)) as everyone:
        for namespace in account.inside:
            found = await granted(account.api, namespace) - await granted(everyone, namespace)
            assert found in (role, role | lease)  # the Lease is in the operator's own namespace
        for namespace in account.outside:
            assert await granted(account.api, namespace) - await granted(everyone, namespace) == small


async def granted(api: KubeApi, namespace: str) -> set[tuple[str, str, str]]:
    """Returns the permissions in a namespace that Kubernetes reports to an account."""
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": namespace},
    }
    said = await api.create("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", review)
    return rights(said["status"]["resourceRules"])


def rights(rules: list[dict[str, Any]]) -> set[tuple[str, str, str]]:
    """Returns the rights of rules, one by one: group, resource, verb."""
    return {
        (group, resource, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


async def refused(account: Account, method: str, path: str, body: Any = None) -> bool:
    """Returns whether the API server forbids a request."""
    kind = MERGE_PATCH if method == "PATCH" else "application/json"
    try:
        await account.api.request(method, path, body=body, content_type=kind)
    except KubeError as error:
        if error.status != 403:
            raise
        return True
    return False


async def test_the_operator_can_read_no_secret(site: Site, account: Account) -> None:
    """Not even those that its pods use."""
    for namespace in (*account.inside, *account.outside):
        secrets = f"/api/v1/namespaces/{namespace}/secrets"
        await put(site.client, secrets, SECRET)
        for path in (secrets, f"{secrets}/vaultstream-kek", f"{secrets}?watch=true"):
            assert await refused(account, "GET", path), path
        assert await refused(
            account, "PATCH", f"{secrets}/vaultstream-kek", {"metadata": {"labels": {"a": "b"}}}
        )
        said = await site.server.kubectl(
            "get", "secrets", "-n", namespace, "-o", "yaml", config=account.config, check=False
        )
        assert "Forbidden" in said.stderr
        assert "not to be seen" not in said.stdout
    assert await refused(account, "GET", "/api/v1/secrets")


async def test_the_operator_can_not_create_or_enter_pods(account: Account) -> None:
    pod = {"metadata": {"name": "own"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    for namespace in (*account.inside, *account.outside):
        pods = f"/api/v1/namespaces/{namespace}/pods"
        assert await refused(account, "POST", pods, pod)
        assert await refused(account, "POST", f"{pods}/own/exec?command=env&stdout=true")
        assert await refused(account, "POST", f"{pods}/own/attach?stdout=true")
        assert await refused(account, "GET", f"{pods}/own/log")
        assert await refused(account, "DELETE", f"{pods}/own")


async def test_the_operator_can_not_extend_its_own_permissions(site: Site, account: Account) -> None:
    everything = {"rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]}
    itself = {"kind": "ServiceAccount", "name": account.name, "namespace": site.namespace}
    admin = {
        "metadata": {"name": f"more-{site.namespace}"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [itself],
    }
    role = {"metadata": {"name": f"more-{site.namespace}"}, **everything}
    own = DOCUMENTS["ClusterRole"]["metadata"]["name"]
    for namespace in (*account.inside, *account.outside):
        for kind, body in (("roles", role), ("rolebindings", admin)):
            assert await refused(account, "POST", f"{RBAC_API}/namespaces/{namespace}/{kind}", body)
        token = f"/api/v1/namespaces/{namespace}/serviceaccounts/default/token"
        assert await refused(account, "POST", token, {"spec": {"expirationSeconds": 600}})
    for kind, body in (("clusterroles", role), ("clusterrolebindings", admin)):
        assert await refused(account, "POST", f"{RBAC_API}/{kind}", body)
    assert await refused(account, "PATCH", f"{RBAC_API}/clusterroles/{own}", everything)
    for whom in (("--as=kubernetes-admin",), ("--as=anyone", "--as-group=system:masters")):
        said = await site.server.kubectl(
            "get", "--raw=/api/v1/secrets", *whom, config=account.config, check=False
        )
        assert "cannot impersonate" in said.stderr
        assert said.status != 0


async def test_the_operator_can_create_children_only_in_its_namespaces(account: Account) -> None:
    template = {
        "metadata": {"labels": {"a": "b"}},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    }
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": account.name},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template},
    }
    for namespace in (*account.inside, *account.outside):
        path = f"/apis/apps/v1/namespaces/{namespace}/deployments?dryRun=All"
        assert await refused(account, "POST", path, deployment) == (namespace in account.outside)
