"""The operator as a process against a real API server, with its real permissions and its own database.

No kubelet runs there: tests run the workers that the operator's children ask for.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import asyncpg
import yaml

from kube.apiserver import ApiServer
from kube.client import Client, RefusedError
from support.scraping import Reply, Series, ask, parse
from support.signingjobs import install_definition, path_of
from support.waiting import eventually
from vaultstream.local.services import Services
from vaultstream.store import schema

DEPLOY = Path(__file__).parents[2] / "deploy"
RBAC = DEPLOY / "operator-rbac.yaml"
SIGNINGJOBS_RBAC = DEPLOY / "operator-signingjobs-rbac.yaml"
POLICIES = DEPLOY / "operator-policies.yaml"
OPERATOR = "vaultstream-operator"
HOME = "vaultstream"
"""Namespace of the operator in the manifest."""
READY_SECONDS = 45.0
"""Of an operator on a busy machine. The first one waits 5 s for a leader whose Lease somebody deleted."""


async def put(client: Client, collection: str, document: dict[str, Any]) -> None:
    """Creates or replaces an object."""
    try:
        await client.call("POST", collection, document)
    except RefusedError as error:
        if error.status != 409:
            raise
        path = f"{collection}/{document['metadata']['name']}"
        found = await client.call("GET", path)
        version = found["metadata"]["resourceVersion"]
        metadata = document["metadata"] | {"resourceVersion": version}
        await client.call("PUT", path, document | {"metadata": metadata})


RBAC_API = "/apis/rbac.authorization.k8s.io/v1"


async def grant_rights(client: Client, namespace: str) -> None:
    """Gives a namespace the operator's account, with its permissions there only, and the workers' account."""
    for name in (OPERATOR, "vaultstream-worker"):
        await put(client, f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": name}})
    await let_in(client, namespace, home=namespace)
    for document in yaml.safe_load_all(RBAC.read_text()):
        if document["kind"] in ("Role", "RoleBinding"):
            document["metadata"]["namespace"] = namespace
            for subject in document.get("subjects", ()):
                subject["namespace"] = namespace
            kind = f"{document['kind'].lower()}s"
            await put(client, f"{RBAC_API}/namespaces/{namespace}/{kind}", document)
    documents = {d["kind"]: d for d in yaml.safe_load_all(SIGNINGJOBS_RBAC.read_text())}
    await put(client, f"{RBAC_API}/clusterroles", documents["ClusterRole"])
    binding = documents["ClusterRoleBinding"]
    own = {
        "metadata": {"name": f"{binding['metadata']['name']}-{namespace}"},
        "roleRef": binding["roleRef"],
        "subjects": [{**binding["subjects"][0], "namespace": namespace}],
    }
    await put(client, f"{RBAC_API}/clusterrolebindings", own)
    await put_policies(client, policies("pods", "signingjobs"))


async def let_in(client: Client, namespace: str, *, home: str) -> None:
    """Binds the role of the operator whose account is in `home` in a namespace."""
    documents = {d["kind"]: d for d in yaml.safe_load_all(RBAC.read_text())}
    await put(client, f"{RBAC_API}/clusterroles", documents["ClusterRole"])
    binding = documents["ClusterRoleBinding"]
    own = {
        "metadata": {"name": OPERATOR},
        "roleRef": binding["roleRef"],
        "subjects": [{**binding["subjects"][0], "namespace": home}],
    }
    await put(client, f"{RBAC_API}/namespaces/{namespace}/rolebindings", own)


def policies(*names: str, account: str = "", **variables: str) -> list[dict[str, Any]]:
    """Returns the delivered admission policies of these names with their bindings: pods, signingjobs, workers.

    Args:
        names: which of them; all if none is given.
        account: `namespace:name` of the operator's account; empty: the account of that name in every namespace.
        variables: expressions of variables that replace those of the manifest.
    """
    whose = f"== 'system:serviceaccount:{account}'" if account else f".endsWith(':{OPERATOR}')"
    found = []
    for document in yaml.safe_load_all(POLICIES.read_text()):
        if names and document["metadata"]["name"].removeprefix(f"{OPERATOR}-") not in names:
            continue
        spec = document["spec"]
        if "matchConditions" in spec:
            spec["matchConditions"][0]["expression"] = f"request.userInfo.username{whose}"
            for variable in spec["variables"]:
                variable["expression"] = variables.get(variable["name"], variable["expression"])
        found.append(document)
    return found


async def put_policies(client: Client, documents: list[dict[str, Any]]) -> None:
    """Creates or replaces admission policies and bindings; they take effect within seconds."""
    plurals = {
        "ValidatingAdmissionPolicy": "validatingadmissionpolicies",
        "ValidatingAdmissionPolicyBinding": "validatingadmissionpolicybindings",
    }
    for document in documents:
        await put(client, f"/apis/admissionregistration.k8s.io/v1/{plurals[document['kind']]}", document)


QUICK = {"pollingInterval": 1, "lagThreshold": 5}
"""Scaling that reacts within a second, with one signer per five batches."""


@dataclass
class Operator:
    """One process of the operator."""

    process: Process
    log: Path

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    @property
    def port(self) -> int:
        return int(next(line["port"] for line in self.lines() if "port" in line))

    async def ask(self, path: str) -> Reply:
        return await asyncio.to_thread(ask, self.port, path)

    async def metrics(self) -> Series:
        return parse((await self.ask("/metrics")).text)

    async def is_ready(self) -> bool:
        assert self.process.returncode is None, self.log.read_text()
        if not any("operator started" in line["message"] for line in self.lines()):
            return False
        return (await self.ask("/readyz")).status == 200

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()

    async def leave(self, seconds: float = 15.0) -> int:
        """Stops it gracefully; returns its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self.process.wait(), seconds)


