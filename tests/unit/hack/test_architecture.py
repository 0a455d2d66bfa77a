"""The picture of the architecture shows what the contracts in pyproject.toml say."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from architecture import Architecture, first_sentence

pytestmark = pytest.mark.unit

PYPROJECT = (Path(__file__).parents[3] / "pyproject.toml").read_text()
PICTURE = Architecture(PYPROJECT)
SVG = "{http://www.w3.org/2000/svg}"


def labels(picture: Architecture) -> dict[str, list[tuple[float, float]]]:
    """Returns where each text stands."""
    found: dict[str, list[tuple[float, float]]] = {}
    for text in ET.fromstring(picture.svg()).iter(f"{SVG}text"):
        found.setdefault(text.text or "", []).append((float(text.attrib["x"]), float(text.attrib["y"])))
    return found


def contracts(*layers: str, pure: str, forbidden: str = "asyncpg nats") -> Architecture:
    """Returns a picture of other contracts."""
    return Architecture(f"""
        [[tool.importlinter.contracts]]
        name = "Rooms"
        type = "layers"
        layers = ["vaultstream"]
        [[tool.importlinter.contracts]]
        name = "Layers"
        type = "layers"
        containers = ["vaultstream"]
        layers = {list(layers)}
        [[tool.importlinter.contracts]]
        name = "This one is pure"
        type = "forbidden"
        source_modules = ["vaultstream.{pure}"]
        forbidden_modules = {forbidden.split()}
    """)


def test_each_module_of_the_contracts_has_a_box_and_none_of_its_words_is_cut_off() -> None:
    shown = labels(PICTURE)
    modules = [module for rows in PICTURE.rows.values() for row in rows for module in row]
    assert {"vaultstream.engine", "vaultstream_operator.handlers"} <= set(modules)
    assert {PICTURE.box(module).label for module in modules} <= shown.keys()
    assert [text for text in shown if text.endswith("…")] == [], "shorten the first sentence of the docstring"
    assert all(PICTURE.box(module).purpose for module in modules), "a docstring is missing"


def test_each_contract_is_named() -> None:
    text = " ".join(" ".join(labels(PICTURE)).split())
    assert [one["name"] for one in PICTURE.forbidden if one["name"] not in text] == []


def test_the_rows_stand_in_the_order_of_the_layers() -> None:
    shown = labels(contracts("store", "crypto | errors", pure="errors"))
    [(_, above)], [(left, below)], [(right, beside)] = shown["store/"], shown["crypto/"], shown["errors.py"]
    assert above < below == beside
    assert left < right
    swapped = labels(contracts("crypto | errors", "store", pure="errors"))
    assert swapped["crypto/"][0][1] < swapped["store/"][0][1]


@pytest.mark.parametrize(
    ("forbidden", "badge"),
    [
        ("asyncpg nats", "no network"),
        ("asyncpg nats time", "no network"),
        ("asyncio asyncpg logging nats subprocess time", "no I/O"),
    ],
)
def test_a_box_is_marked_with_what_its_contract_forbids(forbidden: str, badge: str) -> None:
    shown = labels(contracts("store", "crypto", pure="crypto", forbidden=forbidden))
    assert [y for _, y in shown[badge]] == [shown["crypto/"][0][1]]
    assert len({"no I/O", "no network"} & shown.keys()) == 1


def test_a_box_is_not_marked_when_its_contract_allows_a_service() -> None:
    shown = labels(contracts("store", "crypto", pure="crypto", forbidden="asyncpg time"))
    assert {"no I/O", "no network"}.isdisjoint(shown)


def test_only_the_packages_that_decide_are_marked_as_free_of_io() -> None:
    modules = [module for rows in PICTURE.rows.values() for row in rows for module in row]
    marks = {module: PICTURE.badge(module) for module in modules if PICTURE.badge(module)}
    assert marks == {
        "vaultstream.api": "no network",
        "vaultstream.crypto": "no network",
        "vaultstream.proof": "no I/O",
        "vaultstream.scaling": "no I/O",
        "vaultstream.simulation": "no I/O",
        "vaultstream_operator.api": "no I/O",
        "vaultstream_operator.core": "no I/O",
    }


def test_a_module_that_is_not_there_is_refused() -> None:
    with pytest.raises(LookupError, match=r"vaultstream\.missing"):
        contracts("missing", pure="errors").svg()


def test_the_purpose_is_the_first_sentence_without_markup() -> None:
    assert first_sentence("Does one\nthing: `this`. And more.\n\nDetails.") == "Does one thing: this"
