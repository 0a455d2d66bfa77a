"""The mirror: only news wakes a job, our own writes are ahead of the watch, and a silently dead watch is noticed."""

from __future__ import annotations

from typing import Any

import pytest

from vaultstream_operator.adapters.mirror import (
    DEPLOYMENTS,
    JOBS,
    PODS,
    WORKER_JOBS,
    Mirror,
    MirrorEntry,
    read_entry,
)
from vaultstream_operator.core import children
from vaultstream_operator.core.children import Owner
from vaultstream_operator.core.pod_problems import Ailment, Cause

pytestmark = pytest.mark.unit

KEY = ("ns", "job")
OWNER = Owner("ns", "job", "u1")


def body(name: str, version: int, *, role: str = "", uid: str = "", **given: Any) -> dict[str, Any]:
    labels = {
        "vaultstream.dev/job-uid": "u1",
        "app.kubernetes.io/component": role,
        "vaultstream.dev/job": "job",
    }
    metadata = {
        "namespace": "ns",
        "name": name,
        "uid": uid or f"uid-{name}",
        "resourceVersion": str(version),
        "generation": 1,
        "labels": labels if role else {},
        "ownerReferences": [{"kind": "SigningJob", "name": "job", "uid": "u1"}]
        if role and role != "pod"
        else [],
    }
    return {"metadata": metadata | given.pop("metadata", {}), "spec": {}, "status": {}, **given}


def deployment(version: int, *, replicas: int = 1, ready: int = 0, **given: Any) -> dict[str, Any]:
    return body(
        "job-signing",
        version,
        role="signing",
        **{"spec": {"replicas": replicas}, "status": {"readyReplicas": ready}, **given},
    )


def entries(*bodies: dict[str, Any]) -> list[MirrorEntry]:
    return [entry for each in bodies if (entry := read_entry(DEPLOYMENTS, each)) is not None]


def test_no_text_that_others_write_into_an_object_is_kept() -> None:
    """Some hundred objects with annotations of 256 KiB would fill the operator's memory."""
    big, large = "x" * 250_000, {"metadata": {"annotations": {"big": "x" * 250_000}}}
    large["metadata"]["finalizers"] = [f"example.com/{big}"]  # type: ignore[assignment]
    large["metadata"]["annotations"][children.TEMPLATE_ANNOTATION] = big
    failed = {
        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"message": big}},
    }
    refused = {"type": "ReplicaFailure", "status": "True", "message": big}
    for kind, given in (
        (JOBS, {}),
        (WORKER_JOBS, {}),
        (DEPLOYMENTS, {"status": {"conditions": [refused]}}),
        (PODS, {"status": {"containerStatuses": [failed]}}),
    ):
        made = body("job", 1, role="" if kind == JOBS else "signing", **given, **large)
        assert len(repr(read_entry(kind, made))) < 2500, kind


def test_an_equal_object_is_not_news() -> None:
    mirror = Mirror()
    assert mirror.saw(DEPLOYMENTS, None, deployment(1)) == KEY
    assert mirror.saw(DEPLOYMENTS, "MODIFIED", deployment(2)) is None
    assert mirror.saw(DEPLOYMENTS, "MODIFIED", deployment(3, ready=1)) == KEY


