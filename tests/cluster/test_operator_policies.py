"""The admission policies: what the operator's token can not do although the operator's role has the verb."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from support.operating import OPERATOR, POLICIES, QUICK, policies, put_policies
from support.planning import TOKEN, spec_of
from support.signingjobs import path_of
from support.waiting import eventually
from vaultstream_operator.adapters.kube_api import MERGE_PATCH, KubeApi, KubeError, open_kube_api
from vaultstream_operator.adapters.kubernetes import DELETION_COST
from vaultstream_operator.core.children import Owner, signing_deployment, worker_job
from vaultstream_operator.settings import WorkerSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from kube.apiserver import ApiServer
    from support.operating import Site

pytestmark = pytest.mark.cluster

Body = dict[str, Any]
ROLES = ("keys", "records", "signing")
ADMISSION = "/apis/admissionregistration.k8s.io/v1"


@pytest.fixture
async def api(site: Site) -> AsyncIterator[KubeApi]:
    """The API with the operator's token, as a thief has it, while all policies are in effect."""
    await put_policies(site.client, policies())
    config = await site.server.service_account_kubeconfig(site.namespace, OPERATOR)
    async with open_kube_api(str(config)) as api:
        probes = [await place(site, *pod_of(site)), await place(site, path_of(site.namespace), signing_job())]
        deployment = await place(site, *deployment_of(site))
        for probe in (*probes, deployment):
            await eventually(lambda probe=probe: refusal(api, "PATCH", probe, RELABELED), seconds=30)
            await site.client.call("DELETE", probe)
        yield api
        # Other tests that share the API server have workers with other images.
        for plural in ("validatingadmissionpolicybindings", "validatingadmissionpolicies"):
            await site.client.call("DELETE", f"{ADMISSION}/{plural}/{OPERATOR}-workers")

        async def permitted() -> bool:
            path, made = deployment_of(site)
            return await refusal(api, "POST", path, made | {"metadata": {"name": "plain"}}) == ""

        await eventually(permitted, seconds=30)


RELABELED: Body = {"metadata": {"labels": {"app.kubernetes.io/managed-by": "somebody"}}}


async def refusal(api: KubeApi, method: str, path: str, body: Body | None = None) -> str:
    """Sends a request that changes nothing; returns why the API server forbids it, empty if it does not."""
    kind = MERGE_PATCH if method == "PATCH" else "application/json"
    try:
        await api.request(method, path, body=body, content_type=kind, query={"dryRun": "All"})
    except KubeError as error:
        if error.status != 403 or "ValidatingAdmissionPolicy 'vaultstream-operator-" not in error.message:
            raise
        return error.message
    return ""


async def place(site: Site, path: str, body: Body) -> str:
    """Creates an object as the administrator; returns its path."""
    await site.client.call("POST", path, body)
    return f"{path}/{body['metadata']['name']}"


def pod_of(site: Site, role: str = "signing", **annotations: str) -> tuple[str, Body]:
    """A pod of a worker, which no node runs here."""
    template = worker(site, role)["spec"]["template"]
    name = f"{role}-{uuid4().hex[:8]}"
    metadata = {**template["metadata"], "name": name, "annotations": annotations}
    pod = {"metadata": metadata, "spec": {**template["spec"], "restartPolicy": "Always"}}
    return f"/api/v1/namespaces/{site.namespace}/pods", pod


def deployment_of(site: Site) -> tuple[str, Body]:
    made = worker(site, "signing")
    made["metadata"].pop("ownerReferences")  # of a SigningJob that does not exist
    return f"/apis/apps/v1/namespaces/{site.namespace}/deployments", made


def signing_job() -> Body:
    return {
        "apiVersion": "vaultstream.dev/v1alpha1",
        "kind": "SigningJob",
        "metadata": {"name": f"job-{uuid4().hex[:8]}"},
        "spec": {"records": {"table": "records"}, "batchSize": 10, "keys": {"count": 4}, "suspend": True},
    }


def worker(site: Site, role: str, options: WorkerSettings | None = None, **signer: Any) -> Body:
    """The manifest that the operator applies for a worker."""
    owner = Owner(site.namespace, f"job-{uuid4().hex[:8]}", str(uuid4()))
    spec, options = spec_of(signer=signer), options or WorkerSettings()
    if role == "signing":
        made = signing_deployment(owner, TOKEN, spec, options, replicas=0)
    else:
        made = worker_job(owner, role, TOKEN, spec, options)
    return copy.deepcopy(made)


def collection(site: Site, role: str) -> str:
    group, plural = ("apps", "deployments") if role == "signing" else ("batch", "jobs")
    return f"/apis/{group}/v1/namespaces/{site.namespace}/{plural}"


# -- pods


async def test_the_operator_marks_pods_of_signers_as_before(site: Site, api: KubeApi) -> None:
    pod = await place(site, *pod_of(site, other="kept"))
    for value in ("-100", None):
        await api.patch(pod, {"metadata": {"annotations": {DELETION_COST: value}}}, MERGE_PATCH)
        annotations = (await site.client.call("GET", pod))["metadata"]["annotations"]
        assert annotations == {"other": "kept"} | ({DELETION_COST: value} if value else {})


