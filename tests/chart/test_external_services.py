"""With `services: external`, the documented Secrets and the chart are all that a job needs: its pods run here as processes."""

from __future__ import annotations

import asyncio
import base64
import os
import secrets
import sys
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kube.apiserver import ApiServer
from kube.certificates import Authority
from support.as_user import connect
from support.chart import CHART, ROOT, Manifest, helm
from support.guarded import (
    READERS,
    GuardedDatabase,
    GuardedNats,
    guarded_database,
    guarded_nats,
    tls_postgres,
)
from support.waiting import eventually
from vaultstream.crypto.keyring import create_keyring

pytestmark = pytest.mark.cluster

VALUES = ROOT / "examples" / "production" / "vaultstream-values.yaml"
HOME, TEAM = "vaultstream", "team-a"
SMALL = (
    *("--set", "monitoring.podMonitor.enabled=false", "--set", "monitoring.prometheusRule.enabled=false"),
    *("--set", f"jobNamespaces={{{TEAM}}}", "--set", "external.natsReplicas=1"),
    # Until Kubernetes counts SigningJobs, some minutes after their definition was installed, a quota of them refuses each.
    *("--set", "limits.signingJobs=null"),
)
JOB = """
apiVersion: vaultstream.dev/v1alpha1
kind: SigningJob
metadata:
  name: receipts
spec:
  records:
    table: receipts
  batchSize: 500
  keys: {count: 2, algorithm: ED25519}
  scaling: {maxReplicaCount: 1, pollingInterval: 1}
"""


@dataclass
class Processes:
    """Runs the containers of pods as processes: with their arguments, their variables, and their Secrets as files."""

    server: ApiServer
    folder: Path
    stack: AsyncExitStack

    async def run(
        self, namespace: str, pod: Manifest, container: Manifest, **given: str
    ) -> asyncio.subprocess.Process:
        folder = self.folder / secrets.token_hex(4)
        places = {
            mount["mountPath"]: await self._volume(namespace, pod, mount["name"], folder)
            for mount in container.get("volumeMounts", [])
        }
        variables = dict(os.environ)
        for entry in container["env"]:
            value = await self._value(namespace, entry)
            for place, copy in places.items():
                if value is not None and (value == place or value.startswith(f"{place}/")):
                    value = f"{copy}{value[len(place) :]}"
            if value is not None:
                variables[entry["name"]] = value
        with (folder / "log").open("wb") as log:
            words = (sys.executable, "-m", "vaultstream_cli", *container["args"])
            process = await asyncio.create_subprocess_exec(
                *words, stdout=log, stderr=log, env=variables | given, cwd=folder
            )
        self.stack.push_async_callback(_end, process)
        return process

    async def _value(self, namespace: str, entry: Manifest) -> str | None:
        source = entry.get("valueFrom", {})
        if "secretKeyRef" in source:
            key = source["secretKeyRef"]
            return (await self._secret(namespace, key["name"], optional=key.get("optional", False))).get(
                key["key"]
            )
        return str(entry.get("value", "a-pod"))

    async def _volume(self, namespace: str, pod: Manifest, name: str, folder: Path) -> Path:
        place = folder / name
        place.mkdir(parents=True)
        (volume,) = (each for each in pod["volumes"] if each["name"] == name)
        if source := volume.get("secret"):
            found = await self._secret(
                namespace, source["secretName"], optional=source.get("optional", False)
            )
            wanted = [item["key"] for item in source.get("items", ())] or list(found)
            for key in wanted if found else ():
                (place / key).write_text(found[key])
                (place / key).chmod(source["defaultMode"])
        return place

    async def _secret(self, namespace: str, name: str, *, optional: bool) -> dict[str, str]:
        path = f"/api/v1/namespaces/{namespace}/secrets/{name}"
        if optional and not await self.server.client.exists(path):
            return {}
        data = (await self.server.client.call("GET", path))["data"]
        return {key: base64.b64decode(value).decode() for key, value in data.items()}


