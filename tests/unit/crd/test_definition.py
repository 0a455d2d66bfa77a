"""The definition of SigningJob: all that the types say, in the form that an API server takes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
import yaml
from pydantic import Field

from vaultstream.api import SigningJobSpec
from vaultstream.api.base import VALIDATIONS, Model, Rule
from vaultstream_operator.api.crd import custom_resource_definition, object_schema, spec_schema, to_yaml
from vaultstream_operator.api.schema import leaves, structural_schema
from vaultstream_operator.api.status import JobStatus

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[3]


def nodes(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from nodes(inner, f"{path}.{name}")
    for word in ("items", "additionalProperties"):
        if isinstance(schema.get(word), dict):
            yield from nodes(schema[word], f"{path}[]")


NODES = dict(nodes(object_schema()))


def subclasses(model: type[Model]) -> Iterator[type[Model]]:
    for subclass in model.__subclasses__():
        yield subclass
        yield from subclasses(subclass)


def test_every_field_of_spec_and_status_has_a_description() -> None:
    described = [path for path in NODES if not path.startswith(".metadata") and not path.endswith("[]")]
    assert len(described) > 100
    assert [path for path in described if not NODES[path].get("description")] == []


def test_a_description_has_no_line_breaks_of_its_source() -> None:
    texts = [node.get("description", "") for node in NODES.values()]
    assert [text for text in texts if "  " in text or "\n\n" in text] == []
    assert "two readings of the lag" in NODES[".spec.scaling.pollingInterval"]["description"]


def test_every_node_has_a_type_and_nothing_that_a_structural_schema_forbids() -> None:
    quantities = {path for path, node in NODES.items() if node.get("x-kubernetes-int-or-string")}
    assert quantities == {
        f".spec.{pods}.resources.{kind}[]"
        for pods in ("signer", "workers")
        for kind in ("requests", "limits")
    }
    assert {path for path, node in NODES.items() if "type" not in node} == quantities
    assert {path for path, node in NODES.items() if "anyOf" in node} == quantities
    forbidden = {"$ref", "const", "title", "definitions", "$defs", "nullable"}
    assert [path for path, node in NODES.items() if forbidden & node.keys()] == []


def test_every_text_that_is_checked_by_a_pattern_is_bounded() -> None:
    # By that an API server reckons what the check may cost, and refuses a definition that may cost too much.
    checked = [
        path
        for path, node in NODES.items()
        if any("self.matches(" in rule["rule"] for rule in node.get(VALIDATIONS, ()))
    ]
    assert ".spec.signer.podLabels[]" in checked
    assert [path for path in checked if "maxLength" not in NODES[path]] == []
    maps = [path.removesuffix("[]") for path in checked if path.endswith("[]")]
    assert [path for path in maps if "maxProperties" not in NODES[path]] == []


def test_only_what_kubernetes_defines_elsewhere_is_free_form() -> None:
    free = {path for path, node in NODES.items() if "x-kubernetes-preserve-unknown-fields" in node}
    assert free == {
        ".spec.signer.affinity",
        ".spec.signer.topologySpreadConstraints[]",
        ".spec.workers.affinity",
        ".status.scaling.inputs",
    }


def test_a_bound_that_is_excluded_is_written_as_openapi_3_0_has_it() -> None:
    seconds = NODES[".spec.retries.backoff.initialSeconds"]
    assert (seconds["minimum"], seconds["exclusiveMinimum"], seconds["maximum"]) == (0, True, 3600)


def test_a_default_of_the_types_is_also_in_the_crd() -> None:
    schema = spec_schema()["properties"]
    assert schema["batchSize"]["default"] == 500
    assert schema["keys"]["default"] == {
        "count": 100,
        "algorithm": "ECDSA_P256_SHA256",
        "deterministic": False,
    }
    assert "default" not in schema["finishBy"]
    assert "default" not in schema["scaling"]["properties"]["maxReplicaCount"]
    assert not any("default" in node for path, node in NODES.items() if path.startswith(".status."))


def test_a_job_that_no_operator_has_seen_does_not_pass_for_current() -> None:
    # To kstatus an object without a status is as it should be; generations begin with 1.
    assert NODES[".status"]["default"] == {"observedGeneration": 0}


def test_every_rule_between_fields_is_also_one_of_the_api_server() -> None:
    rules = [rule for model in subclasses(Model) for rule in model.rules]
    assert len(rules) >= 6
    stated = [rule for node in NODES.values() for rule in node.get(VALIDATIONS, [])]
    assert [rule for rule in rules if rule.validation() not in stated] == []


def test_a_rule_is_on_a_field_that_is_there() -> None:
    for node in NODES.values():
        for rule in node.get(VALIDATIONS, []):
            assert rule.get("fieldPath", "")[1:] in ("", *node.get("properties", {}))


def test_a_rule_is_written_for_an_api_server_without_values() -> None:
    rule = Rule(
        "least", lambda _: True, "true", "least ({least:g}) must not be more than most ({most}): lower it"
    )
    assert rule.validation() == {
        "rule": "true",
        "message": "least must not be more than most: lower it",
        "fieldPath": ".least",
    }


@pytest.mark.parametrize("name", ["records", "batchSize", "keys"])
def test_an_immutable_field_can_not_be_removed_either(name: str) -> None:
    # A rule on a change does not see a field that appears or goes: so each is always there, or a rule compares its presence.
    part = spec_schema()["properties"][name]
    stated = [rule["rule"] for rule in part[VALIDATIONS]] if VALIDATIONS in part else []
    for path, leaf in leaves(part, name):
        assert {"rule": "self == oldSelf"}.items() <= leaf[VALIDATIONS][0].items()
        field = path.rpartition(".")[2]
        compared = f"has(self.{field}) == has(oldSelf.{field})" in stated
        assert compared or "default" in leaf or path == "records.table"


def test_the_columns_show_the_progress_of_a_job() -> None:
    columns = custom_resource_definition()["spec"]["versions"][0]["additionalPrinterColumns"]
    shown = [column["name"] for column in columns if not column.get("priority")]
    assert shown == ["State", "Progress", "Signers", "Lag", "Rate", "ETA", "Age"]
    for column in columns:
        if column["name"] != "Age":
            assert NODES[column["jsonPath"]]["type"] == column["type"]


def test_a_type_that_no_structural_schema_can_state_is_refused() -> None:
    class Either(Model):
        value: Annotated[int | str, Field(description="Either.")]

    class Multiple(Model):
        value: Annotated[int, Field(multiple_of=5)]

    with pytest.raises(ValueError, match="choice between types"):
        structural_schema(Either)
    with pytest.raises(ValueError, match="multipleOf"):
        structural_schema(Multiple)


def test_the_file_says_the_same_as_the_definition() -> None:
    definition = custom_resource_definition()
    text = to_yaml(definition)
    assert yaml.safe_load(text) == definition
    assert "&id" not in text


def test_the_schema_of_the_spec_knows_every_field_of_the_types() -> None:
    for model, path in ((SigningJobSpec, ".spec"), (JobStatus, ".status")):
        names = {info.alias for info in model.model_fields.values()}
        assert names == NODES[path]["properties"].keys()


def test_the_files_in_the_repository_are_up_to_date() -> None:
    check = subprocess.run(
        [sys.executable, str(ROOT / "hack/generate.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert check.returncode == 0, check.stderr


def test_an_outdated_file_is_reported_with_the_fix(tmp_path: Path) -> None:
    (tmp_path / "hack").mkdir()
    for path in (ROOT / "hack").glob("*.py"):
        (tmp_path / "hack" / path.name).write_text(path.read_text())
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    command = [sys.executable, str(tmp_path / "hack/generate.py")]

    def check() -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, "--check"], capture_output=True, text=True, check=False, timeout=60)

    assert check().returncode == 1
    subprocess.run(command, check=True, timeout=60)
    assert check().returncode == 0
    [file] = (tmp_path / "crds").iterdir()
    file.write_text(file.read_text().replace("default: 500", "default: 501"))
    told = check()
    assert told.returncode == 1
    assert "crds/signingjobs.vaultstream.dev.yaml differ" in told.stderr
    assert "make generate" in told.stderr
