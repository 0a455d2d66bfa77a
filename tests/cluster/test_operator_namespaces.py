"""Namespaces that an operator loses, finds again, or is given while it runs: none of them hurts another."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from support.as_user import connect
from support.log_of_seals import LogOfSeals
from support.operating import OPERATOR, RBAC_API, Operator, Site, let_in, open_own_site, put
from support.scraping import Series
from support.waiting import eventually
from vaultstream.store.jobs import find_job, get_job

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from vaultstream.local.services import Services

pytestmark = pytest.mark.cluster

LOST = "vaultstream_namespace_lost"


@pytest.fixture
async def tenant(site: Site) -> AsyncIterator[Site]:
    """Another namespace of the same operator."""
    name = f"test-{uuid4().hex[:12]}"
    await site.client.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    await put(
        site.client,
        f"/api/v1/namespaces/{name}/serviceaccounts",
        {"metadata": {"name": "vaultstream-worker"}},
    )
    await let_in(site.client, name, home=site.namespace)
    yield replace(site, namespace=name)
    if await site.client.exists(f"/api/v1/namespaces/{name}"):
        await site.client.call("DELETE", f"/api/v1/namespaces/{name}")


async def shut_out(tenant: Site) -> None:
    """Deletes the operator's RoleBinding, as an administrator of the namespace may."""
    await tenant.client.call("DELETE", f"{RBAC_API}/namespaces/{tenant.namespace}/rolebindings/{OPERATOR}")


async def lost(operator: Operator, **wanted: float) -> None:
    """Waits until the operator serves these numbers of lost namespaces, by name."""

    async def so() -> bool:
        return lost_in(await operator.metrics()) == wanted

    await eventually(so, seconds=20, what=lambda: f"{wanted}: {operator.log.read_text()}")


def lost_in(series: Series) -> dict[str, float]:
    return {dict(labels)["namespace"]: number for (name, labels), number in series.items() if name == LOST}


async def started(site: Site, name: str) -> None:
    await site.apply(name)
    await eventually(lambda: site.child(name, "signing"), seconds=20, what=f"{name} in {site.namespace}")


async def serves(site: Site, *tenants: Site) -> Operator:
    names = ",".join(each.namespace for each in (site, *tenants))
    return await site.operator(VAULTSTREAM_NAMESPACES=names)


async def test_a_namespace_that_shuts_the_operator_out_is_lost_alone_and_comes_back_by_itself(
    site: Site, tenant: Site
) -> None:
    operator = await serves(site, tenant)
    await started(tenant, "job")
    await lost(operator, **{site.namespace: 0, tenant.namespace: 0})

    await shut_out(tenant)
    await tenant.apply("new")  # the operator may still read it
    await lost(operator, **{site.namespace: 0, tenant.namespace: 1})
    for name in ("job", "new"):
        stalled = await tenant.becomes(name, "Stalled", "NamespaceLost")
        assert f"The operator can't work in namespace {tenant.namespace}: " in stalled["message"]
        assert "Give the operator its Role and RoleBinding there again." in stalled["message"]
    assert (await operator.ask("/readyz")).status == 200
    await started(site, "before")

    assert await operator.leave() == 0
    operator = await serves(site, tenant)  # it is ready
    await lost(operator, **{site.namespace: 0, tenant.namespace: 1})
    await started(site, "after")
    said = [line["message"] for line in operator.lines() if "lost namespace" in line["message"]]
    assert len(said) == 1, "and again after minutes"

    await let_in(tenant.client, tenant.namespace, home=site.namespace)
    await eventually(lambda: tenant.child("new", "signing"), seconds=20)
    await lost(operator, **{site.namespace: 0, tenant.namespace: 0})
    for name in ("job", "new"):
        await tenant.becomes(name, "Reconciling")
        assert (await tenant.condition(name, "Stalled"))["status"] == "False"
    await started(tenant, "later")  # it is watched again
    assert (await operator.ask("/readyz")).status == 200


