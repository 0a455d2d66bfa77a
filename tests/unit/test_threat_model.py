"""The threat model: each actor has a test or an honest word, and each attack is listed under its actor."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/threat-model.md").read_text()
NOTHING = "Nothing stops them"
_TEST = re.compile(r"`(test_\w+)`")
_DEFINED = re.compile(r"^(?:async )?def (test_\w+)", flags=re.MULTILINE)


def defined_in(folder: str) -> set[str]:
    return {
        name for file in (ROOT / folder).rglob("test_*.py") for name in _DEFINED.findall(file.read_text())
    }


def actors() -> dict[str, str]:
    """Returns the text about each actor, by its heading."""
    parts = re.split(r"^(#{2,3}) (.*)$", PAGE, flags=re.MULTILINE)
    return {
        name: text
        for level, name, text in zip(parts[1::3], parts[2::3], parts[3::3], strict=True)
        if level == "###"
    }


def rows(text: str) -> list[list[str]]:
    """Returns the cells of a table's rows, without its head."""
    lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in cells] for cells in lines[2:]]


def test_each_test_of_the_threat_model_exists() -> None:
    assert set(_TEST.findall(PAGE)) - defined_in("tests") == set()


def test_each_attack_is_listed_under_its_actor() -> None:
    listed = {name for text in actors().values() for name in _TEST.findall(text)}
    attacks = defined_in("tests/integration/attacks")
    assert len(attacks) > 10
    assert attacks - listed == set(), "name it in docs/threat-model.md, under its actor"


def test_each_actor_has_a_test_or_nothing_stops_them() -> None:
    assert len(actors()) > 15
    for actor, text in actors().items():
        assert _TEST.search(text) or NOTHING in text, actor


@pytest.mark.parametrize("actor", actors())
def test_each_attempt_has_a_test_or_nothing_stops_it(actor: str) -> None:
    for attempt, stopped_by, tests in rows(actors()[actor]):
        assert _TEST.search(tests) or re.search(r"Nothing stops (them|it)\b", stopped_by), attempt
