"""The API reference: it contains everything that a user may write or read in a SigningJob."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

import api_reference
from vaultstream.api import JobState
from vaultstream.scaling import observation
from vaultstream.scaling.reasons import LimitName, Reason
from vaultstream_operator.api.crd import object_schema
from vaultstream_operator.api.reasons import JobReason
from vaultstream_operator.api.status import ConditionType

pytestmark = pytest.mark.unit

PAGE = api_reference.page()


def fields(schema: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yields each field at and under a schema with its name."""
    for name, field in (schema.get("items") or schema).get("properties", {}).items():
        yield name, field
        yield from fields(field)


def rows(name: str) -> list[str]:
    """Returns the lines of tables that begin with a name."""
    return re.findall(rf"^\| `{re.escape(name)}` \|.*$", PAGE, flags=re.MULTILINE)


@pytest.mark.parametrize("part", ["spec", "status"])
def test_every_field_has_a_row_with_its_description(part: str) -> None:
    for name, field in fields(object_schema()["properties"][part]):
        described = field["description"].removesuffix(" Immutable.").replace("|", "\\|")
        assert any(described in row for row in rows(name)), name


def test_a_field_s_row_has_its_type_bounds_and_default() -> None:
    assert "| integer, 1 to 20000; immutable | `500` |" in rows("batchSize")[0]
    assert "| **required** |" in rows("table")[0]
    assert "| integer, 1 to 1000 | none |" in rows("maxReplicaCount")[0]
    assert "| number, above 0, at most 3600 | `1` |" in rows("initialSeconds")[0]
    assert "`{type: Percent, value: 100, periodSeconds: 15}`" in rows("policies")[1]
    assert "| `Retain`, `Delete` | `Retain` |" in rows("deletionPolicy")[0]


def test_every_rule_between_fields_is_described() -> None:
    def told(schema: Mapping[str, Any]) -> Iterator[str]:
        for rule in schema.get("x-kubernetes-validations", ()):
            if "fieldPath" in rule:
                yield rule["message"]
        for inner in schema.get("properties", {}).values():
            yield from told(inner)

    sentences = list(told(object_schema()))
    assert len(sentences) >= 6
    assert [sentence for sentence in sentences if sentence not in PAGE] == []


@pytest.mark.parametrize(
    "words", [JobReason, Reason, LimitName, ConditionType, JobState], ids=lambda e: e.__name__
)
def test_every_word_of_the_operator_has_a_row(words: type[JobReason]) -> None:
    assert [str(word) for word in words if not rows(str(word))] == []


def test_no_sentence_is_left_with_a_gap() -> None:
    assert re.findall(r"\{[a-zA-Z_]+\}", PAGE) == []
    code = [part for line in PAGE.splitlines() for part in line.split("`")[1::2]]
    assert [part for part in code if re.search(r"\*\w+\*", part)] == [], "there are no italics in code"


def test_all_annotations_that_pause_are_named() -> None:
    for name in (
        observation.PAUSED,
        observation.PAUSED_REPLICAS,
        observation.PAUSED_SCALE_IN,
        observation.PAUSED_SCALE_OUT,
    ):
        assert rows(name)


def test_no_section_occurs_twice() -> None:
    headings = re.findall(r"^#+ .*$", PAGE, flags=re.MULTILINE)
    assert len(headings) == len(set(headings))