async def test_a_namespace_without_a_right_to_its_jobs_is_lost_alone_too(site: Site, tenant: Site) -> None:
    """As without deploy/operator-signingjobs-rbac.yaml."""
    binding = f"{RBAC_API}/clusterrolebindings/vaultstream-operator-signingjobs-{site.namespace}"
    await site.client.call("DELETE", binding)
    operator = await serves(site, tenant)
    await started(tenant, "job")
    await shut_out(tenant)
    await tenant.patch("job", metadata={"annotations": {"look": "again"}})
    await lost(operator, **{site.namespace: 0, tenant.namespace: 1})
    await started(site, "other")
    assert (await operator.ask("/readyz")).status == 200
    said = [line["message"] for line in operator.lines()]
    [since] = [at for at, message in enumerate(said) if message.startswith("lost namespace")]
    failed = [message for message in said[since:] if "reconcile failed" in message]
    await let_in(tenant.client, tenant.namespace, home=site.namespace)
    await lost(operator, **{site.namespace: 0, tenant.namespace: 0})
    await started(tenant, "later")
    assert len(failed) <= 1, "what was under way; the rest knows that the namespace is lost"


async def test_a_namespace_of_the_list_may_be_missing(site: Site) -> None:
    absent = replace(site, namespace=f"test-{uuid4().hex[:12]}")
    operator = await serves(site, absent)
    await lost(operator, **{site.namespace: 0, absent.namespace: 1})
    await started(site, "job")

    await site.client.call("POST", "/api/v1/namespaces", {"metadata": {"name": absent.namespace}})
    await let_in(site.client, absent.namespace, home=site.namespace)
    await started(absent, "job")
    await lost(operator, **{site.namespace: 0, absent.namespace: 0})
    await site.client.call("DELETE", f"/api/v1/namespaces/{absent.namespace}")


async def test_a_deletion_in_a_namespace_that_is_lost_for_a_moment_is_still_sealed(
    site: Site, tenant: Site
) -> None:
    operator = await serves(site, tenant)
    await tenant.apply("job", deletionPolicy="Delete")
    token = str(await tenant.status_field("job", "token"))
    async with connect(tenant.database_url) as connection:
        await LogOfSeals(connection).seal(await get_job(connection, token), "1", state="Running")
        await shut_out(tenant)
        await tenant.patch("job", metadata={"annotations": {"look": "again"}})
        await lost(operator, **{site.namespace: 0, tenant.namespace: 1})
        await tenant.delete("job")

        async def marked() -> bool:
            return (await get_job(connection, token)).deleted_at is not None

        await eventually(marked, seconds=20, what=operator.log.read_text)
        assert not await tenant.gone("job")
        await let_in(tenant.client, tenant.namespace, home=site.namespace)

        async def sealing() -> bool:
            child = await tenant.child("job", "records")
            return child is not None and "--deleted" in str(child["spec"]["template"]["spec"]["containers"])

        await eventually(sealing, seconds=20, what=operator.log.read_text)
        assert await find_job(connection, token) is not None


async def gone(site: Site) -> bool:
    return not await site.client.exists(f"/api/v1/namespaces/{site.namespace}")


async def cleaned_up(site: Site, operator: Operator) -> None:
    """Waits until no SigningJob holds a namespace that is being deleted, and the operator has done its work for each."""
    for name in ("running", "ended"):
        await eventually(lambda name=name: site.gone(name), seconds=30, what=operator.log.read_text)
    left = "SELECT count(*) FROM vaultstream.jobs WHERE deleted_at IS NULL"
    assert await site.db.fetchval(left) == 0
    assert await site.db.fetchval("SELECT count(*) FROM vaultstream.key_material") == 0


async def with_jobs(site: Site) -> None:
    """Gives a namespace a running job, and one that has ended."""
    await site.start_planning("running")
    await site.apply("ended")
    await site.status_field("ended", "token")
    ended = "UPDATE vaultstream.jobs SET state = 'Complete', finished_at = now() WHERE name = $1"
    await site.db.execute(ended, f"{site.namespace}/ended")
    await site.becomes("ended", "Complete")


