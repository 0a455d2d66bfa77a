"""Each public name of a module is defined once across the engine, the operator and the command."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]
PACKAGES = ("workers/vaultstream", "operator/vaultstream_operator", "cli/vaultstream_cli")

CHECKERS = ROOT / "workers/vaultstream/bundle/checkers"
"""Programs that are written into bundles, and that nothing imports."""

REPEATED = {
    "main": "the entry point of a program: the command, a worker and a process of the audit",
    "export": "the names of the commands `export` and `keys export`",
    "migrate": "the command `migrate`, and what it calls",
    "rewrap": "the command `keys rewrap`, and the operation on one key",
}
"""Names that are defined more than once, each with the reason."""


def types_of(module: ast.Module) -> Iterator[str]:
    """Classes, and aliases of types, which are assigned to a name in CamelCase."""
    for node in module.body:
        match node:
            case ast.ClassDef(name=name):
                yield name
            case ast.Assign(targets=[ast.Name(id=name)]) if name[:1].isupper() and not name.isupper():
                yield name


def functions_of(module: ast.Module) -> Iterator[str]:
    """Functions outside classes."""
    for node in module.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name


def constants_of(module: ast.Module) -> Iterator[str]:
    """Names in capitals that are assigned outside classes and functions, also several at once."""
    for node in module.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
        for target in targets:
            yield from (n.id for n in ast.walk(target) if isinstance(n, ast.Name) and n.id.isupper())


@pytest.mark.parametrize(
    ("names_of", "least", "repeated"),
    [(types_of, 200, set()), (functions_of, 200, set(REPEATED)), (constants_of, 100, set())],
    ids=["types", "functions", "constants"],
)
def test_no_public_name_is_defined_twice(
    names_of: Callable[[ast.Module], Iterator[str]], least: int, repeated: set[str]
) -> None:
    places = defaultdict(list)
    for package in PACKAGES:
        for file in sorted(set((ROOT / package).rglob("*.py")) - set(CHECKERS.iterdir())):
            for name in names_of(ast.parse(file.read_text("utf-8"))):
                if not name.startswith("_"):
                    places[name].append(str(file.relative_to(ROOT)))
    assert len(places) > least
    twice = {name: files for name, files in places.items() if len(files) > 1}
    assert {name: files for name, files in twice.items() if name not in repeated} == {}
    assert repeated <= set(twice), "a name that is no longer repeated is still listed"
