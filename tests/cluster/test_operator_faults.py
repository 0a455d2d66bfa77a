"""Faults around the operator cause no wrong count, no second set of workers and no lost status."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from kube.apiserver import ApiServer
from support.operating import OPERATOR, Site, open_own_site, open_site
from support.waiting import eventually
from vaultstream.local.services import LocalServices
from vaultstream.store import schema
from vaultstream_operator.runtime import LIVE_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from vaultstream.local.services import Services

pytestmark = pytest.mark.cluster


@pytest.fixture
async def own_services(tmp_path: Path) -> AsyncIterator[LocalServices]:
    """A Postgres and a NATS that a test may kill."""
    async with LocalServices(tmp_path / "services") as local:
        yield local


@pytest.fixture
async def frail_site(
    api_server: ApiServer, namespace: str, own_services: LocalServices, tmp_path: Path
) -> AsyncIterator[Site]:
    """A site with its own services."""
    services = await own_services.services()
    async with open_site(api_server, namespace, services, services.database_url, tmp_path) as site:
        await schema.migrate(site.db)
        await site.table("records", 200)
        yield site


def end(pid: int | None) -> None:
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


async def test_an_operator_survives_a_restart_of_the_api_server(
    services: Services, database_url: str, tmp_path: Path
) -> None:
    async with open_own_site(services, database_url, tmp_path) as site:
        operator = await site.operator()
        await site.start_planning()
        await site.scales_to("job", 4)
        await site.server.kill()
        assert (await operator.ask("/livez")).status == 200
        await site.server.start()
        await site.apply("after")
        await eventually(lambda: site.child("after", "signing"), seconds=20)
        assert await site.replicas("job") == 4
        await site.patch("job", spec={"scaling": {"maxReplicaCount": 2}})
        await site.scales_to("job", 2, seconds=20)
        await eventually(lambda: _answers(operator, "/readyz"), seconds=30)
        assert (await operator.ask("/livez")).status == 200
        assert operator.process.returncode is None


async def test_the_signers_are_kept_while_nats_is_unreachable(
    frail_site: Site, own_services: LocalServices
) -> None:
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


async def test_the_signers_are_kept_while_postgres_is_unreachable(
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
    await site.becomes("job", "Reconciling", "Signing")
    await eventually(lambda: site.child("new", "signing"))
    assert await site.replicas("job") == 4


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_long_outage_of_nats_and_postgres_does_not_end_the_operator(
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


async def test_an_operator_starts_while_nats_and_postgres_are_unreachable(
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


async def test_an_operator_waits_for_an_unreachable_api_server_and_stops_on_sigterm(site: Site) -> None:
    config = await site.server.service_account_kubeconfig(site.namespace, OPERATOR)
    away = site.folder / "away.kubeconfig"
    away.write_text(config.read_text().replace(site.server.url, "https://127.0.0.1:1"))
    operator = await site.operator(wait=False, KUBECONFIG=str(away))

    async def waits() -> bool:
        return any("API server is unreachable" in line["message"] for line in operator.lines())

    await eventually(waits)
    assert (await operator.ask("/livez")).status == 200
    assert (await operator.ask("/readyz")).status == 503
    assert await operator.leave() == 0


async def test_a_database_without_the_schema_is_reported(site: Site) -> None:
    await site.db.execute("DROP SCHEMA vaultstream CASCADE")
    await site.operator()
    await site.apply("job")
    stalled = await site.becomes("job", "Stalled", "SchemaNotReady")
    assert "vaultstream migrate" in stalled["message"]
    await schema.migrate(site.db)
    await eventually(lambda: site.child("job", "signing"), seconds=20)


async def test_a_wrong_password_is_reported_and_can_be_fixed_without_a_restart(site: Site) -> None:
    wrong, login = secrets.token_hex(8), f"login_{secrets.token_hex(4)}"
    await schema.migrate(site.db, create_roles=True)
    await site.db.execute(
        f"CREATE ROLE {login} LOGIN PASSWORD '{secrets.token_hex(8)}' IN ROLE vaultstream_operator"
    )
    await ask_for_a_password(site, login)
    own = url_of(site, f"{login}:{wrong}")
    operator = await site.operator(DATABASE_URL=own, VAULTSTREAM_LOG_LEVEL="debug")
    await site.apply("job")
    stalled = await site.becomes("job", "Stalled", "DatabaseRefuses")
    assert "Postgres refuses the user or the password of DATABASE_URL." in stalled["message"]
    assert (
        "Correct the credentials or the privileges of its user. The job then resumes automatically."
        in stalled["message"]
    )
    [event] = await site.recorded("job", "DatabaseRefuses")
    assert (event["type"], event["note"]) == ("Warning", stalled["message"])
    assert (await operator.ask("/livez")).status == 200
    await site.db.execute(f"ALTER ROLE {login} PASSWORD '{wrong}'")
    await eventually(lambda: site.child("job", "signing"), seconds=30)
    await site.becomes("job", "Reconciling")
    assert (await site.condition("job", "Stalled"))["status"] == "False"
    shown = [operator.log.read_text(), *map(json.dumps, (await site.job("job"), await site.events("job")))]
    assert not [text for text in shown if wrong in text]
    assert operator.process.returncode is None


async def ask_for_a_password(site: Site, login: str) -> None:
    """Makes the embedded Postgres, which trusts every client of its socket, ask this login for a password."""
    put_first(Path(await site.db.fetchval("SHOW hba_file")), f"local all {login} scram-sha-256\n")
    await site.db.execute("SELECT pg_reload_conf()")

    async def asks() -> bool:
        try:
            await (await asyncpg.connect(url_of(site, login))).close()
        except asyncpg.InvalidPasswordError:
            return True
        return False

    await eventually(asks)


def put_first(file: Path, line: str) -> None:
    file.write_text(line + file.read_text())


def url_of(site: Site, credentials: str) -> str:
    """The database's URL for another user."""
    url = urlsplit(site.database_url)
    return url._replace(netloc=f"{credentials}@{url.netloc.rpartition('@')[2]}").geturl()


