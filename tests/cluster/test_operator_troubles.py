"""Problems that keep a job's pods from running: a condition and an Event say what to do, and after the fix the job continues.

There is no kubelet: the tests write the pods' status in its place. The API server itself enforces quotas.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from support.waiting import eventually
from vaultstream_operator.adapters.kubernetes import NUDGED
from vaultstream_operator.core.plan import NUDGE_SECONDS

if TYPE_CHECKING:
    from support.operating import Site

pytestmark = pytest.mark.cluster

WAITING = "CreateContainerConfigError"


def container(state: dict[str, Any], **given: Any) -> dict[str, Any]:
    status = {
        "name": "worker",
        "ready": False,
        "restartCount": 0,
        "image": "i",
        "imageID": "",
        "state": state,
    }
    return {"containerStatuses": [status | given]}


def waiting(reason: str, message: str = "", **given: Any) -> dict[str, Any]:
    return container({"waiting": {"reason": reason, "message": message}}, **given)


def exit_line(message: str) -> str:
    """The last words of a worker, as `vaultstream.last_words` writes them."""
    return json.dumps({"level": "ERROR", "event": "exit", "message": message})


def crashed(code: int, words: str) -> dict[str, Any]:
    ended = {"exitCode": code, "reason": "Error", "message": words, "containerID": "c"}
    return waiting("CrashLoopBackOff", "back-off 10s", restartCount=1, lastState={"terminated": ended})


def conditions(**given: str) -> dict[str, Any]:
    then = (datetime.now(UTC) - timedelta(minutes=2)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "conditions": [
            {
                "type": kind,
                "status": status,
                "message": "0/3 nodes are available.",
                "lastTransitionTime": then,
            }
            for kind, status in given.items()
        ]
    }


RUNS = container({"running": {"startedAt": "2026-01-01T00:00:00Z"}}, ready=True) | {
    "phase": "Running",
    **conditions(PodScheduled="True", PodReadyToStartContainers="True", Ready="True"),
}


async def pod_of(site: Site, role: str) -> str:
    """Returns the name of a role's pod, once there is one."""
    pods = f"/api/v1/namespaces/{site.namespace}/pods"
    selector = f"labelSelector=app.kubernetes.io/component%3D{role}"

    async def name() -> str | None:
        listed = await site.client.call("GET", f"{pods}?{selector}")
        return next((str(item["metadata"]["name"]) for item in listed["items"]), None)

    return await eventually(name)


async def set_pod_status(site: Site, role: str, status: dict[str, Any]) -> None:
    words = ["patch", "pod", await pod_of(site, role), "-n", site.namespace, "--subresource=status"]
    await site.server.kubectl(*words, "--type=merge", "-p", json.dumps({"status": status}))


@pytest.mark.parametrize(
    ("role", "status", "reason", "words"),
    [
        (
            "records",
            waiting(WAITING, 'secret "vaultstream-records" not found'),
            "SecretMissing",
            "database-url",
        ),
        (
            "records",
            waiting(WAITING, "couldn't find key nats-url in Secret ns/vaultstream-records"),
            "SecretIncomplete",
            "the key nats-url",
        ),
        ("keys", waiting("ImagePullBackOff", "no such image"), "ImageUnavailable", "no such image"),
        (
            "records",
            crashed(5, exit_line("Postgres is unreachable.")),
            "WorkerFailing",
            "Postgres is unreachable.",
        ),
        ("keys", crashed(6, exit_line("There is no key.")), "KeysUnusable", "There is no key."),
        ("records", conditions(PodScheduled="False"), "PodsUnschedulable", "0/3 nodes"),
        (
            "keys",
            waiting("ContainerCreating") | conditions(PodScheduled="True", PodReadyToStartContainers="False"),
            "VolumesNotMounted",
            "vaultstream-kek",
        ),
    ],
)
async def test_a_pod_that_does_not_run_stalls_the_job_until_it_does(
    site: Site, role: str, status: dict[str, Any], reason: str, words: str
) -> None:
    await site.operator()
    await site.apply("job", scaling={"pollingInterval": 1})
    await set_pod_status(site, role, status)
    stalled = await site.becomes("job", "Stalled", reason)
    assert words in stalled["message"]
    (event,) = await site.recorded("job", reason)
    assert (event["type"], event["note"]) == ("Warning", stalled["message"])
    await set_pod_status(site, role, RUNS)
    await site.becomes("job", "Reconciling", "MakingKeys")