@dataclass
class Site:
    """A namespace, its database and NATS, and the operators that serve it."""

    server: ApiServer
    namespace: str
    services: Services
    database_url: str
    db: asyncpg.Connection
    folder: Path
    everywhere: bool = False
    """The operator serves all namespaces, as in the delivered manifest."""
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    started: int = 0
    workers: list[Operator] = field(default_factory=list)
    """Workers started in place of pods, including those that have ended."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stack.aclose()

    @property
    def client(self) -> Client:
        return self.server.client

    def environment(self, **given: str) -> dict[str, str]:
        return {
            **os.environ,
            "DATABASE_URL": self.database_url,
            "VAULTSTREAM_NATS_URL": self.services.nats_url,
            "VAULTSTREAM_NATS_USER": self.services.nats_user,
            "VAULTSTREAM_NATS_PASSWORD": self.services.nats_password,
            "VAULTSTREAM_LOG_FORMAT": "json",
            **given,
        }

    async def operator(self, *, wait: bool = True, **environment: str) -> Operator:
        """Starts an operator with the permissions of its service account; killed after the test."""
        account = HOME if self.everywhere else self.namespace
        kubeconfig = await self.server.service_account_kubeconfig(account, OPERATOR)
        given = {
            "KUBECONFIG": str(kubeconfig),
            "VAULTSTREAM_NAMESPACES": "" if self.everywhere else self.namespace,
            "VAULTSTREAM_OPERATOR_PORT": "0",
            **environment,
        }
        operator = await self._start(["operator"], "operator", given)
        if wait:
            await eventually(operator.is_ready, seconds=READY_SECONDS, what=operator.log.read_text())
        return operator

    @property
    def seal_key_file(self) -> Path:
        """Of the workers. There is none until a test creates it: no node runs the pods that seal deletions."""
        return self.folder / "seal-key"

    async def worker(self, role: str, token: str, *arguments: str, **environment: str) -> Operator:
        """Starts a worker as its pod would; killed after the test."""
        given = {
            "VAULTSTREAM_KEK_FILE": str(self.services.kek_file),
            "VAULTSTREAM_SEAL_KEY_FILE": str(self.seal_key_file),
            "VAULTSTREAM_SEALS_DIR": str(self.folder / "seals"),
            **environment,
        }
        self.workers.append(await self._start(["worker", role, token, *arguments], role, given))
        return self.workers[-1]

    async def start_planning(self, name: str = "job", **spec: Any) -> str:
        """Runs a job until it has a lag; returns its token."""
        await self.apply(name, **{"scaling": QUICK, **spec})
        token = str(await self.status_field(name, "token"))
        await self.worker("keys", token)
        await self.worker("records", token)
        return token

    async def _start(self, words: list[str], name: str, environment: dict[str, str]) -> Operator:
        self.started += 1
        log = self.folder / f"{name}-{self.started}.log"
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "vaultstream_cli",
                *words,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self.environment(**environment),
                cwd=self.folder,
            )
        self.stack.push_async_callback(_end, process)
        return Operator(process, log)

    async def run_workers(self, name: str, *, signers: int = 1) -> list[Operator]:
        """Runs the workers of a job that was created in Postgres."""
        token = await self.status_field(name, "token")
        roles = ["keys", "records", *["signing"] * signers]
        return [await self.worker(role, token) for role in roles]

    # -- the API

    async def table(self, name: str, count: int) -> None:
        await self.db.execute(f"CREATE TABLE {name} (id bigint PRIMARY KEY, payload text)")
        await self.db.execute(
            f"INSERT INTO {name} SELECT i, 'payload ' || i FROM generate_series(1, {count}) i"
        )

    async def apply(self, name: str, *, table: str = "records", **spec: Any) -> dict[str, Any]:
        """Creates a SigningJob."""
        document = {
            "apiVersion": "vaultstream.dev/v1alpha1",
            "kind": "SigningJob",
            "metadata": {"name": name},
            "spec": {
                "records": {"table": table},
                "batchSize": 10,
                "keys": {"count": 4, "algorithm": "ED25519"},
                **spec,
            },
        }
        return await self.client.call("POST", path_of(self.namespace), document)

    async def patch(self, name: str, **fields: Any) -> None:
        """Merges fields into a SigningJob: `spec={...}` or `metadata={...}`."""
        await self.client.call("PATCH", path_of(self.namespace, name), fields)

    async def forge_end(self, name: str) -> None:
        """Writes into the status of a SigningJob that it is complete, like another operator, which may write any."""
        job = await self.job(name)
        kept = [c for c in job["status"]["conditions"] if c["type"] not in ("Complete", "Failed")]
        end = {
            "type": "Complete",
            "status": "True",
            "reason": "AllSigned",
            "message": "All records are signed.",
        }
        end |= {"lastTransitionTime": job["metadata"]["creationTimestamp"], "observedGeneration": 1}
        status = {
            "conditions": [*kept, end],
            "completionTime": end["lastTransitionTime"],
            "state": "Complete",
        }
        await self.client.call("PATCH", f"{path_of(self.namespace, name)}/status", {"status": status})

    async def job(self, name: str) -> dict[str, Any]:
        return await self.client.call("GET", path_of(self.namespace, name))

    async def gone(self, name: str) -> bool:
        return not await self.client.exists(path_of(self.namespace, name))

    async def status(self, name: str) -> dict[str, Any]:
        return dict((await self.job(name)).get("status") or {})

    async def status_field(self, name: str, key: str, *, seconds: float = 45.0) -> Any:
        async def there() -> Any:
            return (await self.status(name)).get(key)

        return await eventually(there, seconds=seconds, what=f"status.{key} of {name}")

    async def condition(self, name: str, kind: str) -> dict[str, Any]:
        found = (await self.status(name)).get("conditions", [])
        return next((dict(c) for c in found if c["type"] == kind), {})

    async def becomes(
        self, name: str, kind: str, reason: str = "", *, seconds: float = 45.0
    ) -> dict[str, Any]:
        """Waits until a condition is True, with this reason if one is given."""

        async def so() -> dict[str, Any] | None:
            found = await self.condition(name, kind)
            return (
                found
                if found.get("status") == "True" and found["reason"] == (reason or found["reason"])
                else None
            )

        return dict(await eventually(so, seconds=seconds, what=f"{kind} {reason}: {await self.status(name)}"))

    async def child(self, name: str, role: str) -> dict[str, Any] | None:
        group, plural = ("apps", "deployments") if role == "signing" else ("batch", "jobs")
        path = f"/apis/{group}/v1/namespaces/{self.namespace}/{plural}/{name}-{role}"
        try:
            return await self.client.call("GET", path)
        except RefusedError as error:
            if error.status == 404:
                return None
            raise

    async def replicas(self, name: str) -> int | None:
        deployment = await self.child(name, "signing")
        return None if deployment is None else int(deployment["spec"]["replicas"])

    async def scales_to(self, name: str, replicas: int | None, *, seconds: float = 45.0) -> None:
        async def so() -> bool:
            return await self.replicas(name) == replicas

        await eventually(so, seconds=seconds, what=f"{replicas} replicas, not {await self.replicas(name)}")

    async def events(self, name: str) -> list[dict[str, Any]]:
        path = f"/apis/events.k8s.io/v1/namespaces/{self.namespace}/events"
        found = await self.client.call("GET", path)
        return [
            e
            for e in found["items"]
            if e["regarding"]["name"] == name and e["regarding"]["kind"] == "SigningJob"
        ]

    async def recorded(self, name: str, *reasons: str) -> list[dict[str, Any]]:
        """Waits until there is an Event with each reason, and returns these Events, oldest first.

        A status is written before its Event, so a reader of the status may be too early for the Event.
        """

        async def so() -> list[dict[str, Any]] | None:
            found = [event for event in await self.events(name) if event["reason"] in reasons]
            return found if {event["reason"] for event in found} == set(reasons) else None

        found = await eventually(so, what=f"an Event with each of {reasons}")
        return sorted(found, key=lambda event: str(event["metadata"]["creationTimestamp"]))

    async def delete(self, name: str) -> None:
        await self.client.call("DELETE", path_of(self.namespace, name))


async def _end(process: Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.wait()


@asynccontextmanager
async def open_site(
    server: ApiServer,
    namespace: str,
    services: Services,
    database_url: str,
    folder: Path,
    *,
    everywhere: bool = False,
) -> AsyncIterator[Site]:
    """Prepares a namespace and a database for operators; `everywhere` needs a private API server."""
    await install_definition(server.client)
    if everywhere:
        await put(server.client, "/api/v1/namespaces", {"metadata": {"name": HOME}})
        await server.kubectl("apply", "-f", str(RBAC), "-f", str(POLICIES))
    else:
        await grant_rights(server.client, namespace)
    db = await asyncpg.connect(database_url)
    try:
        async with Site(server, namespace, services, database_url, db, folder, everywhere) as site:
            yield site
    finally:
        db.terminate()


@asynccontextmanager
async def open_own_site(services: Services, database_url: str, folder: Path) -> AsyncIterator[Site]:
    """An API server of the test's own with the namespace `jobs`, 200 records, and rights in all namespaces."""
    async with ApiServer(folder / "own") as server:
        await server.client.call("POST", "/api/v1/namespaces", {"metadata": {"name": "jobs"}})
        async with open_site(server, "jobs", services, database_url, folder, everywhere=True) as site:
            await schema.migrate(site.db)
            await site.table("records", 200)
            yield site
