"""The types and the generated schema accept the same specs, except for the rules in CEL."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from jsonschema import Draft4Validator
from pydantic import ValidationError

from support.odd_manifests import EDGES, manifests, places
from vaultstream.api import SigningJob
from vaultstream.api.base import BROKEN_RULES, FORM
from vaultstream_operator.api.crd import spec_schema

pytestmark = pytest.mark.unit


def _strict(schema: Any) -> Any:
    """Returns the schema with unknown fields refused, as an API server does with strict field validation."""
    if not isinstance(schema, dict):
        return schema
    strict = {word: _strict(inner) for word, inner in schema.items()}
    if "type" in schema and "properties" in schema:
        strict["additionalProperties"] = False
    return strict


def _at(value: Any, place: tuple[str | int, ...]) -> Any:
    for step in place:
        value = value[step]
    return value


SPEC = spec_schema()
VALIDATOR = Draft4Validator(_strict(SPEC))


def _by_rule(error: Any) -> bool:
    """Whether an API server refuses this by a rule in CEL: those between fields, and those on what a text looks like."""
    if error["loc"][-1] == "finishBy" and isinstance(error["input"], str):
        return bool(len(error["input"]) <= SPEC["properties"]["finishBy"]["maxLength"])
    return bool(error["type"] in (BROKEN_RULES, FORM))


def _disagreement(manifest: dict[str, Any]) -> object:
    """Returns what one refuses and the other accepts, apart from rules in CEL; None: they agree."""
    try:
        SigningJob.model_validate(manifest, by_alias=True, by_name=False)
        refused = []
    except ValidationError as error:
        refused = [detail for detail in error.errors() if not _by_rule(detail)]
    by_schema = [f"{list(error.path)}: {error.message}" for error in VALIDATOR.iter_errors(manifest["spec"])]
    return None if bool(refused) == bool(by_schema) else (manifest, refused, by_schema)


@given(manifests())
@settings(max_examples=500, deadline=None)
def test_the_types_and_the_schema_accept_the_same_specs(manifest: dict[str, Any]) -> None:
    assert _disagreement(manifest) is None


FULL: dict[str, Any] = yaml.safe_load((Path(__file__).parents[2] / "examples/full.yaml").read_text())
NUMBERS = [place for place in places(FULL["spec"]) if type(_at(FULL["spec"], place)) in (int, float)]


@pytest.mark.parametrize("place", NUMBERS, ids=lambda place: ".".join(map(str, place)))
def test_they_agree_on_every_number_at_the_edge_of_any_bound(place: tuple[str | int, ...]) -> None:
    for number in EDGES:
        spec = {name: copy.deepcopy(FULL["spec"][name]) for name in ("records", place[0])}
        _at(spec, place[:-1])[place[-1]] = number
        assert _disagreement(FULL | {"spec": spec}) is None
