"""Each public type has a name of its own across the engine, the operator and the command."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]
PACKAGES = ("workers/vaultstream", "operator/vaultstream_operator", "cli/vaultstream_cli")


def types_of(module: ast.Module) -> Iterator[str]:
    """Classes, and aliases of types, which are assigned to a name in CamelCase."""
    for node in module.body:
        match node:
            case ast.ClassDef(name=name):
                yield name
            case ast.Assign(targets=[ast.Name(id=name)]) if name[:1].isupper() and not name.isupper():
                yield name


def test_no_public_type_is_defined_twice() -> None:
    places = defaultdict(list)
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            for name in types_of(ast.parse(file.read_text("utf-8"))):
                if not name.startswith("_"):
                    places[name].append(str(file.relative_to(ROOT)))
    assert len(places) > 200
    assert {name: files for name, files in places.items() if len(files) > 1} == {}
