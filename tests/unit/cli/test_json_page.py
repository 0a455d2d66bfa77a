"""docs/json-output.md has a section for each command that prints objects, and its checker finds what differs."""

from __future__ import annotations

import json

import pytest

from support.command_tree import leaves, option_names
from support.json_page import assert_documented, sections
from vaultstream.errors import UsageError
from vaultstream_cli.forms import error_object

pytestmark = pytest.mark.unit

OF_OPTIONS = {"verify --bundle", "verify --proof"}
LOG_KEY = {"origin": "example.com", "keys": ["a"]}


def test_each_command_that_prints_objects_has_a_section() -> None:
    printing = {" ".join(words) for words, command in leaves() if "--json" in option_names(command)}
    assert sections().keys() == printing | OF_OPTIONS


def test_each_field_has_a_meaning() -> None:
    assert all(meaning for rows in sections().values() for _, meaning in rows.values())


@pytest.mark.parametrize(
    "value",
    [
        {**LOG_KEY, "more": 1},
        {"origin": "example.com"},
        {**LOG_KEY, "keys": "a"},
        {**LOG_KEY, "keys": [1]},
        {**LOG_KEY, "origin": None},
    ],
)
def test_a_difference_is_found(value: dict[str, object]) -> None:
    assert_documented("log key", LOG_KEY)
    with pytest.raises(AssertionError):
        assert_documented("log key", value)


def test_the_fields_of_an_error_are_those_of_the_page() -> None:
    shown = json.loads(json.dumps(error_object(UsageError("x", hint="y"))))
    assert shown == {"error": "x", "field": None, "hint": "y", "exit_code": 2}
