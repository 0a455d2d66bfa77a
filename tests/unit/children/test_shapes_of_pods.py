"""How pods are shaped for clusters with taints, quotas, limits and policies of their own."""

from __future__ import annotations

from typing import Any

import pytest

from support.planning import OWNER, TOKEN, spec_of
from vaultstream_operator.core import pod_advice
from vaultstream_operator.core.children import (
    KEYS,
    RECORDS,
    SIGNING,
    UID_LABEL,
    signing_deployment,
    template_of,
    worker_job,
)
from vaultstream_operator.core.plan import changed_fields
from vaultstream_operator.core.shapes import WorkerShape
from vaultstream_operator.settings import WorkerSettings

pytestmark = pytest.mark.unit

ROLES = (KEYS, RECORDS, SIGNING)
DEDICATED = {"key": "dedicated", "operator": "Exists"}
BATCH = {"key": "batch", "operator": "Exists"}


def child(role: str, shape: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    options, asked = WorkerSettings(shape=WorkerShape.model_validate(shape or {})), spec_of(**spec)
    if role == SIGNING:
        return signing_deployment(OWNER, TOKEN, asked, options, replicas=1)
    return worker_job(OWNER, role, TOKEN, asked, options)


def pod(role: str, shape: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    made: dict[str, Any] = child(role, shape, **spec)["spec"]["template"]["spec"]
    return made


def resources(role: str, shape: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    found: dict[str, Any] = pod(role, shape, **spec)["containers"][0]["resources"]
    return found


@pytest.mark.parametrize("role", ROLES)
def test_every_worker_is_placed_where_the_administrator_or_the_job_says(role: str) -> None:
    chart = {
        "nodeSelector": {"pool": "batch", "disk": "ssd"},
        "tolerations": [DEDICATED],
        "affinity": {"nodeAffinity": {}},
        "priorityClassName": "low",
    }
    made = pod(role, chart)
    assert {field: made[field] for field in chart} == chart
    made = pod(role, chart, workers={"nodeSelector": {"pool": "big"}, "tolerations": [BATCH, DEDICATED]})
    assert made["nodeSelector"] == {"pool": "big", "disk": "ssd"}
    assert made["tolerations"] == [DEDICATED, BATCH]
    assert made["priorityClassName"] == "low"
    other = {"podAffinity": {}}
    made = pod(role, chart, workers={"affinity": other, "priorityClassName": "bulk"})
    assert (made["affinity"], made["priorityClassName"]) == (other, "bulk")


@pytest.mark.parametrize("role", ROLES)
def test_layers_may_add_up_to_more_than_one_of_them_may_have(role: str) -> None:
    def many(layer: str) -> dict[str, Any]:
        tolerations = [{"key": f"{layer}-{n}", "operator": "Exists"} for n in range(32)]
        named = {f"{layer}-{n}": "x" for n in range(64)}
        return {
            "tolerations": tolerations,
            "nodeSelector": named,
            "podLabels": named,
            "podAnnotations": named,
        }

    made = child(role, many("chart"), workers=many("workers"), signer=many("signer"))["spec"]["template"]
    layers = 3 if role == SIGNING else 2
    assert (len(made["spec"]["tolerations"]), len(made["spec"]["nodeSelector"])) == (32 * layers, 64 * layers)
    assert len(made["metadata"]["annotations"]) == 64 * layers


def test_the_settings_of_signers_take_precedence_for_signers_alone() -> None:
    fields = {"workers": {"priorityClassName": "bulk"}, "signer": {"priorityClassName": "fast"}}
    assert [pod(role, **fields)["priorityClassName"] for role in ROLES] == ["bulk", "bulk", "fast"]


@pytest.mark.parametrize("role", ROLES)
def test_a_policy_that_requires_labels_finds_them_on_pods_and_on_what_makes_them(role: str) -> None:
    made = child(role, {"podLabels": {"team": "a", UID_LABEL: "x"}, "podAnnotations": {"owner": "b"}})
    for metadata in (made["metadata"], made["spec"]["template"]["metadata"]):
        assert metadata["labels"]["team"] == "a"
        assert metadata["labels"][UID_LABEL] == OWNER.uid
    assert made["spec"]["template"]["metadata"]["annotations"] == {"owner": "b"}


@pytest.mark.parametrize("role", ROLES)
def test_a_quota_of_processor_limits_is_met_by_one_value(role: str) -> None:
    before = resources(role)
    made = resources(role, {"resources": {"limits": {"cpu": "2"}}})
    assert made["requests"] == before["requests"]
    assert made["limits"] == before["limits"] | {"cpu": "2"}
    assert resources(role, workers={"resources": {"limits": {"cpu": "2"}}}) == made


@pytest.mark.parametrize("role", ROLES)
def test_the_minimum_of_a_limit_range_raises_the_limit_with_the_request(role: str) -> None:
    made = resources(role, {"resources": {"requests": {"cpu": "1", "memory": "1Gi"}}})
    assert made == {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "1Gi"}}


def test_a_low_limit_lowers_the_default_request_with_it() -> None:
    assert resources(KEYS, {"resources": {"limits": {"cpu": "20m"}}})["requests"]["cpu"] == "20m"


def test_a_signer_keeps_the_memory_that_its_payloads_need() -> None:
    small = {"resources": {"requests": {"memory": "64Mi"}, "limits": {"memory": "64Mi", "cpu": "1"}}}
    assert resources(RECORDS, small)["limits"]["memory"] == "64Mi"
    for fields in ({"shape": small}, {"workers": small}):
        made = resources(SIGNING, **fields)
        assert made["requests"]["memory"] == made["limits"]["memory"] == "256Mi"
        assert made["limits"]["cpu"] == "1"


def test_the_resources_of_signers_leave_none_of_the_defaults_but_what_the_administrator_adds() -> None:
    signer = {"resources": {"requests": {"cpu": "2"}}}
    assert resources(SIGNING, signer=signer) == {"requests": {"cpu": "2"}}
    made = resources(SIGNING, {"resources": {"limits": {"cpu": "4"}}}, signer=signer)
    assert made == {"requests": {"cpu": "2"}, "limits": {"cpu": "4"}}


@pytest.mark.parametrize("role", ROLES)
def test_a_cluster_that_assigns_user_ids_gets_pods_without_any(role: str) -> None:
    restricted = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    own = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    made = pod(role, {"podSecurityContext": restricted, "securityContext": own})
    assert made["securityContext"] == restricted
    assert made["containers"][0]["securityContext"] == own


def test_a_worker_is_replaced_when_its_shape_changes() -> None:
    before, after = child(KEYS), child(KEYS, {"nodeSelector": {"pool": "batch"}})
    assert template_of(before) != template_of(after)
    old, new = spec_of(), spec_of(workers={"nodeSelector": {"pool": "batch"}})
    assert changed_fields(old, new) == changed_fields(new, old) == ["workers"]
    assert "workers" not in old.dump(), "programs from before the field was added read the job"


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ("0/2 nodes are available: 2 node(s) had untolerated taint {gpu: true}.", ("workers.tolerations",)),
        ("0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector.", ("nodeSelector",)),
        ("0/2 nodes are available: 2 Insufficient cpu.", ("Add nodes", "workers.resources")),
        ("0/2 nodes are available.", ("Add nodes", "`workers` of the chart")),
    ],
)
def test_the_advice_for_pods_without_a_node_names_the_settings_that_help(
    words: str, parts: tuple[str, ...]
) -> None:
    for role, spec in ((RECORDS, "`spec.workers"), (SIGNING, "`spec.signer")):
        advice = pod_advice.advice_without_a_node(words, role)
        assert all(part in advice for part in (*parts, spec)), advice


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (
            'pods "a" is forbidden: failed quota: q: must specify limits.cpu for: worker',
            ("Set limits.cpu in",),
        ),
        ("pods is forbidden: exceeded quota: q, requested: cpu=2", ("Raise the quota", "workers.resources")),
        ("minimum cpu usage per Container is 200m, but request is 50m", ("LimitRange", "workers.resources")),
        ("no PriorityClass with name bulk was found", ("workers.priorityClassName",)),
        ("unable to validate against any security context constraint", ("podSecurityContext", "null")),
        ('violates PodSecurity "restricted:latest": seccompProfile', ("workers.podSecurityContext",)),
        ("admission webhook denied the request: the label team is required", ("workers.podLabels",)),
        ("denied: the annotation owner is required", ("workers.podAnnotations",)),
        ("admission webhook denied the request", ("Correct the quota or the admission policy", "`workers`")),
    ],
)
def test_the_advice_for_pods_that_are_refused_names_the_settings_that_help(
    words: str, parts: tuple[str, ...]
) -> None:
    for role in (KEYS, SIGNING):
        advice = pod_advice.advice_on_a_refusal(words, role)
        assert all(part in advice for part in parts), advice
