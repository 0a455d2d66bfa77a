"""The chart on clusters with tainted nodes, quotas, required labels, assigned user ids and name servers on another port."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic.alias_generators import to_camel

from support.chart import CHART, NAMESPACE, ROOT, Manifest, Rendered, helm, render
from support.planning import OWNER, TOKEN, spec_of
from vaultstream_operator.core.children import signing_deployment, worker_job
from vaultstream_operator.core.shapes import WorkerShape
from vaultstream_operator.settings import WorkerSettings

pytestmark = pytest.mark.unit

IDS = {"runAsUser", "runAsGroup", "fsGroup"}
OPENSHIFT = ROOT / "examples" / "production" / "openshift-values.yaml"
EXTERNAL = ROOT / "examples" / "production" / "vaultstream-values.yaml"


def shape(chart: Rendered) -> WorkerShape:
    """How the operator of a release shapes workers, from the variable that the chart sets."""
    [deployment] = [each for each in chart.of("Deployment") if each["metadata"]["name"].endswith("-operator")]
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    [variable] = [each for each in container["env"] if each["name"] == "VAULTSTREAM_WORKER_SHAPE"]
    return WorkerShape.model_validate_json(variable["value"])


def pods(chart: Rendered) -> Iterator[tuple[str, Manifest]]:
    """Yields the pods of a release and of the workers that its operator creates, each with its name."""
    for manifest in chart.manifests:
        if manifest["kind"] in ("Deployment", "StatefulSet", "Job", "Pod"):
            template = manifest if manifest["kind"] == "Pod" else manifest["spec"]["template"]
            yield manifest["metadata"]["name"], template
    options = WorkerSettings(shape=shape(chart))
    for role in ("keys", "records"):
        yield role, worker_job(OWNER, role, TOKEN, spec_of(), options)["spec"]["template"]
    yield "signing", signing_deployment(OWNER, TOKEN, spec_of(), options, replicas=1)["spec"]["template"]


def names(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from names(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from names(inner)


@pytest.mark.parametrize("services", [(), ("--values", EXTERNAL)], ids=["bundled", "external"])
def test_on_openshift_no_pod_asks_for_a_user_or_group_id(services: tuple[Any, ...]) -> None:
    before = dict(pods(render(*services)))
    after = dict(pods(render(*services, "--values", OPENSHIFT)))
    assert before.keys() == after.keys()
    assert {name for name, pod in before.items() if IDS & set(names(pod))} == before.keys()
    assert {name for name, pod in after.items() if IDS & set(names(pod))} == set()
    for pod in after.values():
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
        assert pod["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}


def test_on_openshift_every_pod_reaches_the_name_servers_on_their_port() -> None:
    chart = render("--values", EXTERNAL, "--values", OPENSHIFT)
    asking = [
        policy
        for policy in chart.of("NetworkPolicy")
        if not policy["metadata"]["name"].endswith("-kek")  # finds the API server by its address
    ]
    assert asking
    for policy in asking:
        rules = [
            rule for rule in policy["spec"]["egress"] if {"port": 5353, "protocol": "UDP"} in rule["ports"]
        ]
        assert len(rules) == 1, policy["metadata"]["name"]
        selector = rules[0]["to"][0]["namespaceSelector"]["matchLabels"]
        assert selector == {"kubernetes.io/metadata.name": "openshift-dns"}


def test_on_tainted_nodes_every_pod_tolerates_the_taint() -> None:
    toleration = {"key": "dedicated", "operator": "Exists", "effect": "NoSchedule"}
    given = [
        word
        for component in ("operator", "workers", "bundled.postgres", "bundled.nats")
        for word in ("--set-json", f"{component}.tolerations={json.dumps([toleration])}")
    ]
    found = dict(pods(render(*given)))
    assert {"vaultstream-test", "vaultstream-kek", "keys", "records", "signing"} <= found.keys()
    assert [name for name, pod in found.items() if pod["spec"].get("tolerations") != [toleration]] == []


def test_where_a_quota_limits_processors_every_container_can_have_a_limit() -> None:
    given = [
        word
        for component in ("operator", "migration", "workers", "bundled.postgres", "bundled.nats")
        for word in ("--set-string", f"{component}.resources.limits.cpu=1")
    ]
    for name, pod in pods(render(*given)):
        containers = [*pod["spec"]["containers"], *pod["spec"].get("initContainers", ())]
        assert [each["name"] for each in containers if each["resources"]["limits"].get("cpu") != "1"] == [], (
            name
        )


def test_where_a_policy_requires_a_label_every_pod_can_have_it() -> None:
    chart = render("--set", "commonLabels.team=a", "--set", "workers.podLabels.team=a")
    assert [name for name, pod in pods(chart) if pod["metadata"]["labels"].get("team") != "a"] == []


@pytest.mark.parametrize(
    "given",
    [
        "workers.nodeSelector.pool=1",
        "workers.podLabels.team=a b",
        "workers.podSecurityContext.runAsUser=0",
        "workers.resources.limits.cpu=much",
    ],
)
def test_a_setting_that_no_pod_can_have_is_refused_by_the_schema(given: str) -> None:
    option = "--set" if given.endswith(("=1", "=0")) else "--set-string"
    done = helm("template", "vaultstream", ROOT / "charts" / "vaultstream", option, given, check=False)
    assert done.returncode != 0
    assert given.split("=", maxsplit=1)[0].split(".")[1] in done.stderr


def test_values_of_a_release_from_before_these_were_added_mean_the_defaults(tmp_path: Path) -> None:
    """As after `helm upgrade --reuse-values`."""
    chart = tmp_path / "vaultstream"
    shutil.copytree(CHART, chart)
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    for name in ("global", "enabled", "limits"):
        del values[name]
    for name in (*WorkerShape.model_fields, "affinity"):
        values["workers"].pop(to_camel(name), None)
    del values["operator"]["replicas"]
    (chart / "values.yaml").write_text(yaml.safe_dump(values))
    text = helm("template", "vaultstream", chart, "--namespace", NAMESPACE).stdout
    former, now = Rendered([each for each in yaml.safe_load_all(text) if each]), render()
    alike = [each.model_copy(update={"resources": {}}) for each in (shape(former), shape(now))]
    assert alike == [WorkerShape()] * 2
    assert policies_of(former) == policies_of(now)
    assert former.of("Deployment")[0]["spec"]["replicas"] == 1


def policies_of(chart: Rendered) -> list[Manifest]:
    return [each["spec"] for each in chart.of("ValidatingAdmissionPolicy")]
