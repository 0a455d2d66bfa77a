"""Two teams, one operator: each works in its namespace, and gets no further."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from support.e2e.release import NAME
from support.e2e.site import HOME, TEAM_A, TEAM_B
from support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from support.e2e.site import Site

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

RECORDS = 2_000


@pytest.fixture
async def tenant(site: Site) -> AsyncIterator[Path]:
    """The kubeconfig of a service account of team A that may edit its SigningJobs, and look at pods and events."""
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "tenant"},
        "rules": [
            {"apiGroups": ["vaultstream.dev"], "resources": ["signingjobs"], "verbs": ["*"]},
            {"apiGroups": ["", "events.k8s.io"], "resources": ["pods", "events"], "verbs": ["get", "list"]},
        ],
    }
    await site.kubectl("create", "serviceaccount", "tenant", namespace=TEAM_A)
    await site.kubectl("create", "-f", "-", namespace=TEAM_A, stdin=json.dumps(role))
    await site.kubectl(
        "create",
        "rolebinding",
        "tenant",
        "--role=tenant",
        f"--serviceaccount={TEAM_A}:tenant",
        namespace=TEAM_A,
    )
    yield await site.cluster.api.service_account_kubeconfig(TEAM_A, "tenant")
    for kind in ("rolebinding", "role", "serviceaccount"):
        await site.kubectl("delete", kind, "tenant", namespace=TEAM_A)


async def test_two_namespaces_two_jobs_one_operator(site: Site) -> None:
    teams = (TEAM_A, TEAM_B)
    for team in teams:
        table = team.replace("-", "_")
        await site.table(table, RECORDS)
        await site.apply("receipts", namespace=team, table=table)
    await asyncio.gather(*(site.completes("receipts", team) for team in teams))
    for team in teams:
        assert (await site.verify("receipts", team))["valid"] == RECORDS
    tokens = {(await site.status("receipts", team))["token"] for team in teams}
    assert len(tokens) == 2


async def test_a_tenant_makes_jobs_and_reaches_nothing_else(site: Site, tenant: Path) -> None:
    async def as_tenant(*words: str, stdin: str = "", namespace: str = TEAM_A) -> Any:
        return await site.cluster.api.kubectl(
            "-n", namespace, *words, stdin=stdin, check=False, config=tenant
        )

    await site.table("tenants", 200)
    job = {
        "apiVersion": "vaultstream.dev/v1alpha1",
        "kind": "SigningJob",
        "metadata": {"name": "tenants"},
        "spec": {
            "records": {"table": "tenants"},
            "batchSize": 50,
            "keys": {"count": 2, "algorithm": "ED25519"},
        },
    }
    made = await as_tenant("create", "-f", "-", stdin=json.dumps(job))
    assert made.status == 0, made.stderr
    await site.completes("tenants", TEAM_A)

    for words in (
        ("get", "secret", f"{NAME}-kek"),
        ("get", "secrets"),
        ("create", "deployment", "own", "--image=localhost/vaultstream:dev"),
        ("create", "token", "default"),
        ("delete", "pods", "--all"),
    ):
        refused = await as_tenant(*words)
        assert "forbidden" in refused.stderr.lower(), words
    for namespace in (HOME, TEAM_B):
        for words in (("get", "secret", f"{NAME}-kek"), ("get", "sj"), ("create", "-f", "-")):
            refused = await as_tenant(*words, stdin=json.dumps(job), namespace=namespace)
            assert "forbidden" in refused.stderr.lower(), (namespace, words, refused)


@pytest.mark.parametrize(
    "field",
    [
        {"serviceAccountName": "vaultstream-operator"},
        {"volumes": [{"name": "host", "hostPath": {"path": "/"}}]},
        {"hostNetwork": True},
        {"env": [{"name": "A", "value": "B"}]},
        {"image": "localhost/other:1"},
        {"securityContext": {"privileged": True}},
    ],
    ids=lambda field: next(iter(field)),
)
async def test_no_field_of_a_job_reaches_into_what_its_pods_may_do(
    site: Site, tenant: Path, field: dict[str, Any]
) -> None:
    job = {
        "apiVersion": "vaultstream.dev/v1alpha1",
        "kind": "SigningJob",
        "metadata": {"name": "greedy"},
        "spec": {"records": {"table": "tenants"}, "signer": field},
    }
    refused = await site.cluster.api.kubectl(
        "-n",
        TEAM_A,
        "create",
        "--validate=strict",
        "-f",
        "-",
        stdin=json.dumps(job),
        check=False,
        config=tenant,
    )
    assert refused.status != 0
    assert f'unknown field "spec.signer.{next(iter(field))}"' in refused.stderr


async def test_a_team_unwraps_its_own_keys_alone(site: Site) -> None:
    keks = [await site.secret(f"{NAME}-kek", "kek", namespace) for namespace in (HOME, TEAM_A, TEAM_B)]
    assert len(set(keks)) == len(keks)


async def test_a_quota_that_refuses_pods_is_told_by_a_condition_and_an_event(site: Site) -> None:
    name = "confined"
    await site.table(name, RECORDS)
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "two-pods"},
        "spec": {"hard": {"pods": "2"}},
    }
    await site.kubectl("create", "-f", "-", namespace=TEAM_B, stdin=json.dumps(quota))
    try:
        await site.apply(name, namespace=TEAM_B)

        async def told() -> str:
            stalled = await site.condition(name, "Stalled", TEAM_B)
            return stalled.get("message", "") if stalled.get("status") == "True" else ""

        message = await eventually(told, seconds=90, what="a condition that tells of the quota")
        assert "two-pods" in message, message

        async def noted() -> bool:
            return any("two-pods" in event.get("note", "") for event in await site.events(name, TEAM_B))

        await eventually(noted, seconds=30, what="an Event that tells of the quota")
    finally:
        await site.kubectl("delete", "resourcequota", "two-pods", namespace=TEAM_B)
    await site.completes(name, TEAM_B)
    assert (await site.verify(name, TEAM_B))["valid"] == RECORDS
