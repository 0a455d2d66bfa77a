"""The Kubernetes node is a tool of its own: it and the other scripts of hack/ don't reach into each other."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

HACK = Path(__file__).parents[3] / "hack"
README = (HACK / "kube/README.md").read_text()
OF_THE_ENGINE = {
    "vaultstream.errors",
    "vaultstream.foreign_json",
    "vaultstream.local.files",
    "vaultstream.local.processes",
    "vaultstream.simulation.chart",
    "vaultstream.simulation.run",
}
FOR_OTHERS = {"kube.binaries", "kube.commands"}


def imports(path: Path) -> set[str]:
    """Returns the modules that a file imports, and the names that may be modules."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{name.name}" for name in node.names}
            found |= inner if node.module in {"kube", "vaultstream", "vaultstream.local"} else {node.module}
    return found


def test_the_node_imports_nothing_of_the_other_scripts() -> None:
    scripts = {path.stem for path in HACK.glob("*.py")}
    used = {name for path in (HACK / "kube").glob("*.py") for name in imports(path)}
    assert {name for name in used if name.split(".")[0] in scripts} == set()
    assert {name for name in used if name.startswith("vaultstream")} == OF_THE_ENGINE


def test_the_other_scripts_use_the_node_only_to_build_and_run_its_tools() -> None:
    used = {
        path.name: {name for name in imports(path) if name.split(".")[0] == "kube"}
        for path in HACK.glob("*.py")
    }
    assert {name: names for name, names in used.items() if names} == {
        "chart.py": FOR_OTHERS,
        "kustomize_base.py": FOR_OTHERS,
    }


def test_the_readme_names_every_module_and_what_crosses_the_boundary() -> None:
    parts = {path.stem for path in (HACK / "kube").glob("*.py")} - {"__init__", "__main__"}
    assert {part for part in parts | OF_THE_ENGINE | FOR_OTHERS if f"`{part}`" not in README} == set()