async def _end(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.kill()
    await process.wait()


async def prepare(server: ApiServer, database: GuardedDatabase, nats: GuardedNats, folder: Path) -> None:
    """Creates the Secrets that the chart's README lists for these values, and no others."""
    assert nats.ca_file, "it has TLS"
    url = f"tls://{nats.url.partition('://')[2]}"
    for namespace in (HOME, TEAM):
        await server.kubectl("create", "namespace", namespace)
        await _secret(server, namespace, "ca", {"ca.crt": nats.ca_file.read_text()})
    await _secret(server, HOME, "owner", {"database-url": _plain(database.urls["owner"])})
    for role in ("operator", "keys", "records", "signing"):
        values = {"database-url": _plain(database.urls[role]), "nats-url": url}
        values |= {"nats-user": role, "nats-password": nats.passwords[role]}
        if role in READERS:
            values["source-database-url"] = _plain(database.urls["source"])
        await _secret(server, HOME if role == "operator" else TEAM, role, values)
    create_keyring(folder / "kek")
    await _secret(server, TEAM, "kek", {"kek": (folder / "kek").read_text()})


def _plain(url: str) -> str:
    """Returns a URL that says no more than those of the documents: whom to trust, pods learn from the chart."""
    return url.partition("&sslrootcert=")[0]


@pytest.mark.timeout(300)
async def test_the_documented_secrets_are_all_that_a_job_with_external_services_needs(
    api_server: ApiServer, tmp_path: Path
) -> None:
    authority = Authority(tmp_path / "authority")
    pair, ca = authority.issue("server", "server", hosts=["localhost"]), authority.pair.certificate
    async with (
        AsyncExitStack() as stack,
        tls_postgres(tmp_path / "postgres", pair, ca_file=ca) as root,
        guarded_database(root, "external") as database,
        guarded_nats(tmp_path / "nats", pair=pair, ca_file=ca) as nats,
    ):
        processes = Processes(api_server, tmp_path, stack)
        await prepare(api_server, database, nats, tmp_path)
        arguments = ("--namespace", HOME, "--kubeconfig", api_server.kubeconfig, "--values", VALUES, *SMALL)
        await asyncio.to_thread(helm, "install", "vaultstream", CHART, *arguments)
        path = f"/apis/apps/v1/namespaces/{HOME}/deployments/vaultstream-operator"
        pod = (await api_server.client.call("GET", path))["spec"]["template"]["spec"]
        (migrate,), (operator,) = pod["initContainers"], pod["containers"]
        assert await (await processes.run(HOME, pod, migrate)).wait() == 0, _logs(tmp_path)
        account = await api_server.service_account_kubeconfig(HOME, pod["serviceAccountName"])
        # Without a Lease, which an API server under load may make it lose: nobody restarts it here.
        given = {"KUBECONFIG": str(account), "VAULTSTREAM_OPERATOR_PORT": "0", "VAULTSTREAM_LEASE": ""}
        await processes.run(HOME, pod, operator, **given)
        async with connect(database.urls["owner"]) as db:
            await db.execute("CREATE TABLE public.receipts (id bigint PRIMARY KEY, payload text)")
            await db.execute("INSERT INTO receipts SELECT i, 'payload ' || i FROM generate_series(1, 1000) i")
            await db.execute(f"GRANT SELECT (id, payload) ON receipts TO {database.logins['source']}")
        await api_server.kubectl("apply", "-n", TEAM, "-f", "-", stdin=JOB)
        begun: set[str] = set()

        async def complete() -> bool:
            for each in (await api_server.client.call("GET", f"/api/v1/namespaces/{TEAM}/pods"))["items"]:
                if (name := each["metadata"]["name"]) not in begun:
                    begun.add(name)
                    (worker,) = each["spec"]["containers"]
                    await processes.run(TEAM, each["spec"], worker, VAULTSTREAM_METRICS_PORT="0")
            job = f"/apis/vaultstream.dev/v1alpha1/namespaces/{TEAM}/signingjobs/receipts"
            status = (await api_server.client.call("GET", job)).get("status", {})
            return bool(status.get("state") == "Complete" and status.get("signed") == 1000)

        await eventually(complete, seconds=150, what=lambda: _logs(tmp_path))
        assert len(begun) == 3


async def _secret(server: ApiServer, namespace: str, name: str, values: dict[str, str]) -> None:
    words: Any = (f"--from-literal={key}={value}" for key, value in values.items())
    await server.kubectl("create", "secret", "generic", f"signing-{name}", "-n", namespace, *words)


def _logs(folder: Path) -> str:
    return "\n".join(path.read_text()[-2000:] for path in folder.glob("*/log"))
