"""Two teams, one operator: each works in its own namespace, and has no access beyond it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from support.e2e.release import NAME
from support.e2e.site import HOME, TEAM_A, TEAM_B
from support.waiting import eventually
from vaultstream.crypto.envelope import unwrap
from vaultstream.crypto.keyring import load_keyring
from vaultstream.errors import CustodyError
from vaultstream.store.jobs import get_job
from vaultstream.store.keys import list_wrapped

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from support.e2e.site import Site

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

RECORDS = 2_000
FORBIDDEN: dict[str, Any] = {
    "serviceAccountName": "vaultstream-operator",
    "volumes": [{"name": "host", "hostPath": {"path": "/"}}],
    "hostNetwork": True,
    "env": [{"name": "A", "value": "B"}],
    "image": "localhost/other:1",
    "securityContext": {"privileged": True},
}
"""Fields of pods and containers that a tenant would use to get more rights."""


@pytest.fixture
async def tenant(site: Site) -> AsyncIterator[Path]:
    """The kubeconfig of a service account of team A that may edit its SigningJobs, and read pods and events."""
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


async def test_a_tenant_can_create_jobs_and_access_nothing_else(site: Site, tenant: Path) -> None:
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


async def test_no_field_of_a_job_extends_what_its_pods_may_do(site: Site, tenant: Path) -> None:
    await site.table("greedy", 200)
    try:
        await asyncio.gather(*(does_not_extend(site, tenant, *field) for field in FORBIDDEN.items()))
    finally:
        jobs = [f"greedy-{name.lower()}" for name in FORBIDDEN]
        await site.kubectl("delete", "sj", *jobs, "--ignore-not-found", namespace=TEAM_A)


async def does_not_extend(site: Site, tenant: Path, name: str, value: Any) -> None:
    """Fails if a job can give its signers this field of a pod or a container."""
    job_name = f"greedy-{name.lower()}"
    job = {
        "apiVersion": "vaultstream.dev/v1alpha1",
        "kind": "SigningJob",
        "metadata": {"name": job_name},
        "spec": {"records": {"table": "greedy"}, "signer": {name: value}},
    }

    async def create(validation: str) -> Any:
        return await site.cluster.api.kubectl(
            *("-n", TEAM_A, "create", f"--validate={validation}", "-f", "-"),
            stdin=json.dumps(job),
            check=False,
            config=tenant,
        )

    refused = await create("strict")
    assert refused.status != 0
    assert f'unknown field "spec.signer.{name}"' in refused.stderr

    made = await create("ignore")  # kubectl's check protects nothing: the API server drops unknown fields
    assert made.status == 0, made.stderr
    assert name not in (await site.job(job_name, TEAM_A))["spec"].get("signer", {})
    deployment = f"/apis/apps/v1/namespaces/{TEAM_A}/deployments/{job_name}-signing"
    pod = (await eventually(lambda: site.get(deployment), seconds=60, what=deployment))["spec"]["template"][
        "spec"
    ]
    [container] = pod["containers"]
    assert value != pod.get(name)
    assert value != container.get(name)


async def test_a_tenants_job_over_another_teams_table_is_refused(site: Site) -> None:
    async with site.database() as db:
        await db.execute(
            "CREATE TABLE ns_team_b.salaries AS SELECT i AS id, 'secret' AS payload FROM generate_series(1, 9) i"
        )
        await db.execute("ALTER TABLE ns_team_b.salaries ADD PRIMARY KEY (id)")
    for team in (TEAM_A, TEAM_B):
        await site.apply("salaries", namespace=team, table="ns_team_b.salaries")
    await site.completes("salaries", TEAM_B)

    async def refused() -> bool:
        return (await site.condition("salaries", "Stalled", TEAM_A)).get("reason") == "TableUnusable"

    await eventually(refused, seconds=60)
    assert (
        "may not read ns_team_b.salaries" in (await site.condition("salaries", "Stalled", TEAM_A))["message"]
    )
    assert not (await site.status("salaries", TEAM_A)).get("signed")
    await site.kubectl("delete", "sj", "salaries", namespace=TEAM_A)


async def test_a_team_can_unwrap_only_its_own_keys(site: Site, tmp_path: Path) -> None:
    rings = {}
    for namespace in (TEAM_A, TEAM_B):
        file = tmp_path / namespace
        file.write_text(await site.secret(f"{NAME}-kek", "kek", namespace))
        file.chmod(0o600)
        rings[namespace] = load_keyring(file)
    async with site.database() as db:
        job = await get_job(db, (await site.status("receipts", TEAM_B))["token"])
        wrapped = await list_wrapped(db, job)
    assert wrapped
    for each in wrapped:
        assert unwrap(rings[TEAM_B], each)
        with pytest.raises(CustodyError):
            unwrap(rings[TEAM_A], each)


async def test_a_quota_that_refuses_pods_is_reported_in_a_condition_and_an_event(site: Site) -> None:
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

        message = await eventually(told, seconds=90, what="a condition that names the quota")
        assert "two-pods" in message, message

        async def noted() -> bool:
            return any("two-pods" in event.get("note", "") for event in await site.events(name, TEAM_B))

        await eventually(noted, seconds=30, what="an Event that names the quota")
    finally:
        await site.kubectl("delete", "resourcequota", "two-pods", namespace=TEAM_B)
    await site.completes(name, TEAM_B)
    assert (await site.verify(name, TEAM_B))["valid"] == RECORDS
