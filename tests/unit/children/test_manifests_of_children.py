"""The manifests of a job's children: whose they are, what they may, and what they are given."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from support.planning import OPTIONS, OWNER, spec_of
from vaultstream_operator.core.children import (
    JOB_LABEL,
    KEYS,
    RECORDS,
    ROLE_LABEL,
    SIGNING,
    UID_LABEL,
    Owner,
    child_name,
    signing_deployment,
    worker_job,
)

pytestmark = pytest.mark.unit

TOKEN = "receipts-0011aabb"
ROLES = (KEYS, RECORDS, SIGNING)


def child(role: str, owner: Owner = OWNER, **signer: Any) -> dict[str, Any]:
    spec = spec_of(signer=signer)
    if role == SIGNING:
        return signing_deployment(owner, TOKEN, spec, OPTIONS, replicas=3)
    return worker_job(owner, role, TOKEN, spec, OPTIONS)


def pod(role: str, **signer: Any) -> dict[str, Any]:
    found: dict[str, Any] = child(role, **signer)["spec"]["template"]["spec"]
    return found


@pytest.mark.parametrize("role", ROLES)
def test_a_child_belongs_to_its_job_and_goes_with_it(role: str) -> None:
    metadata = child(role)["metadata"]
    assert metadata["ownerReferences"] == [
        {
            "apiVersion": "vaultstream.dev/v1alpha1",
            "kind": "SigningJob",
            "name": "receipts",
            "uid": OWNER.uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }
    ]
    assert (metadata["namespace"], metadata["name"]) == ("shop", f"receipts-{role}")


@pytest.mark.parametrize("role", ROLES)
def test_a_child_and_its_pods_carry_the_standard_labels(role: str) -> None:
    made = child(role)
    for labels in (made["metadata"]["labels"], made["spec"]["template"]["metadata"]["labels"]):
        assert labels == {
            "app.kubernetes.io/name": "vaultstream",
            "app.kubernetes.io/managed-by": "vaultstream-operator",
            "app.kubernetes.io/part-of": "vaultstream",
            ROLE_LABEL: role,
            JOB_LABEL: "receipts",
            UID_LABEL: OWNER.uid,
        }


def test_the_deployment_selects_the_signers_of_this_very_job() -> None:
    made = child(SIGNING)
    selected = made["spec"]["selector"]["matchLabels"]
    assert selected == {UID_LABEL: OWNER.uid, ROLE_LABEL: SIGNING}
    assert selected.items() <= made["spec"]["template"]["metadata"]["labels"].items()
    assert made["spec"]["replicas"] == 3


@pytest.mark.parametrize("role", ROLES)
def test_a_pod_meets_the_restricted_pod_security_standard(role: str) -> None:
    made = pod(role)
    (container,) = made["containers"]
    assert made["securityContext"]["runAsNonRoot"] is True
    assert made["securityContext"]["runAsUser"] > 0
    assert made["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {kind for volume in made["volumes"] for kind in volume} <= {"name", "emptyDir", "secret"}
    assert made["automountServiceAccountToken"] is False
    assert "hostNetwork" not in made


@pytest.mark.parametrize("role", ROLES)
def test_a_pod_has_resources_probes_and_time_to_drain(role: str) -> None:
    made = pod(role)
    (container,) = made["containers"]
    assert container["resources"]["requests"]["cpu"]
    assert container["resources"]["limits"]["memory"]
    assert container["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "metrics"}
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "metrics"}
    assert container["startupProbe"]["failureThreshold"] * container["startupProbe"]["periodSeconds"] >= 60
    assert made["terminationGracePeriodSeconds"] == OPTIONS.grace_seconds
    assert container["args"] == ["worker", role, TOKEN]


@pytest.mark.parametrize("role", ROLES)
def test_secrets_are_named_and_none_is_held(role: str) -> None:
    (container,) = pod(role)["containers"]
    env = {entry["name"]: entry for entry in container["env"]}
    for name in (
        "DATABASE_URL",
        "VAULTSTREAM_NATS_URL",
        "VAULTSTREAM_NATS_USER",
        "VAULTSTREAM_NATS_PASSWORD",
    ):
        assert set(env[name]) == {"name", "valueFrom"}
        assert set(env[name]["valueFrom"]) == {"secretKeyRef"}
    assert env["DATABASE_URL"]["valueFrom"]["secretKeyRef"] == {"name": "vaultstream-database", "key": "url"}


@pytest.mark.parametrize("role", ROLES)
def test_only_who_wraps_or_unwraps_gets_the_key_encryption_key(role: str) -> None:
    text = json.dumps(child(role))
    assert ("vaultstream-kek" in text) is (role in {KEYS, SIGNING})
    assert ("VAULTSTREAM_KEK_FILE" in text) is (role in {KEYS, SIGNING})
    mounts = {mount["name"]: mount for mount in pod(role)["containers"][0]["volumeMounts"]}
    if role in {KEYS, SIGNING}:
        assert mounts["kek"]["readOnly"] is True


def test_the_fields_of_spec_signer_shape_signers_alone() -> None:
    fields: dict[str, Any] = {
        "resources": {"requests": {"cpu": "2"}, "limits": {"memory": "1Gi"}},
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "batch", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}
        ],
        "priorityClassName": "bulk",
        "podLabels": {"team": "billing"},
        "podAnnotations": {"note": "x"},
    }
    made = pod(SIGNING, **fields)
    assert made["nodeSelector"] == fields["nodeSelector"]
    assert made["tolerations"] == fields["tolerations"]
    assert made["affinity"] == fields["affinity"]
    assert made["priorityClassName"] == "bulk"
    assert made["containers"][0]["resources"] == fields["resources"]
    (constraint,) = made["topologySpreadConstraints"]
    assert constraint["labelSelector"] == {"matchLabels": {UID_LABEL: OWNER.uid, ROLE_LABEL: SIGNING}}
    metadata = child(SIGNING, **fields)["spec"]["template"]["metadata"]
    assert (metadata["labels"]["team"], metadata["annotations"]) == ("billing", {"note": "x"})
    assert child(KEYS, **fields) == child(KEYS)
    assert json.loads(json.dumps(child(SIGNING, **fields))) == child(SIGNING, **fields)


def test_a_spread_constraint_keeps_its_own_selector() -> None:
    own = {"maxSkew": 1, "topologyKey": "zone", "labelSelector": {"matchLabels": {"a": "b"}}}
    assert pod(SIGNING, topologySpreadConstraints=[own])["topologySpreadConstraints"] == [own]


def test_labels_of_the_user_do_not_override_ours() -> None:
    made = child(SIGNING, podLabels={ROLE_LABEL: "keys", UID_LABEL: "other"})
    labels = made["spec"]["template"]["metadata"]["labels"]
    assert (labels[ROLE_LABEL], labels[UID_LABEL]) == (SIGNING, OWNER.uid)


@pytest.mark.parametrize("name", ["x", "a" * 38, "a" * 39, "a" * 63, "a" * 253, ".".join(["ab"] * 60)])
@pytest.mark.parametrize("role", ROLES)
def test_a_pod_of_a_child_has_a_name_that_fits_a_host(name: str, role: str) -> None:
    made = child(role, owner=replace(OWNER, name=name))
    of_pod = f"{made['metadata']['name']}-0123456789-01234"
    assert len(of_pod) <= 63
    assert all(len(value) <= 63 for value in made["metadata"]["labels"].values())
    assert "." not in of_pod
    assert "--" not in of_pod


@pytest.mark.parametrize(("one", "other"), [("a" * 60, "a" * 61), ("a.b", "a-b"), ("a.b", "a.b")])
def test_children_of_different_jobs_have_different_names(one: str, other: str) -> None:
    another = Owner("shop", other, "7c9e6679-7425-40de-944b-e07fc1f90ae7")
    assert child_name(replace(OWNER, name=one), KEYS) != child_name(another, KEYS)
