"""Witnesses and an authority of timestamps: which pods know them, and may connect to them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from support.chart import CHART, helm, render

pytestmark = pytest.mark.unit

TO = [{"ipBlock": {"cidr": "192.0.2.0/24"}}]
VALUES = {
    "witnesses": "w.example.com+0123abcd+BAAA https://w.example.com",
    "timestampUrl": "https://tsa.example.com/tsr",
    "timestampCa": "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n",
    "to": TO,
    "ports": [443, 8443],
}


def given(folder: Path, **changes: object) -> tuple[str, Path]:
    path = folder / "values.yaml"
    path.write_text(yaml.safe_dump({"attestation": VALUES | changes, "workers": {"extraEnv": {"TZ": "UTC"}}}))
    return "--values", path


def test_workers_are_told_who_attests_and_records_workers_alone_may_connect(tmp_path: Path) -> None:
    rendered = render(*given(tmp_path))
    deployment = rendered.one("Deployment", "vaultstream-operator")
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    [env] = [each["value"] for each in container["env"] if each["name"] == "VAULTSTREAM_WORKER_EXTRA_ENV"]
    assert json.loads(env) == {
        "TZ": "UTC",
        "VAULTSTREAM_WITNESSES": VALUES["witnesses"],
        "VAULTSTREAM_TIMESTAMP_URL": VALUES["timestampUrl"],
        "VAULTSTREAM_TIMESTAMP_CA": VALUES["timestampCa"],
    }
    # The admission policy lets the operator set these and no others.
    expressions = [
        variable["expression"]
        for policy in rendered.of("ValidatingAdmissionPolicy")
        for variable in policy["spec"].get("variables", ())
        if variable["name"] == "extraEnv"
    ]
    assert expressions
    assert all(json.loads(expression) == json.loads(env) for expression in expressions)
    policy = rendered.one("NetworkPolicy", "vaultstream-attestation")["spec"]
    assert policy["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "records"
    assert policy["policyTypes"] == ["Egress"]
    ports = [{"port": port, "protocol": "TCP"} for port in (443, 8443)]
    assert policy["egress"] == [{"ports": ports, "to": TO}]


def test_nobody_may_connect_to_anything_else_by_default() -> None:
    names = {policy["metadata"]["name"] for policy in render().of("NetworkPolicy")}
    assert "vaultstream-workers" in names
    assert "vaultstream-attestation" not in names


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"timestampCa": ""}, "attestation.timestampCa"),
        ({"to": []}, "attestation.to"),
        ({"to": [], "timestampUrl": ""}, "attestation.to"),
    ],
)
def test_values_with_which_nothing_could_be_attested_are_refused(
    tmp_path: Path, changes: dict[str, object], field: str
) -> None:
    done = helm("template", "vaultstream", CHART, *given(tmp_path, **changes), check=False)
    assert done.returncode != 0
    assert field in done.stderr