async def test_a_child_that_a_quota_refuses_is_reported_and_retried(site: Site) -> None:
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

    await site.recorded("job", "ChildRefused")
    await site.client.call("DELETE", f"{quotas}/none")
    await eventually(lambda: site.child("job", "signing"), seconds=20)
    await site.becomes("job", "Reconciling")
    assert (await site.condition("job", "Stalled"))["status"] == "False"


async def test_an_invalid_pod_template_is_reported_and_blocks_nothing_else(
    site: Site,
) -> None:
    """The CRD accepts any affinity; the API server refuses this one in a Deployment, with status 500."""
    await site.operator()
    misspelt = {"signer": {"affinity": {"nodeAfinity": {}}}}
    await site.apply("new", **misspelt)
    stalled = await site.becomes("new", "Stalled", "ChildRefused")
    assert "nodeAfinity" in stalled["message"]
    await site.recorded("new", "ChildRefused")

    await site.start_planning()
    await site.scales_to("job", 4)
    await site.patch("job", spec=misspelt)
    await site.becomes("job", "Stalled", "ChildRefused")
    await site.patch("job", spec={"scaling": {"maxReplicaCount": 2}})
    await site.scales_to("job", 2)
    await site.patch("job", spec={"suspend": True})
    await site.scales_to("job", 0)
    for role in ("keys", "records"):
        await eventually(lambda role=role: _gone(site, role), what=f"{role} worker gone")
    assert await site.db.fetchval("SELECT state FROM vaultstream.jobs WHERE name LIKE '%/job'") == "Suspended"

    for name in ("new", "job"):
        await site.patch(name, spec={"suspend": False, "signer": {"affinity": None}})
    await eventually(lambda: site.child("new", "signing"))
    await site.scales_to("job", 2)
    for name in ("new", "job"):
        await eventually(lambda name=name: _not_stalled(site, name), what=f"{name} not Stalled")


async def _not_stalled(site: Site, name: str) -> bool:
    return (await site.condition(name, "Stalled"))["status"] == "False"


async def _gone(site: Site, role: str) -> bool:
    return await site.child("job", role) is None


async def test_an_unreachable_webhook_is_reported_in_the_status(site: Site, namespace: str) -> None:
    path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
    rule = {"apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"], "operations": ["*"]}
    webhook = {
        "name": "away.vaultstream.dev",
        "clientConfig": {"url": "https://127.0.0.1:1/"},
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "rules": [rule],
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "failurePolicy": "Fail",
    }
    await site.client.call("POST", path, {"metadata": {"name": f"away-{namespace}"}, "webhooks": [webhook]})
    try:
        await site.operator()
        await site.apply("job")
        stalled = await site.becomes("job", "Stalled", "ChildRefused")
        assert "away.vaultstream.dev" in stalled["message"]
        await site.recorded("job", "ChildRefused")
    finally:
        await site.client.call("DELETE", f"{path}/away-{namespace}")
    await eventually(lambda: site.child("job", "signing"), seconds=20)
    await eventually(lambda: _not_stalled(site, "job"))


async def test_a_deployment_of_another_owner_is_not_taken_over(site: Site) -> None:
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


async def test_the_debug_log_contains_no_secret(site: Site) -> None:
    operator = await site.operator(VAULTSTREAM_LOG_LEVEL="debug")
    await site.start_planning()
    await site.scales_to("job", 4)
    assert await operator.leave() == 0
    written = operator.log.read_text()
    assert "operator stopped" in written
    assert site.services.nats_password not in written
    assert site.services.kek_file.read_text().strip() not in written


async def _answers(operator: Any, path: str) -> bool:
    return bool((await operator.ask(path)).status == 200)
