"""The mirror: only news wakes, our own writes are ahead of the watch, and a watch that died in silence shows."""

from __future__ import annotations

from typing import Any

import pytest

from vaultstream_operator.adapters.mirror import DEPLOYMENTS, JOBS, PODS, WORKER_JOBS, Mirror

pytestmark = pytest.mark.unit

KEY = ("ns", "job")


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


def test_what_is_equal_is_no_news() -> None:
    mirror = Mirror()
    assert mirror.saw(DEPLOYMENTS, None, deployment(1)) == KEY
    assert mirror.saw(DEPLOYMENTS, "MODIFIED", deployment(2)) is None
    assert mirror.saw(DEPLOYMENTS, "MODIFIED", deployment(3, ready=1)) == KEY


def test_a_status_of_our_own_is_no_news() -> None:
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
    signing = mirror.children("u1").signing
    assert signing is not None
    assert signing.replicas == 3


def test_a_deletion_that_no_watch_told_of_is_found_by_a_list() -> None:
    mirror = Mirror()
    mirror.saw(DEPLOYMENTS, None, deployment(1))
    assert mirror.listed(DEPLOYMENTS, [], ["elsewhere"], 9) == set()
    assert mirror.children("u1").any
    assert mirror.listed(DEPLOYMENTS, [], ["ns"], 9) == {KEY}
    assert not mirror.children("u1").any


def test_what_we_made_after_a_list_was_is_not_missed_in_it() -> None:
    mirror = Mirror()
    mirror.wrote(DEPLOYMENTS, deployment(10))
    assert mirror.listed(DEPLOYMENTS, [], [], 9) == set()
    assert mirror.children("u1").any


def test_a_late_word_of_a_former_objects_end_does_not_take_the_new_one() -> None:
    mirror = Mirror()
    mirror.saw(DEPLOYMENTS, None, deployment(5))
    former = deployment(4)
    former["metadata"]["uid"] = "former"
    mirror.saw(DEPLOYMENTS, "DELETED", former)
    assert mirror.children("u1").any


def test_a_watch_that_died_in_silence_shows_at_the_second_list() -> None:
    mirror = Mirror()
    mirror.saw(DEPLOYMENTS, None, deployment(1))
    assert mirror.overdue(DEPLOYMENTS) == 0
    mirror.listed(DEPLOYMENTS, [deployment(2, ready=1)], [], 2)
    assert mirror.overdue(DEPLOYMENTS) == 0  # it may be on its way
    assert mirror.overdue(DEPLOYMENTS) == 1
    mirror.saw(DEPLOYMENTS, "MODIFIED", deployment(2, ready=1))
    assert mirror.overdue(DEPLOYMENTS) == 0


def test_pods_that_do_not_start_tell_why() -> None:
    mirror = Mirror()
    mirror.saw(DEPLOYMENTS, None, deployment(1))
    mirror.saw(WORKER_JOBS, None, body("job-keys", 2, role="keys", status={"active": 1}))
    waiting = {"reason": "CreateContainerConfigError", "message": 'secret "vaultstream-database" not found'}
    pod = body("p", 3, role="keys", status={"containerStatuses": [{"state": {"waiting": waiting}}]})
    assert mirror.saw(PODS, "ADDED", pod) == KEY
    found = mirror.children("u1")
    assert found.keys is not None
    assert found.keys.problem == 'CreateContainerConfigError: secret "vaultstream-database" not found'
    assert found.signing is not None
    assert not found.signing.problem
    mirror.saw(PODS, "DELETED", pod)
    mended = mirror.children("u1").keys
    assert mended is not None
    assert not mended.problem


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
    signing = mirror.children("u1").signing
    assert signing is not None
    assert signing.problem == "exceeded quota: few"
