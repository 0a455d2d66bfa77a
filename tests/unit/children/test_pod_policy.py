"""What a SigningJob may request for its pods: nothing that extends the permissions of its author."""

from __future__ import annotations

from typing import Any

import pytest

from support.planning import OPTIONS, spec_of
from vaultstream_operator.core.pod_policy import refused
from vaultstream_operator.settings import WorkerSettings

pytestmark = pytest.mark.unit

OPEN = WorkerSettings(
    allowed_pod_labels=("*",),
    allowed_pod_annotations=("*",),
    allowed_priority_classes=("*",),
    allowed_tolerations=("*",),
)
NEIGHBOURS = {"labelSelector": {"matchLabels": {"app": "x"}}, "topologyKey": "kubernetes.io/hostname"}


def affinity(kind: str, **term: Any) -> dict[str, Any]:
    return {"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [NEIGHBOURS | term]}}}


@pytest.mark.parametrize(
    ("signer", "named"),
    [
        ({"podLabels": {"app": "payments"}}, "spec.signer.podLabels: app "),
        ({"podLabels": {"sidecar.istio.io/inject": "true"}}, "sidecar.istio.io/inject"),
        ({"podLabels": {"azure.workload.identity/use": "true"}}, "azure.workload.identity/use"),
        (
            {"podAnnotations": {"vault.hashicorp.com/agent-inject": "true"}},
            "vault.hashicorp.com/agent-inject",
        ),
        (
            {"podAnnotations": {"iam.amazonaws.com/role": "admin"}},
            "spec.signer.podAnnotations: iam.amazonaws",
        ),
        ({"podAnnotations": {"k8s.v1.cni.cncf.io/networks": "other"}}, "k8s.v1.cni.cncf.io/networks"),
        ({"priorityClassName": "system-cluster-critical"}, "spec.signer.priorityClassName: system-cluster"),
        ({"tolerations": [{"operator": "Exists"}]}, "spec.signer.tolerations: every taint"),
        ({"tolerations": [{"key": "node-role.kubernetes.io/control-plane"}]}, "control-plane"),
    ],
)
def test_a_setting_that_is_not_allowed_is_refused_and_named(signer: dict[str, Any], named: str) -> None:
    problem = refused(spec_of(signer=signer), OPTIONS)
    assert named in problem
    assert "VAULTSTREAM_WORKER_ALLOWED_" in problem
    assert problem.endswith(".")
    assert refused(spec_of(signer=signer), OPEN) == ""
    common = {field: value for field, value in signer.items() if field != "topologySpreadConstraints"}
    assert refused(spec_of(workers=common), OPTIONS) == problem.replace("spec.signer", "spec.workers")


@pytest.mark.parametrize(
    "signer",
    [
        {"podLabels": {"app.kubernetes.io/component": "keys"}},
        {"podLabels": {"vaultstream.dev/job-uid": "another"}},
        {"podLabels": {"pod-template-hash": "0"}},
        {"podLabels": {"job-name": "x"}},
        {"podAnnotations": {"container.apparmor.security.beta.kubernetes.io/worker": "unconfined"}},
        {"podAnnotations": {"controller.kubernetes.io/pod-deletion-cost": "9"}},
        affinity("podAntiAffinity", namespaceSelector={}),
        affinity("podAntiAffinity", namespaces=["other"]),
        affinity("podAffinity", namespaceSelector={"matchLabels": {"team": "other"}}),
    ],
)
def test_a_reserved_setting_is_refused_whatever_is_allowed(signer: dict[str, Any]) -> None:
    assert refused(spec_of(signer=signer), OPEN)


@pytest.mark.parametrize(
    "signer",
    [
        {},
        {"nodeSelector": {"disk": "ssd"}},
        affinity("podAntiAffinity"),
        affinity("podAffinity"),
        {"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone"}]},
        {"resources": {"requests": {"cpu": "2"}}},
    ],
)
def test_settings_that_only_restrict_or_count_against_quotas_are_always_allowed(
    signer: dict[str, Any],
) -> None:
    assert refused(spec_of(signer=signer), OPTIONS) == ""


@pytest.mark.parametrize(
    ("allowed", "key", "fine"),
    [
        (("team",), "team", True),
        (("team",), "teams", False),
        (("example.com/*",), "example.com/cost-center", True),
        (("example.com/*",), "example.com.evil.org/x", False),
        (("example.com/*",), "sub.example.com/x", False),
        ((), "team", False),
    ],
)
def test_a_list_allows_names_and_whole_prefixes(allowed: tuple[str, ...], key: str, fine: bool) -> None:
    spec = spec_of(signer={"podLabels": {key: "v"}})
    assert (refused(spec, WorkerSettings(allowed_pod_labels=allowed)) == "") is fine
