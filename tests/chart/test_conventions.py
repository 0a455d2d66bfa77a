"""What people expect of any chart: subcharts, shared values, one's own registry, classes and limits that every cluster takes."""

from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path

import pytest
import yaml

from support.chart import CHART, ROOT, Rendered, helm, render
from vaultstream_operator.adapters.postgres import PostgresStore
from vaultstream_operator.settings import WorkerSettings, load_worker_settings

pytestmark = pytest.mark.unit

PRODUCTION = ROOT / "docs" / "production.md"
VALUES = sorted(
    [*(CHART / "ci").glob("*.yaml"), *(ROOT / "examples").rglob("*values.yaml"), CHART / "values.yaml"]
)


def images(chart: Rendered) -> set[str]:
    found = set()
    for manifest in chart.manifests:
        if manifest["kind"] in ("Deployment", "StatefulSet", "Job", "Pod"):
            spec = (manifest if manifest["kind"] == "Pod" else manifest["spec"]["template"])["spec"]
            found |= {each["image"] for each in [*spec["containers"], *spec.get("initContainers", ())]}
    return found


def worker_settings(chart: Rendered, monkeypatch: pytest.MonkeyPatch) -> WorkerSettings:
    [deployment] = [each for each in chart.of("Deployment") if each["metadata"]["name"].endswith("-operator")]
    for variable in deployment["spec"]["template"]["spec"]["containers"][0]["env"]:
        if variable["name"].startswith("VAULTSTREAM_WORKER_"):
            monkeypatch.setenv(variable["name"], variable["value"])
    return load_worker_settings()


def in_parent(folder: Path, *arguments: str) -> Rendered:
    """Renders a chart of others that has this one as its dependency, with a condition."""
    dependency = {"name": "vaultstream", "version": "*.*.*", "condition": "vaultstream.enabled"}
    chart = {"apiVersion": "v2", "name": "platform", "version": "1.0.0", "dependencies": [dependency]}
    (folder / "Chart.yaml").write_text(yaml.safe_dump(chart))
    shutil.copytree(CHART, folder / "charts" / "vaultstream", dirs_exist_ok=True)
    text = helm("template", "platform", folder, "--namespace", "signing", *arguments).stdout
    return Rendered([manifest for manifest in yaml.safe_load_all(text) if manifest])


def test_as_a_subchart_it_is_switched_by_its_condition(tmp_path: Path) -> None:
    there = in_parent(
        tmp_path, "--set", "vaultstream.enabled=true", "--set", "global.imageRegistry=mirror.example.com"
    )
    assert len(there.of("Deployment")) == 1
    assert all(image.startswith("mirror.example.com/") for image in images(there))
    assert in_parent(tmp_path, "--set", "vaultstream.enabled=false").manifests == []


@pytest.mark.parametrize(
    ("repository", "image"),
    [
        ("vaultstream", "mirror.example.com:5000/all/vaultstream"),
        ("acme/vaultstream", "mirror.example.com:5000/all/acme/vaultstream"),
        ("ghcr.io/acme/vaultstream", "mirror.example.com:5000/all/acme/vaultstream"),
        ("localhost/vaultstream", "mirror.example.com:5000/all/vaultstream"),
    ],
)
def test_a_shared_registry_and_pull_secrets_are_those_of_every_image(
    repository: str, image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = {
        "imageRegistry": "mirror.example.com:5000/all",
        "imagePullSecrets": ["shared", {"name": "other"}],
    }
    given = ("--set-json", f"global={json.dumps(shared)}", "--set", f"image.repository={repository}")
    chart = render(*given, "--set-string", "image.tag=1", "--set", "imagePullSecrets={own,shared}")
    assert {each for each in images(chart) if "vaultstream" in each} == {f"{image}:1"}
    assert all(each.startswith("mirror.example.com:5000/all/") for each in images(chart))
    options = worker_settings(chart, monkeypatch)
    assert (options.image, options.image_pull_secrets) == (f"{image}:1", ("own", "shared", "other"))
    [policy] = [
        each
        for each in chart.of("ValidatingAdmissionPolicy")
        if each["metadata"]["name"].endswith("-workers")
    ]
    variables = {each["name"]: each["expression"] for each in policy["spec"]["variables"]}
    assert variables["image"] == f"'{image}:1'"
    assert json.loads(variables["pullSecrets"]) == ["own", "shared", "other"]
    [deployment] = chart.of("Deployment")
    secrets = deployment["spec"]["template"]["spec"]["imagePullSecrets"]
    assert [each["name"] for each in secrets] == ["own", "shared", "other"]


def test_without_shared_values_images_are_those_of_the_values() -> None:
    assert images(render("--set", "image.digest=")) >= {"vaultstream:0.1.0", "postgres:18"}
    assert images(render("--set", "global=null")) == images(render())


def test_the_production_values_name_a_registry_that_nodes_can_pull_from() -> None:
    chart = render("--values", ROOT / "examples" / "production" / "vaultstream-values.yaml")
    assert images(chart) == {"registry.example.com/vaultstream:0.1.0"}
    text = PRODUCTION.read_text()
    for command in ("docker build", "docker push registry.example.com/vaultstream:0.1.0"):
        assert command in text


@pytest.mark.parametrize("path", VALUES, ids=lambda path: path.name)
def test_no_file_of_values_asks_for_a_class_that_clusters_keep_for_themselves(path: Path) -> None:
    given = "\n".join(line.partition("#")[0] for line in path.read_text().splitlines())
    assert "system-cluster-critical" not in given
    assert "system-node-critical" not in given


def test_the_bundled_postgres_has_the_connections_that_the_documented_formula_asks_for() -> None:
    own, per_job, per_signer = map(
        int,
        re.search(
            r"at least (\d+) \+ Σ over jobs of \((\d+) \+ (\d+) · `maxReplicaCount`\)", PRODUCTION.read_text()
        ).groups(),  # type: ignore[union-attr]
    )
    assert own == PostgresStore.__init__.__kwdefaults__["connections"] + 1  # that listens for hints
    one_job = own + per_job + per_signer * 100  # the default maximum of signers on Kubernetes
    settings = yaml.safe_load((CHART / "values.yaml").read_text())["bundled"]["postgres"]["settings"]
    assert settings["max_connections"] >= math.ceil(one_job * 1.25)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("enabled=maybe", "enabled"),
        ("global.imageRegistry=https://mirror.example.com", "imageRegistry"),
        ("global.imagePullSecrets={A_B}", "imagePullSecrets"),
    ],
)
def test_shared_values_that_can_not_be_used_are_refused(given: str, why: str) -> None:
    done = helm("template", "vaultstream", CHART, "--set", given, check=False)
    assert done.returncode != 0
    assert why in done.stderr


def test_the_client_certificate_for_nats_is_mounted_where_nats_is_reached() -> None:
    chart = render("--values", CHART / "ci" / "external-values.yaml")
    for manifest, container, secret in (
        (chart.of("Deployment")[0]["spec"]["template"], "operator", "signing-operator"),
        (chart.of("Pod")[0], "nats", "signing-auditor"),
    ):
        [volume] = [each for each in manifest["spec"]["volumes"] if each["name"] == "credentials"]
        assert volume["secret"] == {"secretName": secret, "defaultMode": 0o440, "optional": True}
        [found] = [each for each in manifest["spec"]["containers"] if each["name"] == container]
        folder = {each["name"]: each.get("value") for each in found["env"]}["VAULTSTREAM_CREDENTIALS_DIR"]
        assert {"name": "credentials", "mountPath": folder, "readOnly": True} in found["volumeMounts"]
