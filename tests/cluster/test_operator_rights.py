"""What the operator may do: exactly what its role says, and to read a Secret is no part of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from support.operating import OPERATOR, RBAC, put

if TYPE_CHECKING:
    from support.operating import Site

pytestmark = pytest.mark.cluster


async def test_the_operator_may_do_what_it_does_and_no_more(site: Site) -> None:
    config = await site.server.service_account_kubeconfig(site.namespace, OPERATOR)

    async def may(*words: str, namespace: str = site.namespace) -> bool:
        said = await site.server.kubectl("auth", "can-i", *words, "-n", namespace, config=config, check=False)
        return said.stdout.strip() == "yes"

    for verb in ("get", "list", "watch", "patch", "delete"):
        assert await may(verb, "signingjobs.vaultstream.dev")
    assert await may("patch", "signingjobs.vaultstream.dev", "--subresource=status")
    for verb, resource in (
        ("get", "secrets"),
        ("list", "secrets"),
        ("create", "secrets"),
        ("get", "configmaps"),
        ("create", "pods"),
        ("delete", "pods"),
        ("create", "pods/exec"),
        ("create", "serviceaccounts/token"),
        ("create", "signingjobs.vaultstream.dev"),
        ("create", "rolebindings.rbac.authorization.k8s.io"),
        ("get", "nodes"),
    ):
        assert not await may(verb, resource), f"{verb} {resource}"
    assert not await may("get", "signingjobs.vaultstream.dev", namespace="default")
    assert not await may("get", "secrets", namespace="kube-system")


async def test_the_operator_has_the_rights_of_its_role_and_no_others(site: Site) -> None:
    """Beside what every service account has."""
    role = next(d for d in yaml.safe_load_all(RBAC.read_text()) if d["kind"] == "ClusterRole")
    assert await granted(site, OPERATOR) - await granted(site, "default") == rights(role["rules"])


async def granted(site: Site, account: str) -> set[tuple[str, str, str]]:
    """Returns what Kubernetes says that an account may do, asked as that account."""
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": site.namespace},
    }
    said = await site.server.kubectl(
        *("create", "-f-", "--validate=false", "-o", "json"),
        stdin=json.dumps(review),
        config=await site.server.service_account_kubeconfig(site.namespace, account),
    )
    return rights(json.loads(said.stdout)["status"]["resourceRules"])


async def test_the_operator_can_read_no_secret(site: Site) -> None:
    """Not those that it names in pods, either."""
    secret = {"metadata": {"name": "vaultstream-kek"}, "stringData": {"kek": "not to be seen"}}
    for namespace in (site.namespace, "default"):
        await put(site.client, f"/api/v1/namespaces/{namespace}/secrets", secret)
        config = await site.server.service_account_kubeconfig(site.namespace, OPERATOR)
        for words in (("secret", "vaultstream-kek"), ("secrets",)):
            asked = ("get", *words, "-n", namespace, "-o", "yaml")
            said = await site.server.kubectl(*asked, config=config, check=False)
            assert "Forbidden" in said.stderr
            assert "not to be seen" not in said.stdout


def rights(rules: list[dict[str, Any]]) -> set[tuple[str, str, str]]:
    """Returns the rights of rules, one by one: group, resource, verb."""
    return {
        (group, resource, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
