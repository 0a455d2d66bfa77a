"""A keys or records worker whose pod is refused: the condition has the API server's own words, which only Events have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from support.operating import OPERATOR, RBAC_API, put
from support.waiting import eventually

if TYPE_CHECKING:
    from support.operating import Site

pytestmark = pytest.mark.cluster

NO_SIGNERS = {"pollingInterval": 1}
"""The Deployment of a job without a lag has no replicas, so Kubernetes refuses no pod of it."""


async def limit_processors(site: Site) -> None:
    """Creates a quota for which each pod must have a limit, and waits until it is enforced."""
    quotas = f"/api/v1/namespaces/{site.namespace}/resourcequotas"
    body = {"metadata": {"name": "processors"}, "spec": {"hard": {"limits.cpu": "8"}}}
    await site.client.call("POST", quotas, body)

    async def enforced() -> bool:
        return "hard" in (await site.client.call("GET", f"{quotas}/processors")).get("status", {})

    await eventually(enforced)


async def reported(site: Site, words: str) -> str:
    """Waits for a stall of the job with these words; returns its message."""

    async def message() -> str:
        found: dict[str, Any] = await site.condition("job", "Stalled") or {}
        text = str(found.get("message", ""))
        return text if found.get("reason") == "PodsRefused" and words in text else ""

    return await eventually(message, seconds=40, what=words)


async def test_a_quota_that_refuses_workers_is_reported_with_its_words_and_what_helps(site: Site) -> None:
    await limit_processors(site)
    await site.operator()
    await site.apply("job", scaling=NO_SIGNERS)
    message = await reported(site, "failed quota: processors: must specify limits.cpu")
    assert "Set limits.cpu in `workers.resources` of the chart" in message
    assert "kubectl describe job" not in message
    assert "job-keys-" not in message, "the name of the pod changes with each attempt"


async def test_a_missing_account_of_the_workers_is_named(site: Site) -> None:
    account = f"/api/v1/namespaces/{site.namespace}/serviceaccounts/vaultstream-worker"
    await site.client.call("DELETE", account)
    await site.operator()
    await site.apply("job", scaling=NO_SIGNERS)
    message = await reported(site, 'serviceaccount "vaultstream-worker" not found')
    assert "Create the ServiceAccount vaultstream-worker in this namespace" in message
    assert "quota" not in message


async def test_without_the_right_to_list_events_the_condition_says_where_the_cause_is(site: Site) -> None:
    rules = (await site.client.call("GET", f"{RBAC_API}/clusterroles/{OPERATOR}"))["rules"]
    for rule in rules:
        if rule["resources"] == ["events"]:
            rule["verbs"].remove("list")
    role = {"metadata": {"name": f"no-events-{site.namespace}"}, "rules": rules}
    await put(site.client, f"{RBAC_API}/clusterroles", role)
    bindings = f"{RBAC_API}/namespaces/{site.namespace}/rolebindings"
    binding = await site.client.call("GET", f"{bindings}/{OPERATOR}")
    await site.client.call("DELETE", f"{bindings}/{OPERATOR}")
    reference = binding["roleRef"] | {"name": role["metadata"]["name"]}
    await put(
        site.client,
        bindings,
        {"metadata": {"name": OPERATOR}, "roleRef": reference, "subjects": binding["subjects"]},
    )
    await limit_processors(site)
    operator = await site.operator()
    await site.apply("job", scaling=NO_SIGNERS)
    message = await reported(site, f"`kubectl describe job -n {site.namespace} job-keys` names the cause")
    assert "Most often the ServiceAccount vaultstream-worker is missing" in message
    assert not any("lost namespace" in line["message"] for line in operator.lines())
