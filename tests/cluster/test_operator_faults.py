"""What goes wrong around the operator: no wrong count, no second set of workers, no lost status."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from kube.apiserver import ApiServer
from support.fleet import open_fleet
from support.operating import OPERATOR, QUICK, Site, open_site
from support.waiting import eventually
from vaultstream.local.services import LocalServices
from vaultstream.store import schema
from vaultstream_operator.runtime import LIVE_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from vaultstream.local.services import Services

pytestmark = pytest.mark.cluster


@pytest.fixture
async def own_services(tmp_path: Path) -> AsyncIterator[LocalServices]:
    """A Postgres and a NATS that a test may end."""
    async with LocalServices(tmp_path / "services") as local:
        yield local


@pytest.fixture
async def frail_site(
    api_server: ApiServer, namespace: str, own_services: LocalServices, tmp_path: Path
) -> AsyncIterator[Site]:
    """A site on services of its own."""
    services = await own_services.services()
    async with open_site(api_server, namespace, services, services.database_url, tmp_path) as site:
        await schema.migrate(site.db)
        await site.table("records", 200)
        yield site


async def children(site: Site) -> list[str]:
    """Names of all Deployments and Jobs of the namespace."""
    found = []
    for path in ("apps/v1/namespaces/{}/deployments", "batch/v1/namespaces/{}/jobs"):
        listed = await site.client.call("GET", f"/apis/{path.format(site.namespace)}")
        found += [item["metadata"]["name"] for item in listed["items"]]
    return sorted(found)


def end(pid: int | None) -> None:
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


async def test_an_operator_killed_in_mid_reconcile_leaves_nothing_half_done(site: Site) -> None:
    names = [f"job-{n}" for n in range(12)]
    for delay in (0.05, 0.2, 0.4):
        operator = await site.operator()
        if delay == 0.05:
            await asyncio.gather(*(site.apply(name) for name in names))
        await asyncio.sleep(delay)  # anywhere in what it is about: where, is not ours to choose
        await operator.kill()
    await site.operator()
    wanted = sorted(f"{name}-{role}" for name in names for role in ("keys", "records", "signing"))

    async def all_there() -> bool:
        return await children(site) == wanted

    await eventually(all_there, seconds=30)
    tokens = [await site.status_field(name, "token") for name in names]
    assert len(set(tokens)) == len(names)
    assert await site.db.fetchval("SELECT count(*) FROM vaultstream.jobs") == len(names)


async def test_a_count_only_grows_with_its_lag_whenever_operators_are_killed(site: Site) -> None:
    at_once = {"tolerance": 0, "policies": [{"type": "Pods", "value": 100, "periodSeconds": 15}]}
    operator = await site.operator()
    await site.apply("job", scaling={**QUICK, "behavior": {"scaleUp": at_once}}, keys={"count": 8})
    seen: list[int] = []

    async def observe() -> None:
        while True:
            count = await site.replicas("job")
            if count is not None and count not in seen[-1:]:
                seen.append(count)
            await asyncio.sleep(0.02)

    async with open_fleet(site) as fleet:
        job = await fleet.play("job", keys=8)
        observing = asyncio.create_task(observe())
        for delay in (0.05, 0.4, 0.8):
            await job.publish(5)
            await asyncio.sleep(delay)  # anywhere in what it is about
            await operator.kill()
            operator = await site.operator()
        await eventually(lambda: seen[-1:] == [3])
        observing.cancel()
    assert seen == sorted(seen)
    assert await children(site) == ["job-keys", "job-records", "job-signing"]
    changes = (await site.status("job"))["scaling"]["history"]["changes"]
    decided = [change["after"] for change in changes]
    assert decided == sorted(set(decided))
    assert set(seen) - {0} <= set(decided)  # no count that was not decided, and remembered


async def test_two_operators_at_once_do_what_one_does(site: Site) -> None:
    operators = await asyncio.gather(site.operator(), site.operator())
    names = [f"job-{n}" for n in range(5)]
    await asyncio.gather(*(site.apply(name, scaling=QUICK) for name in names))
    token = await site.status_field("job-0", "token")
    await site.worker("keys", token)
    await site.worker("records", token)
    await site.scales_to("job-0", 4)
    await site.worker("signing", token)
    await site.becomes("job-0", "Complete", seconds=40)
    assert await site.db.fetchval("SELECT count(*) FROM vaultstream.jobs") == len(names)
    wanted = sorted(f"{name}-{role}" for name in names[1:] for role in ("keys", "records", "signing"))

    async def as_wanted() -> bool:
        return await children(site) == wanted

    await eventually(as_wanted)
    assert len(await site.told("job-0", "AllSigned")) == 1
    history = (await site.status("job-0"))["scaling"]["history"]["changes"]
    assert [(change["before"], change["after"]) for change in history][:1] == [(0, 4)]
    for operator in operators:
        assert await operator.leave() == 0


async def test_an_operator_outlives_a_restart_of_the_api_server(
    services: Services, database_url: str, tmp_path: Path
) -> None:
    async with ApiServer(tmp_path / "own") as server:
        await server.client.call("POST", "/api/v1/namespaces", {"metadata": {"name": "jobs"}})
        async with open_site(server, "jobs", services, database_url, tmp_path, everywhere=True) as site:
            await schema.migrate(site.db)
            await site.table("records", 200)
            operator = await site.operator()
            await site.start_planning()
            await site.scales_to("job", 4)
            await server.kill()
            assert (await operator.ask("/livez")).status == 200
            await server.start()
            await site.apply("after")
            await eventually(lambda: site.child("after", "signing"), seconds=20)
            assert await site.replicas("job") == 4
            await site.patch("job", spec={"scaling": {"maxReplicaCount": 2}})
            await site.scales_to("job", 2, seconds=20)
            await eventually(lambda: _answers(operator, "/readyz"), seconds=30)
            assert (await operator.ask("/livez")).status == 200
            assert operator.process.returncode is None


async def test_the_signers_are_kept_while_nats_is_away(frail_site: Site, own_services: LocalServices) -> None:
    site = frail_site
    operator = await site.operator()
    await site.start_planning()
    await site.scales_to("job", 4)
    end((await own_services.services()).nats_pid)

    async def held() -> bool:
        scaling = (await site.status("job")).get("scaling", {})
        return scaling.get("hold") is True and scaling["reason"] == "NatsUnreachable"

    await eventually(held, seconds=20)
    assert await site.replicas("job") == 4
    assert (await site.condition("job", "ScalingActive"))["status"] == "False"
    assert "lag" not in await site.status("job")
    assert (await operator.ask("/livez")).status == 200
    await own_services.ensure_running()

    async def follows() -> bool:
        return (await site.condition("job", "ScalingActive"))["status"] == "True"

    await eventually(follows, seconds=20)
    assert await site.replicas("job") == 4


async def test_the_signers_are_kept_while_postgres_is_away(
    frail_site: Site, own_services: LocalServices
) -> None:
    site = frail_site
    operator = await site.operator()
    await site.start_planning()
    await site.scales_to("job", 4)
    end((await own_services.services()).postgres_pid)
    await site.becomes("job", "Reconciling", "PostgresUnreachable")
    assert await site.replicas("job") == 4
    assert (await site.status("job"))["records"] == 200  # what was known is not forgotten
    await site.apply("new")
    await site.becomes("new", "Reconciling", "PostgresUnreachable")
    assert (await operator.ask("/livez")).status == 200
    await own_services.ensure_running()
    await site.becomes("job", "Reconciling", "Signing", seconds=30)
    await eventually(lambda: site.child("new", "signing"), seconds=20)
    assert await site.replicas("job") == 4


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_services_that_are_away_for_long_are_no_reason_to_end_the_operator(
    frail_site: Site, own_services: LocalServices
) -> None:
    site, running = frail_site, await own_services.services()
    operator = await site.operator()
    await site.start_planning()
    await site.scales_to("job", 4)
    end(running.nats_pid)
    end(running.postgres_pid)
    began = time.monotonic()
    while time.monotonic() - began < 1.2 * LIVE_SECONDS:
        assert (await operator.ask("/livez")).status == 200
        assert await site.replicas("job") == 4
        await asyncio.sleep(1)
    await own_services.ensure_running()
    await site.becomes("job", "Reconciling", "Signing", seconds=30)
    assert await site.replicas("job") == 4


async def test_an_operator_starts_while_all_services_are_away(
    frail_site: Site, own_services: LocalServices
) -> None:
    site, running = frail_site, await own_services.services()
    end(running.nats_pid)
    end(running.postgres_pid)
    await site.operator()
    await site.apply("job")
    await site.becomes("job", "Reconciling", "PostgresUnreachable")
    await own_services.ensure_running()
    await eventually(lambda: site.child("job", "signing"), seconds=30)


async def test_an_operator_waits_for_an_api_server_that_is_away_and_leaves_when_told_to(site: Site) -> None:
    config = await site.server.service_account_kubeconfig(site.namespace, OPERATOR)
    away = site.folder / "away.kubeconfig"
    away.write_text(config.read_text().replace(site.server.url, "https://127.0.0.1:1"))
    operator = await site.operator(wait=False, KUBECONFIG=str(away))

    async def waits() -> bool:
        return any("does not answer" in line["message"] for line in operator.lines())

    await eventually(waits)
    assert (await operator.ask("/livez")).status == 200
    assert (await operator.ask("/readyz")).status == 503
    assert await operator.leave() == 0


async def test_a_database_without_its_schema_is_told_of(site: Site) -> None:
    await site.db.execute("DROP SCHEMA vaultstream CASCADE")
    await site.operator()
    await site.apply("job")
    stalled = await site.becomes("job", "Stalled", "SchemaNotReady")
    assert "vaultstream migrate" in stalled["message"]
    await schema.migrate(site.db)
    await eventually(lambda: site.child("job", "signing"), seconds=20)


async def test_wrong_credentials_are_told_of(site: Site) -> None:
    wrong = site.database_url.replace("/test_", "/none_", 1)
    await replace(site, database_url=wrong, stack=site.stack).operator()
    await site.apply("job")
    stalled = await site.becomes("job", "Stalled")
    assert stalled["reason"] in {"DatabaseRefuses", "SchemaNotReady"}
    assert "postgresql://" not in json.dumps(await site.status("job"))


async def test_a_child_that_a_quota_refuses_is_told_of_and_tried_again(site: Site) -> None:
    quotas = f"/api/v1/namespaces/{site.namespace}/resourcequotas"
    quota = {"metadata": {"name": "none"}, "spec": {"hard": {"count/deployments.apps": "0"}}}
    await site.client.call("POST", quotas, quota)

    async def counted() -> bool:
        return "hard" in (await site.client.call("GET", f"{quotas}/none")).get("status", {})

    await eventually(counted)
    await site.operator()
    await site.apply("job")
    stalled = await site.becomes("job", "Stalled", "ChildRefused")
    assert "exceeded quota" in stalled["message"]

    await site.told("job", "ChildRefused")
    await site.client.call("DELETE", f"{quotas}/none")
    await eventually(lambda: site.child("job", "signing"), seconds=20)
    await site.becomes("job", "Reconciling")
    assert (await site.condition("job", "Stalled"))["status"] == "False"


async def test_somebody_elses_deployment_is_not_taken_over(site: Site) -> None:
    pod = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    theirs = {
        "metadata": {"name": "job-signing"},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": pod},
    }
    path = f"/apis/apps/v1/namespaces/{site.namespace}/deployments"
    await site.client.call("POST", path, theirs)
    await site.operator()
    await site.apply("job")
    await site.becomes("job", "Stalled", "ChildNotOurs")
    found = await site.child("job", "signing")
    assert found is not None
    assert "ownerReferences" not in found["metadata"]
    await site.client.call("DELETE", f"{path}/job-signing")

    async def ours() -> bool:
        found = await site.child("job", "signing")
        return found is not None and "ownerReferences" in found["metadata"]

    await eventually(ours, seconds=20)


async def test_no_secret_reaches_the_log_at_its_finest(site: Site) -> None:
    operator = await site.operator(VAULTSTREAM_LOG_LEVEL="debug")
    await site.start_planning()
    await site.scales_to("job", 4)
    assert await operator.leave() == 0
    written = operator.log.read_text()
    assert "the operator left" in written
    assert site.services.nats_password not in written
    assert site.services.kek_file.read_text().strip() not in written


async def _answers(operator: Any, path: str) -> bool:
    return bool((await operator.ask(path)).status == 200)
