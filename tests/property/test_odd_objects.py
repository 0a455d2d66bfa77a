"""Whatever an object of somebody else holds, the mirror takes it or leaves it, and reads what is beside it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultstream.last_words import read_last_words
from vaultstream_operator.adapters.mirror import DEPLOYMENTS, JOBS, PODS, WORKER_JOBS, Mirror, read_entry
from vaultstream_operator.adapters.paths import path_of

ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=5,
)
FIELDS = ("name", "namespace", "uid", "resourceVersion", "labels", "ownerReferences", "annotations")


def job(name: str) -> dict[str, Any]:
    metadata = {"namespace": "ns", "name": name, "uid": f"uid-{name}", "resourceVersion": "1"}
    return {"metadata": metadata, "spec": {}, "status": {}}


def pod(message: str, **labels: str) -> dict[str, Any]:
    ours = {
        "vaultstream.dev/job-uid": "x",
        "app.kubernetes.io/component": "signing",
        "vaultstream.dev/job": "a",
    }
    body = job("pod")
    body["metadata"]["labels"] = ours | labels
    terminated = {"exitCode": 1, "message": message}
    waiting = {"waiting": {"reason": "CrashLoopBackOff"}}
    body["status"] = {"containerStatuses": [{"state": waiting, "lastState": {"terminated": terminated}}]}
    return body


@given(st.sampled_from([JOBS, DEPLOYMENTS, WORKER_JOBS, PODS]), st.sampled_from(FIELDS), ODD, ODD, ODD)
def test_an_odd_object_hides_no_other(kind: str, field: str, value: Any, spec: Any, status: Any) -> None:
    odd = job("odd") | {"spec": spec, "status": status}
    odd["metadata"][field] = value
    mirror = Mirror()
    mirror.saw(kind, "ADDED", odd)
    read = [read_entry(JOBS, body) for body in (job("beside"), odd)]
    mirror.listed(JOBS, [entry for entry in read if entry is not None], ["ns"], 9)
    assert ("ns", "beside") in mirror.jobs()


@pytest.mark.parametrize(
    "message", ["[" * 4096, '{"a":' * 800, '{"event": "exit", "code": [1]}', '{"event": "exit", "code": "x"}']
)
def test_no_termination_message_makes_a_pod_unreadable(message: str) -> None:
    entry = read_entry(PODS, pod(message))
    assert entry is not None
    assert entry.digest is not None
    read_last_words([message])


@pytest.mark.parametrize("name", ["", "..", "../../../pods/x", "A", "a/b", "a?b", "a" * 254])
def test_a_child_that_names_no_possible_job_wakes_none(name: str) -> None:
    assert read_entry(PODS, pod("", **{"vaultstream.dev/job": name})) is None


def test_no_name_leads_out_of_its_place_in_a_path() -> None:
    assert path_of(JOBS, "ns", "a/../b?c#d").endswith("/namespaces/ns/signingjobs/a%2F..%2Fb%3Fc%23d")
