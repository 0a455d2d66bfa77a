"""The installed product as the tests see it: jobs, pods, the database, and what an auditor runs."""

from __future__ import annotations

import base64
import json
import ssl
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import asyncpg

from kube.client import RefusedError
from kube.cluster import Cluster
from support.e2e.release import NAME, Release
from support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from kube.client import Client
    from kube.commands import Output

HOME = "vaultstream"
TEAM_A, TEAM_B = "team-a", "team-b"
NAMESPACES = [HOME, TEAM_A, TEAM_B]
TOOLBOX = "toolbox"
END_SECONDS = 400.0
"""Within which a job of these tests must end on two busy cores, whatever happens to it."""
_NOT_FOUND = 404
_RESOURCES = {"requests": {"cpu": "20m", "memory": "96Mi"}, "limits": {"memory": "256Mi"}}
"""Of a signer: five fit on the node."""
_RSA = "RSA_PSS_3072_SHA256"  # slow to sign with: a few thousand records are a load


@dataclass
class Site:
    """A release and the cluster under it."""

    cluster: Cluster
    release: Release
    image: str

    @property
    def client(self) -> Client:
        return self.cluster.api.client

    async def kubectl(
        self, *arguments: str, namespace: str = HOME, stdin: str = "", check: bool = True
    ) -> Output:
        return await self.cluster.api.kubectl("-n", namespace, *arguments, stdin=stdin, check=check)

    async def uninstall(self) -> None:
        """Uninstalls the release and waits until its pods are gone, as the chart's documentation says."""
        await self.release.uninstall()
        own = f"app.kubernetes.io/instance={NAME},app.kubernetes.io/component in (operator,postgres,nats)"
        await self.kubectl("wait", "pods", "--for", "delete", "--timeout", "2m", "--selector", own)

    async def picture(self) -> str:
        """The output of kubectl about the release, for people, when a test has failed."""
        asked = (
            ("get", "pods,jobs,deployments,statefulsets,signingjobs", "--all-namespaces", "-o", "wide"),
            ("describe", "pods"),
            ("logs", f"deployment/{NAME}-operator", "--all-containers", "--tail=300"),
            ("logs", f"statefulset/{NAME}-postgres", "--tail=100"),
            ("logs", f"statefulset/{NAME}-nats", "--tail=100"),
            ("get", "events", "--all-namespaces", "--sort-by=.lastTimestamp"),
        )
        told = [(words, await self.kubectl(*words, check=False)) for words in asked]
        return "\n".join(f"$ kubectl {' '.join(words)}\n{said.stdout}{said.stderr}" for words, said in told)

    async def ailing(self) -> str:
        """Why pods are not ready, in a few words: printed with the failed test."""
        listed = json.loads(
            (await self.kubectl("get", "pods", "--all-namespaces", "-o", "json", check=False)).stdout
        )
        told = []
        for pod in listed["items"]:
            conditions = {each["type"]: each["status"] for each in pod["status"].get("conditions", [])}
            if conditions.get("Ready") == "True" or pod["status"].get("phase") == "Succeeded":
                continue
            namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
            states = [
                *pod["status"].get("initContainerStatuses", []),
                *pod["status"].get("containerStatuses", []),
            ]
            about = f"involvedObject.name={name}"
            events = await self.kubectl(
                "get", "events", "--field-selector", about, namespace=namespace, check=False
            )
            words = ("logs", name, "--all-containers", "--prefix", "--tail=15")
            logs = await self.kubectl(*words, namespace=namespace, check=False)
            told += [f"pod {namespace}/{name}: {conditions}"]
            told += [
                f"  {each['name']}: {each['restartCount']} restarts, {json.dumps(each['state'])}"
                for each in states
            ]
            told += [*events.stdout.splitlines()[-12:], *f"{logs.stdout}{logs.stderr}".splitlines()[-40:]]
        return "\n".join(told)

    async def get(self, path: str) -> dict[str, Any] | None:
        """An object by its path; None if it does not exist or the API server is unreachable."""
        try:
            return await self.client.call("GET", path)
        except RefusedError as error:
            if error.status != _NOT_FOUND:
                raise
        except OSError:
            pass
        return None

    # -- jobs

    async def apply(
        self,
        name: str,
        *,
        namespace: str = HOME,
        table: str = "",
        scaling: dict[str, Any] | None = None,
        **spec: Any,
    ) -> None:
        """Creates a SigningJob that runs for about half a minute; replaces one that an earlier run left."""
        document = {
            "apiVersion": "vaultstream.dev/v1alpha1",
            "kind": "SigningJob",
            "metadata": {"name": name},
            "spec": {
                "records": {"table": table or name.replace("-", "_")},
                "batchSize": 40,
                "keys": {"count": 12, "algorithm": _RSA},
                "scaling": {
                    "pollingInterval": 1,
                    "cooldownPeriod": 1,
                    "maxReplicaCount": 4,
                    "lagThreshold": 2,
                    "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
                    **(scaling or {}),
                },
                "signer": {"resources": _RESOURCES},
                **spec,
            },
        }
        await self.kubectl("delete", "sj", name, "--ignore-not-found", namespace=namespace)
        await self.kubectl("create", "-f", "-", namespace=namespace, stdin=json.dumps(document))

    async def job(self, name: str, namespace: str = HOME) -> dict[str, Any]:
        path = f"/apis/vaultstream.dev/v1alpha1/namespaces/{namespace}/signingjobs/{name}"
        return await self.get(path) or {}

    async def status(self, name: str, namespace: str = HOME) -> dict[str, Any]:
        return dict((await self.job(name, namespace)).get("status") or {})

    async def condition(self, name: str, kind: str, namespace: str = HOME) -> dict[str, Any]:
        found = (await self.status(name, namespace)).get("conditions", [])
        return next((dict(each) for each in found if each["type"] == kind), {})

    async def completes(
        self, name: str, namespace: str = HOME, *, seconds: float = END_SECONDS
    ) -> dict[str, Any]:
        """Waits until a job is Complete; returns its status."""

        async def so() -> bool:
            failed = await self.condition(name, "Failed", namespace)
            assert failed.get("status") != "True", failed
            return (await self.condition(name, "Complete", namespace)).get("status") == "True"

        await eventually(so, seconds=seconds, what=f"{name}, Complete: {await self.status(name, namespace)}")
        return await self.status(name, namespace)

    async def has_signed(
        self, name: str, records: int, namespace: str = HOME, *, seconds: float = 120.0
    ) -> int:
        """Waits until at least this many records of a job are signed; returns how many are."""

        async def so() -> int:
            signed = int((await self.status(name, namespace)).get("signed") or 0)
            return signed if signed >= records else 0

        what = f"{records} signed of {name}: {await self.status(name, namespace)}"
        return int(await eventually(so, seconds=seconds, what=what))

    async def signers(self, name: str, namespace: str = HOME) -> int | None:
        """The requested number of signers; None without a Deployment."""
        deployment = await self.get(f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}-signing")
        return None if deployment is None else int(deployment["spec"]["replicas"])

    async def events(self, name: str, namespace: str = HOME) -> list[dict[str, Any]]:
        found = await self.client.call("GET", f"/apis/events.k8s.io/v1/namespaces/{namespace}/events")
        return [each for each in found["items"] if each["regarding"].get("name") == name]

    # -- pods

    async def pods(self, namespace: str = HOME, **labels: str) -> list[dict[str, Any]]:
        """The pods with these labels that are not terminating; `_` stands for `-` in a label's name."""
        selector = "%2C".join(f"{_LABELS.get(name, name)}%3D{value}" for name, value in labels.items())
        found = await self.client.call("GET", f"/api/v1/namespaces/{namespace}/pods?labelSelector={selector}")
        return [pod for pod in found["items"] if not pod["metadata"].get("deletionTimestamp")]

    async def delete_pod(self, name: str, namespace: str = HOME, *, grace: bool = True) -> None:
        """Deletes a pod, gracefully or by force; does not wait for its end."""
        force = [] if grace else ["--grace-period=0", "--force"]
        await self.kubectl("delete", "pod", name, "--wait=false", *force, namespace=namespace)

    async def pod_is_new(self, labels: dict[str, str], before: str) -> None:
        """Waits until a pod with these labels is ready and its uid is not `before`."""

        async def so() -> bool:
            return any(
                pod["metadata"]["uid"] != before and is_ready(pod) for pod in await self.pods(**labels)
            )

        await eventually(so, seconds=120, what=f"a new, ready pod with {labels}")

    # -- the database

    async def table(self, name: str, records: int) -> None:
        """Creates a table of records."""
        async with self.database() as db:
            await db.execute(f"DROP TABLE IF EXISTS public.{name}")
            await db.execute(f"CREATE TABLE public.{name} (id bigint PRIMARY KEY, payload text NOT NULL)")
            await db.execute(
                f"INSERT INTO public.{name} SELECT i, 'payload ' || i FROM generate_series(1, {records}) i"
            )

    async def slow_view(self, name: str, records: int, *, milliseconds: int = 10) -> None:
        """Creates a view of records each of whose payloads takes time to read, however fast the node is, until `hurry`."""
        async with self.database() as db:
            await db.execute(f"DROP VIEW IF EXISTS public.{name}")
        await self.table(f"{name}_slow", records)
        async with self.database() as db:
            await db.execute(_pause(name, f"PERFORM pg_sleep({milliseconds / 1000});"))
            await db.execute(
                f"CREATE VIEW public.{name} AS SELECT id, public.{name}_pause(payload) AS payload FROM public.{name}_slow"
            )

    async def hurry(self, name: str) -> None:
        """Lets the rest of such a view be read at once."""
        async with self.database() as db:
            await db.execute(_pause(name))

    @asynccontextmanager
    async def database(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection to the bundled Postgres as its owner, with TLS, from the node."""
        url = urlsplit(await self.secret(f"{NAME}-owner", "database-url"))
        service = await self.client.call("GET", f"/api/v1/namespaces/{HOME}/services/{NAME}-postgres")
        context = ssl.create_default_context(cadata=await self.secret(f"{NAME}-ca", "ca.crt"))
        context.check_hostname = False  # the node can't resolve the cluster's names
        connection = await asyncpg.connect(
            host=service["spec"]["clusterIP"],
            user=url.username,
            password=url.password,
            database=url.path.strip("/"),
            ssl=context,
        )
        await connection.set_type_codec("jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
        try:
            yield connection
        finally:
            await connection.close()

    async def secret(self, name: str, key: str, namespace: str = HOME) -> str:
        found = await self.client.call("GET", f"/api/v1/namespaces/{namespace}/secrets/{name}")
        return base64.b64decode(found["data"][key]).decode()

    # -- the auditor

    async def verify(self, name: str, namespace: str = HOME) -> dict[str, Any]:
        """Runs `vaultstream verify` on a job, in a pod with the auditor's rights; returns its report, which must pass."""
        token = (await self.status(name, namespace))["token"]
        await self._need_toolbox()
        ran = await self.kubectl("exec", TOOLBOX, "--", "vaultstream", "verify", token, "--json", check=False)
        assert ran.status == 0, f"{ran.stdout}\n{ran.stderr}"
        return dict(json.loads(ran.stdout))

    async def _need_toolbox(self) -> None:
        pod = await self.get(f"/api/v1/namespaces/{HOME}/pods/{TOOLBOX}")
        if pod is None:
            await self.kubectl("create", "-f", "-", stdin=json.dumps(_toolbox(self.image)))
        await self.kubectl("wait", "--for=condition=Ready", f"pod/{TOOLBOX}", "--timeout=60s")


def _pause(name: str, statement: str = "") -> str:
    """The function of a view's payloads. It is declared stable, so that only those that are read are computed."""
    return (
        f"CREATE OR REPLACE FUNCTION public.{name}_pause(payload text) RETURNS text LANGUAGE plpgsql STABLE "
        f"AS $$ BEGIN {statement} RETURN payload; END $$"
    )


_LABELS = {
    "component": "app.kubernetes.io/component",
    "job": "vaultstream.dev/job",
}


def is_ready(pod: dict[str, Any]) -> bool:
    """Whether a pod is ready."""
    conditions = pod.get("status", {}).get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def restricted() -> tuple[dict[str, Any], dict[str, Any]]:
    """Security contexts of a pod and its container that the Pod Security level `restricted` allows."""
    user = {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}}
    return user, {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def _toolbox(image: str) -> dict[str, Any]:
    def from_secret(variable: str, key: str) -> dict[str, Any]:
        return {"name": variable, "valueFrom": {"secretKeyRef": {"name": f"{NAME}-auditor", "key": key}}}

    of_pod, of_container = restricted()
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        # With the release's labels, so that enforced network policies let it reach Postgres.
        "metadata": {
            "name": TOOLBOX,
            "labels": {"app.kubernetes.io/name": NAME, "app.kubernetes.io/instance": NAME},
        },
        "spec": {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 1,
            "securityContext": of_pod,
            "containers": [
                {
                    "name": TOOLBOX,
                    "image": image,
                    "command": ["python", "-c", "import signal; signal.pause()"],
                    "env": [
                        from_secret("DATABASE_URL", "database-url"),
                        from_secret("VAULTSTREAM_SOURCE_DATABASE_URL", "source-database-url"),
                        from_secret("VAULTSTREAM_NATS_URL", "nats-url"),
                        from_secret("VAULTSTREAM_NATS_USER", "nats-user"),
                        from_secret("VAULTSTREAM_NATS_PASSWORD", "nats-password"),
                        {"name": "PGSSLROOTCERT", "value": "/etc/vaultstream/ca/ca.crt"},
                        {"name": "VAULTSTREAM_NATS_CA_FILE", "value": "/etc/vaultstream/ca/ca.crt"},
                    ],
                    "securityContext": of_container,
                    "volumeMounts": [
                        {"name": "tmp", "mountPath": "/tmp"},
                        {"name": "ca", "mountPath": "/etc/vaultstream/ca", "readOnly": True},
                    ],
                }
            ],
            "volumes": [
                {"name": "tmp", "emptyDir": {}},
                {"name": "ca", "secret": {"secretName": f"{NAME}-ca"}},
            ],
        },
    }