def test_our_own_status_is_not_news() -> None:
    mirror = Mirror()
    assert mirror.saw(JOBS, None, body("job", 1, uid="u1")) == KEY
    assert mirror.saw(JOBS, "MODIFIED", body("job", 2, uid="u1", status={"state": "Running"})) is None
    changed = body("job", 3, uid="u1", metadata={"annotations": {"vaultstream.dev/paused": "true"}})
    assert mirror.saw(JOBS, "MODIFIED", changed) == KEY
    leaving = body("job", 4, uid="u1", metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"})
    assert mirror.saw(JOBS, "MODIFIED", leaving) == KEY


def test_what_we_wrote_is_not_undone_by_a_watch_that_lags_behind() -> None:
    mirror = Mirror()
    mirror.saw(DEPLOYMENTS, None, deployment(1, replicas=1))
    mirror.wrote(DEPLOYMENTS, deployment(5, replicas=3))
    assert mirror.saw(DEPLOYMENTS, "MODIFIED", deployment(3, replicas=2)) is None
    signing = mirror.children(OWNER).signing
    assert signing is not None
    assert signing.replicas == 3


def test_a_deletion_that_the_watch_missed_is_found_by_a_list() -> None:
    mirror = Mirror()
    mirror.saw(DEPLOYMENTS, None, deployment(1))
    assert mirror.listed(DEPLOYMENTS, [], ["elsewhere"], 9) == set()
    assert mirror.children(OWNER).any
    assert mirror.listed(DEPLOYMENTS, [], ["ns"], 9) == {KEY}
    assert not mirror.children(OWNER).any


def test_an_object_created_after_a_list_is_not_taken_for_deleted() -> None:
    mirror = Mirror()
    mirror.wrote(DEPLOYMENTS, deployment(10))
    assert mirror.listed(DEPLOYMENTS, [], [], 9) == set()
    assert mirror.children(OWNER).any


def test_a_late_deletion_event_of_a_former_object_does_not_remove_the_new_one() -> None:
    mirror = Mirror()
    mirror.saw(DEPLOYMENTS, None, deployment(5))
    former = deployment(4)
    former["metadata"]["uid"] = "former"
    mirror.saw(DEPLOYMENTS, "DELETED", former)
    assert mirror.children(OWNER).any


def test_a_watch_that_died_in_silence_shows_at_the_second_list() -> None:
    mirror = Mirror()
    mirror.saw(DEPLOYMENTS, None, deployment(1))
    assert mirror.overdue(DEPLOYMENTS).total() == 0
    mirror.listed(DEPLOYMENTS, entries(deployment(2, ready=1)), [], 2)
    assert mirror.overdue(DEPLOYMENTS).total() == 0  # it may be on its way
    assert mirror.overdue(DEPLOYMENTS).total() == 1
    mirror.saw(DEPLOYMENTS, "MODIFIED", deployment(2, ready=1))
    assert mirror.overdue(DEPLOYMENTS).total() == 0


def test_pods_that_do_not_start_have_a_problem() -> None:
    mirror = Mirror()
    mirror.saw(DEPLOYMENTS, None, deployment(1))
    mirror.saw(WORKER_JOBS, None, body("job-keys", 2, role="keys", status={"active": 1}))
    waiting = {"reason": "CreateContainerConfigError", "message": 'secret "vaultstream-keys" not found'}
    pod = body("p", 3, role="keys", status={"containerStatuses": [{"state": {"waiting": waiting}}]})
    assert mirror.saw(PODS, "ADDED", pod) == KEY
    found = mirror.children(OWNER)
    assert found.keys is not None
    assert found.keys.problem is not None
    assert found.keys.problem.words == 'CreateContainerConfigError: secret "vaultstream-keys" not found.'
    assert found.signing is not None
    assert found.signing.problem is None
    mirror.saw(PODS, "DELETED", pod)
    mended = mirror.children(OWNER).keys
    assert mended is not None
    assert mended.problem is None


def test_of_many_problems_of_pods_the_worst_is_reported_and_always_the_same() -> None:
    mirror = Mirror()
    mirror.saw(DEPLOYMENTS, None, deployment(1))
    reasons = ("ErrImagePull", "CrashLoopBackOff", "ImagePullBackOff")
    for at, (name, reason) in enumerate(zip("cab", reasons, strict=True)):
        waiting = {"state": {"waiting": {"reason": reason}}}
        mirror.saw(PODS, None, body(name, at + 2, role="signing", status={"containerStatuses": [waiting]}))
    signing = mirror.children(OWNER).signing
    assert signing is not None
    assert signing.problem is not None
    assert signing.problem.words == "ImagePullBackOff."


@pytest.mark.parametrize(
    "given",
    [
        {"namespace": "elsewhere"},
        {"name": "another"},
        {"ownerReferences": []},
        {"ownerReferences": [{"kind": "SigningJob", "name": "job", "uid": "another"}]},
    ],
)
def test_an_object_with_only_our_labels_is_not_a_child(given: dict[str, Any]) -> None:
    mirror = Mirror()
    mirror.saw(DEPLOYMENTS, None, deployment(1, replicas=50, metadata=given))
    assert not mirror.children(OWNER).any


def test_a_pod_of_another_namespace_says_nothing_of_our_workers() -> None:
    mirror = Mirror()
    mirror.saw(DEPLOYMENTS, None, deployment(1))
    waiting = {"state": {"waiting": {"reason": "ErrImagePull"}}}
    status = {"containerStatuses": [waiting]}
    mirror.saw(PODS, None, body("p", 2, role="signing", metadata={"namespace": "elsewhere"}, status=status))
    signing = mirror.children(OWNER).signing
    assert signing is not None
    assert signing.problem is None


def test_a_pod_of_a_job_with_a_long_name_wakes_that_job() -> None:
    mirror, name = Mirror(), "j" * 100
    job = body(name, 1, uid="u1")
    mirror.saw(JOBS, None, job)
    waiting = {"state": {"waiting": {"reason": "ErrImagePull"}}}
    pod = body("p", 2, role="signing", status={"containerStatuses": [waiting]})
    assert mirror.saw(PODS, "ADDED", pod) == ("ns", name)


def test_refused_pods_are_a_problem_of_the_signers() -> None:
    mirror = Mirror()
    failure = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: few"}
    mirror.saw(DEPLOYMENTS, None, deployment(1, status={"conditions": [failure]}))
    signing = mirror.children(OWNER).signing
    assert signing is not None
    assert signing.problem == Ailment(Cause.REFUSED, "exceeded quota: few.")


def test_signers_without_a_node_and_those_that_a_quota_refuses_are_unplaced() -> None:
    mirror = Mirror()
    mirror.saw(DEPLOYMENTS, None, deployment(1, replicas=4))
    scheduled = [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available."}]
    owner = [{"kind": "ReplicaSet", "name": "job-signing-1"}]
    for number in (1, 2, 3):
        status = {"phase": "Pending", "conditions": scheduled if number > 1 else []}
        pod = body(f"job-signing-1-{number}", 1, role="signing", status=status)
        pod["metadata"]["ownerReferences"] = owner
        mirror.saw(PODS, None, pod)
    signing = mirror.children(OWNER).signing
    assert signing is not None
    assert signing.unplaced == 2
    failure = [{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}]
    refused = deployment(2, replicas=4, status={"readyReplicas": 0, "conditions": failure})
    mirror.saw(DEPLOYMENTS, "MODIFIED", refused)
    signing = mirror.children(OWNER).signing
    assert signing is not None
    assert signing.unplaced == 3
