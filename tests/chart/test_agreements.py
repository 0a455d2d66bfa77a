"""What the chart repeats, and what it repeats of other parts of the product, agrees."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from support.chart import CHART, NAMESPACE, ROOT, render
from vaultstream.credentials import SECRET_VARIABLE
from vaultstream.telemetry.metrics import Metrics
from vaultstream_operator.api.reasons import JobReason
from vaultstream_operator.api.status import Condition
from vaultstream_operator.metrics import OperatorMetrics
from vaultstream_operator.settings import OperatorSettings, WorkerSettings

pytestmark = pytest.mark.unit

RUNBOOKS = ROOT / "docs" / "runbooks.md"
NOW = datetime(2026, 11, 28, tzinfo=UTC)
EVERYTHING = ("--values", CHART / "ci" / "cert-manager-values.yaml")


def paths(values: Any, schema: Mapping[str, Any], top: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Yields each path that only the values or only the schema has."""
    schema = top["$defs"][schema["$ref"].rsplit("/", 1)[-1]] if "$ref" in schema else schema
    if (
        "properties" not in schema or schema["additionalProperties"] is True
    ):  # its fields are those of Kubernetes
        return
    assert schema["additionalProperties"] is False, path
    for name in set(values) ^ set(schema["properties"]):
        yield f"{path}.{name}"
    for name in set(values) & set(schema["properties"]):
        yield from paths(values[name], schema["properties"][name], top, f"{path}.{name}")


def served_metrics() -> set[str]:
    """The names of all series that the operator and the workers serve."""
    registries = [
        OperatorMetrics().registry,
        *(Metrics(role).registry for role in ("keys", "records", "signing")),
    ]
    names = set()
    for registry in registries:
        for family in registry.collect():
            suffixes = {
                "histogram": ("_bucket", "_sum", "_count"),
                "counter": ("_total",),
                "info": ("_info",),
            }
            names |= {family.name + suffix for suffix in suffixes.get(family.type, ("",))}
    assert all(text_string_to_metric_families(generate_latest(each).decode()) for each in registries)
    return names


def used_metrics(text: str) -> set[str]:
    labels = {"vaultstream_dev_job"}  # of pods, see the PodMonitors
    return set(re.findall(r"\bvaultstream_[a-z_]+", text)) - labels


def rules_of(role: Mapping[str, Any]) -> list[str]:
    return sorted(json.dumps(rule, sort_keys=True) for rule in role["rules"])


def test_the_charts_role_has_the_permissions_of_the_manifest() -> None:
    manifest, signing_jobs = (
        next(each for each in yaml.safe_load_all((ROOT / "deploy" / name).read_text()) if "rules" in each)
        for name in ("operator-rbac.yaml", "operator-signingjobs-rbac.yaml")
    )
    chart = render()
    assert rules_of(chart.one("Role", "vaultstream-operator")) == rules_of(manifest)
    small = chart.one("ClusterRole", f"{NAMESPACE}-vaultstream-operator-signingjobs")
    assert rules_of(small) == rules_of(signing_jobs)
    wide = render("--set", "clusterWide=true").one("ClusterRole", f"{NAMESPACE}-vaultstream-operator")
    assert rules_of(wide) == rules_of(manifest)