CHANGES_OF_A_POD: list[Body] = [
    {"spec": {"activeDeadlineSeconds": 1}},
    {"metadata": {"labels": {"app.kubernetes.io/part-of": None}}},
    {"metadata": {"labels": {"more": "labels"}}},
    {"metadata": {"annotations": {"other": "changed"}}},
    {"metadata": {"annotations": {"other": None}}},
    {"metadata": {"annotations": {"sidecar.istio.io/inject": "true", DELETION_COST: "-100"}}},
    {"metadata": {"finalizers": ["example.com/stuck"]}},
    {"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "a", "uid": "b"}]}},
]


async def test_the_operator_can_not_replace_the_image_of_a_pod(site: Site, api: KubeApi) -> None:
    pod = await place(site, *pod_of(site))
    [container] = (await site.client.call("GET", pod))["spec"]["containers"]
    stolen = {"spec": {"containers": [{**container, "image": "thief:1"}]}}
    assert "operator-pods" in await refusal(api, "PATCH", pod, stolen)


async def test_the_operator_can_change_nothing_else_of_a_pod(site: Site, api: KubeApi) -> None:
    pod = await place(site, *pod_of(site, other="kept"))
    assert [each for each in CHANGES_OF_A_POD if not await refusal(api, "PATCH", pod, each)] == []


async def test_the_operator_can_mark_no_pod_that_is_not_a_signer(site: Site, api: KubeApi) -> None:
    mark = {"metadata": {"annotations": {DELETION_COST: "-100"}}}
    for role in ("keys", "records"):
        assert await refusal(api, "PATCH", await place(site, *pod_of(site, role)), mark)
    path, stranger = pod_of(site)
    stranger["metadata"]["labels"] = {"app": "shop"}
    assert await refusal(api, "PATCH", await place(site, path, stranger), mark)


async def test_others_change_pods_as_their_rights_allow(site: Site, api: KubeApi) -> None:
    pod = await place(site, *pod_of(site))
    await site.client.call("PATCH", pod, {"metadata": {"labels": {"more": "labels"}}})


# -- SigningJobs


CHANGES_OF_A_SIGNING_JOB: list[Body] = [
    {"spec": {"suspend": False}},
    {"spec": {"deletionPolicy": "Delete"}},
    {"metadata": {"labels": {"more": "labels"}}},
    {"metadata": {"annotations": {"vaultstream.dev/paused": "true"}}},
    {"metadata": {"finalizers": ["example.com/stuck"]}},
]


async def test_the_operator_can_change_nothing_of_a_signing_job_but_its_finalizer(
    site: Site, api: KubeApi
) -> None:
    job = await place(site, path_of(site.namespace), signing_job())
    assert [each for each in CHANGES_OF_A_SIGNING_JOB if not await refusal(api, "PATCH", job, each)] == []
    for finalizers in (["vaultstream.dev/cleanup"], []):
        await api.patch(job, {"metadata": {"finalizers": finalizers}}, MERGE_PATCH)
        assert (await site.client.call("GET", job))["metadata"].get("finalizers", []) == finalizers


# -- workers


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


RUNS = {"exec": {"command": ["sh", "-c", "env"]}}
ATTACKS = {
    "another image": on_container(image="thief:1"),
    "another command": on_container(command=["sh", "-c", "env"]),
    "another argument": on_container(args=["debug", "psql", "--", "-c", "SELECT 1"]),
    "another role": on_container(args=["worker", "records", TOKEN]),
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
    "another service account": on_pod(serviceAccountName="admin"),
    "the token of the service account": on_pod(automountServiceAccountToken=True),
    "a token as a volume": volume(projected={"sources": [{"serviceAccountToken": {"path": "token"}}]}),
    "a folder of the node": volume(hostPath={"path": "/"}),
    "a ConfigMap": volume(configMap={"name": "other"}),
    "another ConfigMap with revocations": volume(
        configMap={"name": "other", "items": [{"key": "revocations", "path": "revocations"}]}
    ),
    "all of the ConfigMap of revocations": volume(configMap={"name": "vaultstream-revocations"}),
    "another file of revocations": variable("VAULTSTREAM_REVOCATIONS_FILE", value="/tmp/none"),
    "another Secret as a volume": volume(secret={"secretName": "other"}),
    "credentials as a volume": volume(secret={"secretName": "vaultstream-signing"}),
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


async def test_every_role_has_a_worker_that_the_operator_can_start(site: Site, api: KubeApi) -> None:
    for role in ROLES:
        assert await refusal(api, "POST", collection(site, role), worker(site, role)) == ""


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


async def test_an_operator_runs_a_job_from_start_to_end_under_the_policies(site: Site, api: KubeApi) -> None:
    await site.operator()
    await site.apply("job", scaling=QUICK)
    await site.run_workers("job", signers=2)
    await site.becomes("job", "Complete", seconds=60)
    await site.delete("job")
    await eventually(lambda: site.gone("job"))


async def test_a_worker_that_a_policy_refuses_is_reported(site: Site, api: KubeApi) -> None:
    await site.operator(VAULTSTREAM_WORKER_IMAGE="vaultstream:other")
    await site.apply("job")
    stalled = await site.becomes("job", "Stalled", "ChildRefused")
    assert "vaultstream-operator-workers" in stalled["message"]


async def test_the_delivered_policies_can_be_applied_and_have_no_errors(api_server: ApiServer) -> None:
    for _ in range(2):
        await api_server.kubectl("apply", "-f", str(POLICIES))
    names = {document["metadata"]["name"] for document in policies()}

    async def checked() -> dict[str, Any] | None:
        found = await api_server.client.call("GET", f"{ADMISSION}/validatingadmissionpolicies")
        own = {each["metadata"]["name"]: each for each in found["items"] if each["metadata"]["name"] in names}
        return own if all("typeChecking" in each.get("status", {}) for each in own.values()) else None

    own = await eventually(checked, what="the types of all policies are checked")
    assert own.keys() == names
    assert {name: each["status"]["typeChecking"] for name, each in own.items()} == {name: {} for name in own}