async def test_volumes_that_are_not_mounted_are_reported_in_the_words_of_the_kubelet(site: Site) -> None:
    await site.operator()
    await site.apply("job", scaling={"pollingInterval": 1})
    pod = await pod_of(site, "keys")
    note = 'MountVolume.SetUp failed for volume "kek" : secret "vaultstream-kek" not found'
    event = {
        "metadata": {"name": "mount"},
        "eventTime": datetime.now(UTC).isoformat(timespec="microseconds"),
        "reportingController": "kubelet",
        "reportingInstance": "node",
        "action": "Mounting",
        "reason": "FailedMount",
        "type": "Warning",
        "note": note,
        "regarding": {"apiVersion": "v1", "kind": "Pod", "namespace": site.namespace, "name": pod},
    }
    await site.client.call("POST", f"/apis/events.k8s.io/v1/namespaces/{site.namespace}/events", event)
    unmounted = waiting("ContainerCreating") | conditions(
        PodScheduled="True", PodReadyToStartContainers="False"
    )
    await set_pod_status(site, "keys", unmounted)
    stalled = await site.becomes("job", "Stalled", "VolumesNotMounted")
    assert f"{note}. Most likely" in stalled["message"]


async def test_pods_that_a_quota_refuses_are_reported_and_created_once_it_allows_them(site: Site) -> None:
    quota = f"/api/v1/namespaces/{site.namespace}/resourcequotas"
    await site.client.call("POST", quota, {"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}})

    async def enforced() -> bool:
        return "hard" in (await site.client.call("GET", f"{quota}/none")).get("status", {})

    await eventually(enforced)
    await site.operator()
    await site.apply("job", scaling={"pollingInterval": 1, "minReplicaCount": 2})
    stalled = await site.becomes("job", "Stalled", "PodsRefused", seconds=30)
    assert "exceeded quota: none" in stalled["message"]
    await site.recorded("job", "PodsRefused")
    await site.client.call("DELETE", f"{quota}/none")
    await site.becomes("job", "Reconciling", "MakingKeys", seconds=NUDGE_SECONDS + 5)


async def test_signers_that_a_quota_refuses_are_reported_with_its_message(site: Site) -> None:
    quota = f"/api/v1/namespaces/{site.namespace}/resourcequotas"
    await site.client.call("POST", quota, {"metadata": {"name": "few"}, "spec": {"hard": {"pods": "2"}}})

    async def enforced() -> bool:
        return "hard" in (await site.client.call("GET", f"{quota}/few")).get("status", {})

    await eventually(enforced)
    await site.operator()
    await site.apply("job", scaling={"pollingInterval": 1})  # the workers use up the quota first
    for role in ("keys", "records"):
        await set_pod_status(site, role, RUNS)
    await site.patch("job", spec={"scaling": {"minReplicaCount": 3}})
    stalled = await site.becomes("job", "Stalled", "PodsRefused", seconds=30)
    assert "exceeded quota: few" in stalled["message"]
    # By itself, the ReplicaSet's controller would wait twice as long after each refusal.
    sets = f"/apis/apps/v1/namespaces/{site.namespace}/replicasets"

    async def nudged() -> str:
        (found,) = (await site.client.call("GET", sets))["items"]
        return str(found["metadata"]["annotations"].get(NUDGED, ""))

    first = await eventually(nudged)

    async def nudged_again() -> bool:
        return await nudged() > first

    await eventually(nudged_again, seconds=2 * NUDGE_SECONDS)
    await site.client.call("DELETE", f"{quota}/few")
    await site.becomes("job", "Reconciling", "MakingKeys", seconds=NUDGE_SECONDS + 5)


async def test_a_spec_that_the_operator_does_not_allow_runs_no_pod_until_it_is_allowed(site: Site) -> None:
    operator = await site.operator()
    await site.apply("job", signer={"priorityClassName": "system-cluster-critical", "podLabels": {"a": "b"}})
    stalled = await site.becomes("job", "Stalled", "SpecNotAllowed")
    assert "spec.signer.podLabels: a" in stalled["message"]
    await site.recorded("job", "SpecNotAllowed")
    assert [await site.child("job", role) for role in ("keys", "records", "signing")] == [None] * 3
    await operator.kill()
    await site.operator(VAULTSTREAM_WORKER_ALLOWED_POD_LABELS="a")
    stalled = await site.becomes("job", "Stalled", "SpecNotAllowed")

    async def named() -> bool:
        return "priorityClassName" in (await site.condition("job", "Stalled"))["message"]

    await eventually(named)
    await site.patch("job", spec={"signer": {"priorityClassName": None}})
    deployment = await eventually(lambda: site.child("job", "signing"))
    assert deployment["spec"]["template"]["metadata"]["labels"]["a"] == "b"