async def test_a_namespace_that_shuts_the_operator_out_can_be_deleted(site: Site, tenant: Site) -> None:
    operator = await serves(site, tenant)
    await with_jobs(tenant)
    await shut_out(tenant)  # else the order would be that of the API server
    await site.client.call("DELETE", f"/api/v1/namespaces/{tenant.namespace}")
    await cleaned_up(tenant, operator)
    await eventually(lambda: gone(tenant), seconds=30)
    await started(site, "other")
    assert (await operator.ask("/readyz")).status == 200


async def test_a_namespace_can_be_deleted_that_an_operator_of_all_namespaces_serves(
    services: Services, database_url: str, tmp_path: Path
) -> None:
    async with open_own_site(services, database_url, tmp_path) as site:
        operator = await site.operator()
        await with_jobs(site)
        await site.client.call("DELETE", "/api/v1/namespaces/jobs")
        await cleaned_up(site, operator)
        assert lost_in(await operator.metrics()) == {}


async def may_select(site: Site) -> None:
    """Gives the operator the right that its selector needs."""
    role = {
        "metadata": {"name": f"namespaces-{site.namespace}"},
        "rules": [{"apiGroups": [""], "resources": ["namespaces"], "verbs": ["list"]}],
    }
    await put(site.client, f"{RBAC_API}/clusterroles", role)
    binding = {
        "metadata": role["metadata"],
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": f"namespaces-{site.namespace}",
        },
        "subjects": [{"kind": "ServiceAccount", "name": OPERATOR, "namespace": site.namespace}],
    }
    await put(site.client, f"{RBAC_API}/clusterrolebindings", binding)


async def selecting(site: Site, tenant: Site) -> Operator:
    """Starts an operator that serves the namespaces with a label."""
    selector = f"team in ({tenant.namespace})"
    return await site.operator(VAULTSTREAM_NAMESPACES="", VAULTSTREAM_NAMESPACE_SELECTOR=selector)


async def label(tenant: Site, team: str | None) -> None:
    path = f"/api/v1/namespaces/{tenant.namespace}"
    await tenant.client.call("PATCH", path, {"metadata": {"labels": {"team": team}}})


async def test_a_namespace_is_served_while_it_has_the_labels_of_the_selector(
    site: Site, tenant: Site
) -> None:
    await may_select(site)
    operator = await selecting(site, tenant)
    await tenant.apply("job")

    await label(tenant, tenant.namespace)
    await eventually(lambda: tenant.child("job", "signing"), seconds=20)
    await lost(operator, **{tenant.namespace: 0})
    await started(tenant, "watched")

    await label(tenant, None)
    await lost(operator, **{tenant.namespace: 1})
    stalled = await tenant.becomes("job", "Stalled", "NamespaceLost")
    assert "it no longer has the labels of the namespace selector" in stalled["message"]
    for name in ("job", "watched"):
        await tenant.delete(name)
        await eventually(lambda name=name: tenant.gone(name), seconds=20, what=operator.log.read_text)
    await lost(operator)


@pytest.mark.parametrize("named", [True, False], ids=["named", "selected"])
async def test_a_namespace_that_is_taken_away_while_no_operator_runs_is_found_lost_by_the_next(
    site: Site, tenant: Site, *, named: bool
) -> None:
    if not named:
        await may_select(site)
        await label(tenant, tenant.namespace)
    operator = await (serves(site, tenant) if named else selecting(site, tenant))
    for name in ("kept", "deleted"):
        await started(tenant, name)
    await operator.leave()

    await label(tenant, None)
    await tenant.delete("deleted")
    operator = await (serves(site) if named else selecting(site, tenant))
    await eventually(lambda: tenant.gone("deleted"), seconds=20, what=operator.log.read_text)
    await tenant.becomes("kept", "Stalled", "NamespaceLost")
    await tenant.delete("kept")
    await eventually(lambda: tenant.gone("kept"), seconds=20, what=operator.log.read_text)
    await lost(operator, **({site.namespace: 0} if named else {}))
