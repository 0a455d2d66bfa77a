"""Namespaces that are selected by their labels, as tenants: with the rights that the chart and the documented commands give.

The operator runs as a process with its account's token, and the variables of the chart's Deployment; workers run under their
tenant's logins.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import yaml

from kube import binaries
from kube.apiserver import ApiServer
from support.as_user import connect
from support.chart import CHART, ROOT, helm
from support.guarded import GuardedDatabase, GuardedNats, workers
from support.guarded_fixtures import TENANTS, server_with_roles, tenants_database, tenants_nats
from support.operating import Operator
from support.signingjobs import path_of
from support.waiting import eventually

pytestmark = pytest.mark.cluster

__all__ = ["server_with_roles", "tenants_database", "tenants_nats"]

HOME = "vaultstream"
LABEL = "example.com/signing"
SHOP, BANK = TENANTS
ANYWHERE = [{"ipBlock": {"cidr": "0.0.0.0/0"}}]
VALUES: dict[str, Any] = {
    "services": "external",
    "external": {"postgresTo": ANYWHERE, "natsTo": ANYWHERE},
    "kek": {"existingSecret": "vaultstream-kek"},
    "sealKey": {"existingSecret": "vaultstream-seal-key"},
    "jobNamespaceSelector": {"matchLabels": {LABEL: "true"}},
    "tenants": list(TENANTS),
    "operator": {"replicas": 2},
}


@pytest.fixture
def values(tmp_path: Path) -> Path:
    path = tmp_path / "values.yaml"
    path.write_text(yaml.safe_dump(VALUES))
    return path


def documented_commands(namespace: str, values: Path, server: ApiServer) -> str:
    """The commands of docs/production.md that prepare a namespace, for another one; the Secrets are those of a node."""
    text = (ROOT / "docs" / "production.md").read_text()
    [block] = [each for each in re.findall(r"```bash\n(.*?)```", text, re.DOTALL) if "--show-only" in each]
    assert block.count("team-c") == 5
    block = block.replace("team-c", namespace).replace("values.yaml", str(values))
    lines = re.sub(r"\\\n\s*", "", block).splitlines()
    kept = [line for line in lines if not line.startswith("vaultstream ")]
    assert len(lines) - len(kept) == 2
    kubectl = f"kubectl --kubeconfig={server.kubeconfig} --cache-dir={server.directory / 'kubectl'}"
    return "\n".join(line.replace("kubectl", kubectl) for line in kept)


async def prepare(namespace: str, values: Path, server: ApiServer) -> None:
    tools = [binaries.find("helm"), binaries.find("kubectl", pinned=True)]
    folders = os.pathsep.join(str(tool.parent) for tool in tools if tool)
    done = await asyncio.to_thread(
        subprocess.run,
        ["bash", "-euo", "pipefail", "-c", documented_commands(namespace, values, server)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=os.environ | {"PATH": f"{folders}{os.pathsep}{os.environ['PATH']}"},
    )
    assert done.returncode == 0, done.stderr


async def installed(server: ApiServer, values: Path) -> dict[str, str]:
    """Installs the chart; returns the variables of the operator that have values of their own."""
    await server.client.call("POST", "/api/v1/namespaces", {"metadata": {"name": HOME}})
    place = ("--namespace", HOME, "--kubeconfig", str(server.kubeconfig))
    helm("install", "vaultstream", CHART, "--values", values, "--no-hooks", "--wait=false", *place)
    path = f"/apis/apps/v1/namespaces/{HOME}/deployments/vaultstream-operator"
    [container] = (await server.client.call("GET", path))["spec"]["template"]["spec"]["containers"]
    files = ("VAULTSTREAM_CREDENTIALS_DIR", "PGSSLROOTCERT", "VAULTSTREAM_NATS_CA_FILE")
    return {
        each["name"]: each["value"]
        for each in container["env"]
        if "value" in each and each["name"] not in files
    }


@pytest.fixture
async def operator(
    api_server: ApiServer,
    tenants_database: GuardedDatabase,
    tenants_nats: GuardedNats,
    values: Path,
    tmp_path: Path,
) -> AsyncIterator[Operator]:
    variables = await installed(api_server, values)
    assert variables["VAULTSTREAM_TENANTS"] == ",".join(TENANTS)
    assert variables["VAULTSTREAM_NAMESPACE_SELECTOR"] == f"{LABEL}=true"
    log = tmp_path / "operator.log"
    given = {
        **variables,
        **tenants_database.environment("operator"),
        **tenants_nats.environment("operator"),
        "KUBECONFIG": str(await api_server.service_account_kubeconfig(HOME, "vaultstream-operator")),
        "VAULTSTREAM_OPERATOR_PORT": "0",
        # An API server under load may make it lose its Lease, and nobody restarts it here.
        "VAULTSTREAM_LEASE": "",
    }
    words = [sys.executable, "-m", "vaultstream_cli", "operator"]
    async with AsyncExitStack() as stack:
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *words, stdout=output, stderr=output, cwd=tmp_path, env=os.environ | given
            )

        async def end() -> None:
            if process.returncode is None:
                process.kill()
            await process.wait()

        stack.push_async_callback(end)
        found = Operator(process, log)
        await eventually(found.is_ready, seconds=30, what=log.read_text)
        yield found


async def signing_job(server: ApiServer, namespace: str) -> None:
    body = {
        "apiVersion": "vaultstream.dev/v1alpha1",
        "kind": "SigningJob",
        "metadata": {"name": "job"},
        "spec": {
            "records": {"table": f"records_{namespace}"},
            "batchSize": 10,
            "keys": {"count": 2, "algorithm": "ED25519"},
        },
    }
    await server.client.call("POST", path_of(namespace), body)


@pytest.fixture
async def prepared(
    api_server: ApiServer, tenants_database: GuardedDatabase, operator: Operator, values: Path
) -> Operator:
    """Gives each tenant a table and a namespace, while the operator runs."""
    admin = await asyncpg.connect(tenants_database.admin_url)
    try:
        for tenant in TENANTS:
            table = f"records_{tenant}"
            await admin.execute(f"CREATE TABLE {table} (id bigint PRIMARY KEY, payload text)")
            await admin.execute(f"INSERT INTO {table} SELECT i, 'p' || i FROM generate_series(1, 30) i")
            await admin.execute(f"GRANT SELECT ON {table} TO {tenants_database.logins['source']}")
    finally:
        await admin.close()
    for tenant in TENANTS:
        await prepare(tenant, values, api_server)
    return operator


async def test_selected_namespaces_are_tenants_that_see_their_own_jobs_alone(
    api_server: ApiServer,
    tenants_database: GuardedDatabase,
    tenants_nats: GuardedNats,
    prepared: Operator,
    tmp_path: Path,
) -> None:
    for tenant in TENANTS:
        await signing_job(api_server, tenant)

    async def status(tenant: str) -> dict[str, Any]:
        found = await api_server.client.call("GET", path_of(tenant, "job"))
        return dict(found.get("status") or {})

    for tenant in TENANTS:
        path = f"/apis/apps/v1/namespaces/{tenant}/deployments/job-signing"
        await eventually(
            lambda path=path: api_server.client.exists(path),
            seconds=30,
            what=prepared.log.read_text,
        )
    async with connect(tenants_database.urls["owner"]) as owner:
        found = await owner.fetch("SELECT name, tenant FROM vaultstream.jobs ORDER BY name")
    assert [tuple(row) for row in found] == [(f"{tenant}/job", tenant) for tenant in sorted(TENANTS)]
    for tenant, other in ((SHOP, BANK), (BANK, SHOP)):
        async with connect(tenants_database.urls[f"auditor-{tenant}"]) as auditor:
            names = await auditor.fetch("SELECT name FROM vaultstream.jobs")
        assert [row["name"] for row in names] == [f"{tenant}/job"], other

    token = str((await status(SHOP))["token"])
    async with workers(tenants_database, tenants_nats, token, tmp_path / "workers", tenant=SHOP):

        async def complete() -> bool:
            return (await status(SHOP)).get("state") == "Complete"

        await eventually(complete, seconds=60, what=lambda: prepared.log.read_text()[-4000:])
    shop, bank = await status(SHOP), await status(BANK)
    assert shop["signed"] == 30
    assert bank.get("state") != "Complete"
