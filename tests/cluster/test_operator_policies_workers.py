"""The admission policy of workers: the operator's token can start and change no workload but the operator's own."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest

from support.planning import TOKEN
from support.policed import (
    Body,
    collection,
    deployment_of,
    place,
    refusal,
    worker,
)
from vaultstream_operator.adapters.kube_api import KubeApi

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.operating import Site


pytestmark = pytest.mark.cluster


ROLES = ("keys", "records", "signing")


def on_pod(**fields: Any) -> Callable[[Body], None]:
    return lambda made: made["spec"]["template"]["spec"].update(fields)


def on_container(**fields: Any) -> Callable[[Body], None]:
    return lambda made: made["spec"]["template"]["spec"]["containers"][0].update(fields)


def on_metadata(**fields: Any) -> Callable[[Body], None]:
    def change(made: Body) -> None:
        for field, more in fields.items():
            made["spec"]["template"]["metadata"].setdefault(field, {}).update(more)

    return change


def volume(**source: Any) -> Callable[[Body], None]:
    return lambda made: made["spec"]["template"]["spec"]["volumes"].append({"name": "more", **source})


def of_volume(name: str, **source: Any) -> Callable[[Body], None]:
    def change(made: Body) -> None:
        volumes = made["spec"]["template"]["spec"]["volumes"]
        [found] = [each for each in volumes if each["name"] == name]
        found.update(source)
        for field in [field for field, value in found.items() if value is None]:
            del found[field]

    return change


def without(name: str, variable: str) -> Callable[[Body], None]:
    def change(made: Body) -> None:
        pod = made["spec"]["template"]["spec"]
        [container] = pod["containers"]
        pod["volumes"] = [each for each in pod["volumes"] if each["name"] != name]
        container["volumeMounts"] = [each for each in container["volumeMounts"] if each["name"] != name]
        container["env"] = [each for each in container["env"] if each["name"] != variable]

    return change


def mount(**fields: Any) -> Callable[[Body], None]:
    return lambda made: made["spec"]["template"]["spec"]["containers"][0]["volumeMounts"].append(fields)


def variable(name: str, **source: Any) -> Callable[[Body], None]:
    def change(made: Body) -> None:
        environment = made["spec"]["template"]["spec"]["containers"][0]["env"]
        environment[:] = [each for each in environment if each["name"] != name]
        environment.append({"name": name, **source})

    return change


def of_secret(name: str, key: str) -> Body:
    return {"valueFrom": {"secretKeyRef": {"name": name, "key": key}}}


def anti_affinity(weight: int = 0, **term: Any) -> Callable[[Body], None]:
    one = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {}, **term}
    terms = {"requiredDuringSchedulingIgnoredDuringExecution": [one]}
    if weight:
        weighted = {"weight": weight, "podAffinityTerm": one}
        terms = {"preferredDuringSchedulingIgnoredDuringExecution": [weighted]}
    return on_pod(affinity={"podAntiAffinity": terms})


RUNS = {"exec": {"command": ["sh", "-c", "env"]}}


ATTACKS = {
    "another image": on_container(image="thief:1"),
    "another command": on_container(command=["sh", "-c", "env"]),
    "another argument": on_container(args=["debug", "psql", "--", "-c", "SELECT 1"]),
    "another role": on_container(args=["worker", "records", TOKEN]),
    "an option in the place of the token": on_container(args=["worker", "signing", "--help"]),
    "a secret in the argument": on_container(args=["worker", "signing", "$(VAULTSTREAM_NATS_PASSWORD)"]),
    "a command at the start": on_container(lifecycle={"postStart": RUNS}),
    "a command at the end": on_container(lifecycle={"preStop": RUNS}),
    "a command as a probe": on_container(livenessProbe=RUNS),
    "a request as a probe": on_container(livenessProbe={"httpGet": {"port": 80, "host": "192.0.2.1"}}),
    "an init container": on_pod(initContainers=[{"name": "first", "image": "vaultstream:dev"}]),
    "a second container": lambda made: made["spec"]["template"]["spec"]["containers"].append(
        {"name": "second", "image": "vaultstream:dev"}
    ),
    "a privileged container": on_container(securityContext={"privileged": True}),
    "a writable file system": on_container(securityContext={"allowPrivilegeEscalation": False}),
    "the root user": on_pod(securityContext={"runAsUser": 0}),
    "the network of the node": on_pod(hostNetwork=True),
    "the processes of the node": on_pod(hostPID=True),
    "a node without the scheduler": on_pod(nodeName="control-plane"),
    "another address of Postgres": on_pod(hostAliases=[{"ip": "192.0.2.1", "hostnames": ["postgres"]}]),
    "another name server": on_pod(dnsPolicy="None", dnsConfig={"nameservers": ["192.0.2.1"]}),
    "the name server of the node": on_pod(dnsPolicy="Default"),
    "another scheduler": on_pod(schedulerName="thief"),
    "the processes of the other containers": on_pod(shareProcessNamespace=True),
    "the addresses of Services": on_pod(enableServiceLinks=True),
    "the users of the node": on_pod(hostUsers=True),
    "another service account": on_pod(serviceAccountName="admin"),
    "the token of the service account": on_pod(automountServiceAccountToken=True),
    "a token as a volume": volume(projected={"sources": [{"serviceAccountToken": {"path": "token"}}]}),
    "a folder of the node": volume(hostPath={"path": "/"}),
    "a ConfigMap": volume(configMap={"name": "other"}),
    "another ConfigMap with revocations": volume(
        configMap={"name": "other", "items": [{"key": "revocations", "path": "revocations"}]}
    ),
    "all of the ConfigMap of revocations": volume(configMap={"name": "vaultstream-revocations"}),
    "the file of revocations as key-encryption keys": of_volume(
        "kek",
        secret=None,
        configMap={"name": "vaultstream-revocations", "items": [{"key": "revocations", "path": "kek"}]},
    ),
    "the file of revocations elsewhere": of_volume(
        "revocations",
        configMap={
            "name": "vaultstream-revocations",
            "items": [{"key": "revocations", "path": "none"}],
        },
    ),
    "nothing in the place of the file of revocations": of_volume("revocations", configMap=None, emptyDir={}),
    "no file of revocations": without("revocations", "VAULTSTREAM_REVOCATIONS_FILE"),
    "the name of the file of revocations alone": without("", "VAULTSTREAM_REVOCATIONS_FILE"),
    "the key-encryption key under another path": of_volume(
        "kek", secret={"secretName": "vaultstream-kek", "items": [{"key": "kek", "path": "other"}]}
    ),
    "the key-encryption key under another name": volume(
        secret={"secretName": "vaultstream-kek", "items": [{"key": "kek", "path": "kek"}]}
    ),
    "one more empty folder": volume(emptyDir={}),
    "a folder in memory": of_volume("tmp", emptyDir={"medium": "Memory"}),
    "a finalizer": lambda made: made["metadata"].update(finalizers=["thief.example/stay"]),
    "a finalizer of its pods": lambda made: made["spec"]["template"]["metadata"].update(
        finalizers=["thief.example/stay"]
    ),
    "an open input": on_container(stdin=True, tty=True),
    "another file of revocations": variable("VAULTSTREAM_REVOCATIONS_FILE", value="/tmp/none"),
    "another Secret as a volume": volume(secret={"secretName": "other"}),
    "credentials as a volume": volume(secret={"secretName": "vaultstream-signing"}),
    "the credentials of another role as a volume": of_volume(
        "credentials", secret={"secretName": "vaultstream-keys", "optional": True}
    ),
    "another Secret as credentials": of_volume("credentials", secret={"secretName": "vaultstream-kek"}),
    "a folder of one's own as credentials": of_volume("credentials", secret=None, emptyDir={}),
    "no credentials that can change": without("credentials", "VAULTSTREAM_CREDENTIALS_DIR"),
    "another folder of credentials": variable("VAULTSTREAM_CREDENTIALS_DIR", value="/tmp"),
    "another Secret named as that of the credentials": variable("VAULTSTREAM_CREDENTIALS_SECRET", value="x"),
    "all of the Secret of the key-encryption keys": volume(secret={"secretName": "vaultstream-kek"}),
    "another Secret in a variable": variable("DATABASE_URL", **of_secret("other", "database-url")),
    "the credentials of another role": variable(
        "DATABASE_URL", **of_secret("vaultstream-keys", "database-url")
    ),
    "credentials in a variable that is logged": variable(
        "VAULTSTREAM_LOG_LEVEL", **of_secret("vaultstream-signing", "nats-password")
    ),
    "a field of the node": variable("NODE", valueFrom={"fieldRef": {"fieldPath": "spec.nodeName"}}),
    "another server for the password": variable("VAULTSTREAM_NATS_URL", value="nats://192.0.2.1:4222"),
    "code in a variable": variable("PYTHONPATH", value="/tmp"),
    "a secret in a value": variable("VAULTSTREAM_LOG_LEVEL", value="$(DATABASE_URL)"),
    "all of a Secret as variables": on_container(envFrom=[{"secretRef": {"name": "other"}}]),
    "another Secret for the registry": on_pod(imagePullSecrets=[{"name": "other"}]),
    "an annotation that adds a container": on_metadata(annotations={"sidecar.istio.io/inject": "true"}),
    "a label that others select by": on_metadata(labels={"app": "shop"}),
    "no label for the network policy": on_metadata(labels={"app.kubernetes.io/part-of": "shop"}),
    "a secret as the termination message": mount(
        name="kek", mountPath="/dev/termination-log", subPath="kek", readOnly=True
    ),
    "a secret in the name of a folder": mount(name="tmp", mountPath="/data", subPathExpr="$(DATABASE_URL)"),
    "a secret in the name of a folder of its own volume": on_container(
        volumeMounts=[{"name": "tmp", "mountPath": "/tmp", "subPathExpr": "$(DATABASE_URL)"}]
    ),
    "a part of a volume": on_container(
        volumeMounts=[{"name": "tmp", "mountPath": "/tmp", "subPath": "part"}]
    ),
    "a folder over the code": mount(name="tmp", mountPath="/usr/local/lib"),
    "another termination message": on_container(terminationMessagePath="/etc/vaultstream/kek/kek"),
    "a port of the node": on_container(ports=[{"name": "metrics", "containerPort": 9090, "hostPort": 9090}]),
    "another runtime": on_pod(runtimeClassName="unconfined"),
    "the name of another host": on_pod(hostname="postgres-0", subdomain="postgres"),
    "every taint": on_pod(tolerations=[{"operator": "Exists"}]),
    "a taint": on_pod(tolerations=[{"key": "dedicated", "operator": "Exists"}]),
    "a node that pods of other namespaces are then kept off": anti_affinity(namespaceSelector={}),
    "a node without pods of another namespace": anti_affinity(namespaces=["kube-system"]),
    "a node that is better without pods of other namespaces": anti_affinity(weight=1, namespaceSelector={}),
    "the name of another app": on_metadata(labels={"app.kubernetes.io/name": "shop"}),
    "the pods of another job": on_metadata(labels={"vaultstream.dev/token": "other"}),
    "the name of another Kubernetes Job": on_metadata(labels={"job-name": "other"}),
    "the controller of other pods": on_metadata(labels={"controller-uid": "x"}),
    "another tenant": on_metadata(labels={"vaultstream.dev/tenant": "bank"}),
    "another port": on_container(ports=[{"name": "postgres", "containerPort": 5432}]),
    "a label of its own that others select by": lambda made: made["metadata"]["labels"].update(app="shop"),
    "an annotation of its own that others act on": lambda made: made["metadata"].update(
        annotations={"reloader.stakater.com/auto": "true"}
    ),
    "a priority": on_pod(priorityClassName="system-node-critical"),
}


async def test_the_operator_can_start_only_its_own_workers(site: Site, api: KubeApi) -> None:
    path, made = deployment_of(site)
    existing = await place(site, path, made)
    passed = []
    for name, attack in ATTACKS.items():
        changed = copy.deepcopy(made)
        attack(changed)
        fresh = {**changed, "metadata": {**changed["metadata"], "name": "fresh"}}
        if not await refusal(api, "PATCH", existing, changed) or not await refusal(api, "POST", path, fresh):
            passed.append(name)
    assert passed == []


async def test_a_deployment_selects_the_pods_of_its_own_job_alone(site: Site, api: KubeApi) -> None:
    path, made = deployment_of(site)
    uid = made["metadata"]["labels"]["vaultstream.dev/job-uid"]
    assert await refusal(api, "POST", path, made) == ""
    wider: list[Body] = [
        {"matchLabels": {"app.kubernetes.io/component": "signing"}},
        {"matchLabels": {"app.kubernetes.io/part-of": "vaultstream"}},
        {
            "matchLabels": {"app.kubernetes.io/component": "signing"},
            "matchExpressions": [{"key": "vaultstream.dev/job-uid", "operator": "Exists"}],
        },
        {"matchLabels": {"vaultstream.dev/job-uid": uid}},
    ]
    made_so = [{**made, "spec": {**made["spec"], "selector": selector}} for selector in wider]
    assert [each["spec"]["selector"] for each in made_so if not await refusal(api, "POST", path, each)] == []


async def test_a_job_can_not_adopt_pods_by_a_selector_of_its_own(site: Site, api: KubeApi) -> None:
    made, path = worker(site, "keys"), collection(site, "keys")
    labels = made["spec"]["template"]["metadata"]["labels"]
    made["spec"] |= {"manualSelector": True, "selector": {"matchLabels": dict(labels)}}
    assert await refusal(api, "POST", path, made)


async def test_a_kubernetes_job_has_one_pod(site: Site, api: KubeApi) -> None:
    wider: list[Body] = [
        {"parallelism": 100_000, "completions": 100_000},
        {"completionMode": "Indexed", "completions": 10},
        {"managedBy": "thief.example/controller"},
        {"parallelism": 1},  # and no completions: its parallelism could be raised later
    ]
    path, passed = collection(site, "keys"), []
    for more in wider:
        made = worker(site, "keys")
        made["spec"] |= more
        if not await refusal(api, "POST", path, made):
            passed.append(more)
    assert passed == []
    queue = worker(site, "keys")
    queue["spec"] |= {"parallelism": 1}
    queue["metadata"].pop("ownerReferences")  # of a SigningJob that does not exist
    existing = await place(site, path, queue)
    assert await refusal(api, "PATCH", existing, {"spec": {"parallelism": 100_000}})


async def test_a_worker_may_keep_away_from_pods_of_its_own_namespace(site: Site, api: KubeApi) -> None:
    path, made = deployment_of(site)
    anti_affinity()(made)
    assert await refusal(api, "POST", path, made) == ""


async def test_every_role_has_a_worker_that_the_operator_can_start(site: Site, api: KubeApi) -> None:
    for role in ROLES:
        assert await refusal(api, "POST", collection(site, role), worker(site, role)) == ""


async def test_only_a_records_worker_can_be_started_to_seal_a_deletion(site: Site, api: KubeApi) -> None:
    for role, more in (("records", "--deleted"), ("records", "--data-dir"), ("keys", "--deleted")):
        made = worker(site, role)
        made["spec"]["template"]["spec"]["containers"][0]["args"].append(more)
        refused = await refusal(api, "POST", collection(site, role), made)
        assert bool(refused) is ((role, more) != ("records", "--deleted"))


async def test_a_records_worker_can_not_get_the_key_encryption_key(site: Site, api: KubeApi) -> None:
    made = worker(site, "records")
    assert await refusal(api, "POST", collection(site, "records"), made) == ""
    kek = {"secretName": "vaultstream-kek", "items": [{"key": "kek", "path": "kek"}]}
    made["spec"]["template"]["spec"]["volumes"].append({"name": "kek", "secret": kek})
    assert await refusal(api, "POST", collection(site, "records"), made)


@pytest.mark.parametrize("role", ["keys", "signing"])
async def test_only_a_records_worker_can_get_the_seal_key(site: Site, api: KubeApi, role: str) -> None:
    made = worker(site, "records")
    [sealing] = [v for v in made["spec"]["template"]["spec"]["volumes"] if v["name"] == "seal-key"]
    assert sealing["secret"]["secretName"] == "vaultstream-seal-key"
    assert await refusal(api, "POST", collection(site, "records"), made) == ""
    other = worker(site, role)
    assert await refusal(api, "POST", collection(site, role), other) == ""
    other["spec"]["template"]["spec"]["volumes"].append(sealing)
    assert await refusal(api, "POST", collection(site, role), other)


async def test_a_records_worker_gets_the_seal_key_alone_of_its_secret(site: Site, api: KubeApi) -> None:
    made = worker(site, "records")
    [sealing] = [v for v in made["spec"]["template"]["spec"]["volumes"] if v["name"] == "seal-key"]
    del sealing["secret"]["items"]
    assert await refusal(api, "POST", collection(site, "records"), made)


async def test_only_roles_with_keys_mount_the_file_of_revocations(site: Site, api: KubeApi) -> None:
    made = worker(site, "records")
    items = [{"key": "revocations", "path": "revocations"}]
    revocations = {"name": "vaultstream-revocations", "items": items}
    made["spec"]["template"]["spec"]["volumes"].append({"name": "revocations", "configMap": revocations})
    assert await refusal(api, "POST", collection(site, "records"), made)


async def test_the_operator_can_change_and_delete_only_what_is_its_own(site: Site, api: KubeApi) -> None:
    path, shop = deployment_of(site)
    shop["metadata"]["labels"] = {"app": "shop"}
    theirs = await place(site, path, shop)
    assert await refusal(api, "PATCH", theirs, {"spec": {"replicas": 0}})
    assert await refusal(
        api, "PATCH", theirs, {"metadata": {"labels": worker(site, "signing")["metadata"]["labels"]}}
    )
    assert await refusal(api, "DELETE", theirs)
    ours = await place(site, *deployment_of(site))
    assert await refusal(api, "DELETE", ours) == ""


async def test_signers_of_a_former_image_are_scaled_and_replaced(site: Site, api: KubeApi) -> None:
    """During an upgrade the new policy may be in effect before the new operator is."""
    path, made = deployment_of(site)
    on_container(image="vaultstream:former")(made)
    on_metadata(annotations={"kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z"})(made)
    former = await place(site, path, made)
    assert await refusal(api, "PATCH", former, {"spec": {"replicas": 3}}) == ""
    on_container(image="vaultstream:dev")(made)
    assert await refusal(api, "PATCH", former, made) == ""
