"""The manifests that users start with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.manifests import shortest_yaml
from vaultstream.api import KeysSpec, ScalingSpec, SigningJob
from vaultstream.api.loader import load_signing_job, parse_signing_job

pytestmark = pytest.mark.unit

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"


def _names(schema: dict[str, Any], root: dict[str, Any]) -> Iterator[str]:
    for name, inner in schema.get("properties", {}).items():
        yield name
        for choice in (inner, inner.get("items", {}), *inner.get("anyOf", [])):
            if "$ref" in choice:
                yield from _names(root["$defs"][choice["$ref"].rpartition("/")[2]], root)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_each_example_is_valid_and_survives_its_shortest_form(path: Path) -> None:
    job = load_signing_job(path)
    assert job.metadata.name == path.stem
    assert parse_signing_job(shortest_yaml(job), source="again") == job


def test_there_are_the_four_examples() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.yaml")} == {"minimal", "flights", "full", "demo"}


def test_the_flights_are_signed_with_default_keys() -> None:
    spec = load_signing_job(EXAMPLES / "flights.yaml").spec
    assert (spec.records.table, spec.records.id_column, spec.records.payload_column) == (
        "flights",
        "id",
        "payload",
    )
    assert spec.batch_size == 500
    assert spec.keys == KeysSpec()


def test_the_full_example_has_every_field_there_is() -> None:
    text = (EXAMPLES / "full.yaml").read_text(encoding="utf-8")
    schema = SigningJob.model_json_schema()
    assert [name for name in _names(schema, schema) if f"{name}:" not in text] == []


def test_the_defaults_named_in_the_full_example_are_right() -> None:
    for line in (EXAMPLES / "full.yaml").read_text(encoding="utf-8").splitlines():
        if "(default)" in line and line.lstrip()[0] != "#":
            assert line.strip().split(":")[0] not in shortest_yaml(
                load_signing_job(EXAMPLES / "full.yaml")
            ), line


def test_the_minimal_job_has_the_documented_scaling() -> None:
    scaling = load_signing_job(EXAMPLES / "minimal.yaml").spec.scaling
    assert scaling == ScalingSpec()
    assert (scaling.polling_interval, scaling.cooldown_period, scaling.lag_threshold) == (5, 300, None)