def test_two_operators_elect_a_leader_with_the_permissions_of_the_manifest() -> None:
    lease = next(
        each
        for each in yaml.safe_load_all((ROOT / "deploy" / "operator-rbac.yaml").read_text())
        if each["kind"] == "Role"
    )
    chart = render("--set", "operator.replicas=2")
    name = chart.one("Deployment", "vaultstream-operator")["metadata"]["name"]
    role = chart.one("Role", f"{name}-lease")
    assert [rule["verbs"] for rule in role["rules"]] == [rule["verbs"] for rule in lease["rules"]]
    assert role["rules"][-1]["resourceNames"] == [name]
    assert chart.one("RoleBinding", f"{name}-lease")["roleRef"]["name"] == f"{name}-lease"
    spec = chart.one("Deployment", name)["spec"]
    [container] = spec["template"]["spec"]["containers"]
    given = {each["name"]: each for each in container["env"]}
    assert (spec["replicas"], given["VAULTSTREAM_LEASE"]["value"]) == (2, f"{NAMESPACE}/{name}")
    assert given["VAULTSTREAM_POD_NAME"]["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.name"
    assert spec["template"]["spec"]["topologySpreadConstraints"]


def test_the_charts_admission_policies_are_those_of_the_manifest() -> None:
    manifest = list(yaml.safe_load_all((ROOT / "deploy" / "operator-policies.yaml").read_text()))
    account = "system:serviceaccount:vaultstream:vaultstream-operator"
    settings = {
        "image": "'vaultstream:dev'",
        "kekSecret": "'vaultstream-kek'",
        "sealKeySecret": "'vaultstream-seal-key'",
        "revocationsConfigMap": "'vaultstream-revocations'",
        "caSecret": "'vaultstream-ca'",
    }
    given = ("--namespace", "vaultstream", "--set", "image.tag=dev")
    own = [each for each in render(*given).manifests if each["kind"].startswith("ValidatingAdmissionPolicy")]
    chart = {(each["kind"], each["metadata"]["name"]): each["spec"] for each in own}
    assert len(chart) == len(manifest) == 6
    for delivered in manifest:
        name, spec = f"vaultstream-{delivered['metadata']['name']}", delivered["spec"]
        if "policyName" in spec:
            spec["policyName"] = name
        else:
            [condition] = spec["matchConditions"]
            assert condition["expression"] == f"request.userInfo.username == '{account}'"
        for variable in spec.get("variables", []):
            variable["expression"] = settings.get(variable["name"], variable["expression"])
        assert chart[delivered["kind"], name] == spec


def test_the_charts_crd_is_the_generated_one() -> None:
    [own] = render().of("CustomResourceDefinition")
    generated = yaml.safe_load((ROOT / "crds" / "signingjobs.vaultstream.dev.yaml").read_text())
    assert own["spec"] == generated["spec"]


def test_the_schema_describes_exactly_the_charts_values() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert sorted(paths(values, schema, schema)) == []


def test_the_operator_knows_every_variable_that_the_chart_sets() -> None:
    arguments = [
        word
        for kind in ("podLabels", "podAnnotations", "priorityClasses", "tolerations")
        for word in ("--set", f"workers.allowed.{kind}={{a}}")
    ]
    deployment = render(*EVERYTHING, *arguments).one("Deployment", "vaultstream-operator")
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    names = {variable["name"] for variable in container["env"]}
    worker = {
        str(field.validation_alias or f"VAULTSTREAM_WORKER_{name}").upper()
        for name, field in WorkerSettings.model_fields.items()
    }
    own = {
        str(field.validation_alias or name).upper() for name, field in OperatorSettings.model_fields.items()
    }
    elsewhere = {"PGSSLROOTCERT", SECRET_VARIABLE, "VAULTSTREAM_LOG_FORMAT", "VAULTSTREAM_LOG_LEVEL", "TZ"}
    assert names - elsewhere <= worker | own
    assert worker - names <= {"VAULTSTREAM_WORKER_METRICS_PORT"}


def test_alerts_and_dashboard_use_only_served_metrics() -> None:
    served = served_metrics()
    for path in [*(CHART / "files" / "alerts").iterdir(), *(CHART / "files" / "dashboards").iterdir()]:
        used = used_metrics(path.read_text())
        assert used, path.name
        assert used <= served, path.name


@pytest.mark.parametrize("name", ["job-stalled", "job-failed", "operator-namespace-lost"])
def test_alerts_select_labels_and_conditions_that_the_operator_serves(name: str) -> None:
    metrics = OperatorMetrics()
    metrics.stands("team-a", "job", [condition_of(kind) for kind in ("Stalled", "Failed")])
    metrics.reaches(["team-a"], ["team-b"])
    samples = [sample for family in metrics.registry.collect() for sample in family.samples]
    expression = yaml.safe_load((CHART / "files" / "alerts" / f"{name}.yaml").read_text())["expr"]
    selected = re.findall(r"(vaultstream_\w+)(?:\{(\w+)=\"(\w+)\"\})?", expression)
    assert selected
    for metric, label, value in selected:
        found = [
            sample for sample in samples if sample.name == metric and sample.labels.get(label, "") == value
        ]
        assert 1 in {sample.value for sample in found}, (metric, label, value)
        for labels in re.findall(r"(?:by|on) \(([^)]*)\)", expression):
            assert set(labels.split(", ")) <= found[0].labels.keys()


def test_a_job_that_is_stalled_for_one_reason_after_another_is_one_alert() -> None:
    rule = yaml.safe_load((CHART / "files" / "alerts" / "job-stalled.yaml").read_text())
    assert set(re.findall(r"by \(([^)]*)\)", rule["expr"])) == {"namespace, name"}


@pytest.mark.parametrize("path", sorted((CHART / "files" / "alerts").iterdir()), ids=lambda path: path.stem)
def test_no_alert_starts_again_when_a_reason_or_the_leader_changes(path: Path) -> None:
    rule = yaml.safe_load(path.read_text())
    by = [labels.split(", ") for labels in re.findall(r"by \(([^)]*)\)", rule["expr"])]
    if "for" in rule:
        assert not {"reason", "instance", "pod"} & {label for labels in by for label in labels}
        assert "labels.reason" not in str(rule["annotations"])
    grouped = re.sub(r"(by|on) \([^)]*\)", "", rule["expr"])
    bare = re.findall(r"(?:^|[\s)-])(vaultstream_\w+)", grouped)
    assert bare == [], "has the labels of a pod"


def condition_of(kind: str) -> Condition:
    values = {
        "status": "True",
        "reason": "Reason",
        "message": "",
        "last_transition_time": NOW,
        "observed_generation": 1,
    }
    return Condition.model_validate({"type": kind, **values})


def test_an_alert_tells_of_leases_that_begin_in_the_future() -> None:
    [rule] = render(*EVERYTHING).of("PrometheusRule")
    expressions = {each["alert"]: each["expr"] for group in rule["spec"]["groups"] for each in group["rules"]}
    assert [name for name, text in expressions.items() if used_metrics(text) == {"vaultstream_keys_ahead"}]


def test_each_alert_has_its_section_in_the_runbooks() -> None:
    sections = set(re.findall(r"^#+ (\w+)$", RUNBOOKS.read_text(), re.MULTILINE))
    served = "monitoring.prometheusRule.runbookUrl=https://example.com/docs/runbooks.md"
    [rule] = render(*EVERYTHING, "--set", served).of("PrometheusRule")
    alerts = {each["alert"]: each for group in rule["spec"]["groups"] for each in group["rules"]}
    assert len(alerts) == len(list((CHART / "files" / "alerts").iterdir()))
    assert alerts.keys() <= sections
    for name, alert in alerts.items():
        assert alert["annotations"]["runbook_url"] == f"https://example.com/docs/runbooks.md#{name.lower()}"
        assert {"summary", "description"} <= alert["annotations"].keys()


def test_each_reason_of_a_condition_is_in_the_runbooks() -> None:
    text = RUNBOOKS.read_text()
    assert [reason for reason in JobReason if not re.search(rf"\b{reason.value}\b", text)] == []


def test_each_object_is_labeled_and_each_container_has_limits() -> None:
    for manifest in render(*EVERYTHING).manifests:
        metadata = manifest["metadata"]
        if metadata["name"] == "vaultstream-extra":
            continue
        assert metadata["labels"]["app.kubernetes.io/instance"] == "vaultstream", metadata["name"]
        template = manifest["spec"].get("template", manifest) if "spec" in manifest else {}
        pod = template.get("spec", {})
        for container in [*pod.get("containers", ()), *pod.get("initContainers", ())]:
            assert {"memory", "ephemeral-storage"} <= container["resources"]["limits"].keys()
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
