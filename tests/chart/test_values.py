"""The operator accepts whatever the chart's values allow, and no rendered map has a key twice."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from support.chart import CHART, NAMESPACE, helm, render
from vaultstream_operator.settings import WorkerSettings

pytestmark = pytest.mark.unit


class Strict(yaml.SafeLoader):
    """Refuses a map with a key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        assert not twice, f"{node.start_mark}: {twice}"
        return super().construct_mapping(node, deep)


def operator_takes(grace: int, pre_stop: int) -> bool:
    try:
        WorkerSettings(image="vaultstream", grace_seconds=grace, pre_stop_seconds=pre_stop)
    except ValidationError:
        return False
    return True


def escaped(name: str) -> str:
    """Escapes a key for helm's --set."""
    return name.replace(".", r"\.")


@pytest.mark.parametrize("pre_stop", [0, 5, 30, 60, 61])
@pytest.mark.parametrize("more", [0, 9, 10])
def test_the_chart_accepts_exactly_the_times_that_the_operator_accepts(pre_stop: int, more: int) -> None:
    grace = pre_stop + more
    given = f"workers.terminationGracePeriodSeconds={grace},workers.preStopSeconds={pre_stop}"
    done = helm("template", "vaultstream", CHART, "--set", given, check=False)
    assert (done.returncode == 0) == operator_takes(grace, pre_stop), done.stderr
    assert done.returncode == 0 or "workers" in done.stderr


def test_no_key_is_rendered_twice_even_if_values_repeat_the_charts_keys() -> None:
    labels = ("app.kubernetes.io/name", "app.kubernetes.io/component", "app.kubernetes.io/part-of", "team")
    pods = ("kubectl.kubernetes.io/default-container", "checksum/credentials", "checksum/settings", "mesh")
    repeated = [
        f"{place}.{escaped(name)}=other"
        for place in (
            "commonLabels",
            "operator.podLabels",
            "kek.podLabels",
            "bundled.nats.podLabels",
            "bundled.postgres.podLabels",
            "monitoring.podMonitor.labels",
            "monitoring.prometheusRule.labels",
            "monitoring.dashboard.labels",
        )
        for name in labels
    ] + [
        f"{place}.podAnnotations.{escaped(name)}=other"
        for place in ("operator", "kek", "bundled.nats", "bundled.postgres")
        for name in pods
    ]
    given = [word for each in repeated for word in ("--set-string", each)]
    values = CHART / "ci" / "cert-manager-values.yaml"
    text = helm("template", "vaultstream", CHART, "--namespace", NAMESPACE, "--values", values, *given).stdout
    assert len(list(yaml.load_all(text, Strict))) > 20


@pytest.mark.parametrize(("kek", "seal_key"), [(True, True), (True, False), (False, True), (False, False)])
def test_the_job_creates_the_secrets_that_do_not_exist(*, kek: bool, seal_key: bool) -> None:
    given = {"kek.existingSecret": "" if kek else "own", "sealKey.existingSecret": "" if seal_key else "own"}
    chart = render(*(word for name, value in given.items() for word in ("--set", f"{name}={value}")))
    made = [name for name, missing in (("kek", kek), ("seal-key", seal_key)) if missing]
    jobs = [job for job in chart.of("Job") if job["metadata"]["name"] == "vaultstream-kek"]
    found = [each for job in jobs for each in job["spec"]["template"]["spec"]["containers"]]
    assert [each["args"][:3] for each in found] == [[n, "create-secret", f"vaultstream-{n}"] for n in made]
    rules = [
        rule
        for role in chart.of("Role")
        if role["metadata"]["name"] == "vaultstream-kek"
        for rule in role["rules"]
        if rule["verbs"] == ["get"]
    ]
    assert [rule["resourceNames"] for rule in rules] == ([[f"vaultstream-{n}" for n in made]] if made else [])
    assert not any("seal-key" in str(each.get("data")) for each in chart.of("Secret"))


@pytest.mark.parametrize(("name", "accepted"), [("example.com/sign", True), ("a b", False), ("a+b", False)])
def test_a_name_of_the_installation_that_no_log_can_have_is_refused(name: str, *, accepted: bool) -> None:
    done = helm("template", "vaultstream", CHART, "--set", f"sealKey.name={name}", check=False)
    assert (done.returncode == 0) is accepted, done.stderr
    assert not accepted or f"--name={name}" in done.stdout


def test_two_namespaces_can_not_share_a_schema_of_the_bundled_postgres() -> None:
    long = "a" * 61
    schema = f"ns_{long}"
    cut = f"{schema[:54]}_{hashlib.sha256(schema.encode()).hexdigest()[:8]}"
    other = cut.removeprefix("ns_").replace("_", "-")
    for namespaces, permitted in (([long], True), ([long, "b" * 61], True), ([long, other], False)):
        given = f"services=bundled,jobNamespaces={{{','.join(namespaces)}}}"
        done = helm("template", "vaultstream", CHART, "--set", given, check=False)
        assert (done.returncode == 0) is permitted, done.stderr
        assert permitted or f"would share the schema {cut}" in done.stderr
