"""A wrong import breaks the contract that forbids it: each contract of pyproject.toml is broken on purpose, in a copy."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]
PYPROJECT = ROOT / "pyproject.toml"
CONTRACTS: list[dict[str, Any]] = tomllib.loads(PYPROJECT.read_text())["tool"]["importlinter"]["contracts"]
FORBIDDEN = [contract for contract in CONTRACTS if contract["type"] == "forbidden"]
LAYERS = [contract for contract in CONTRACTS if contract["type"] == "layers"]
FOLDERS = ("workers", "operator", "cli")


def rows(contract: dict[str, Any]) -> list[list[str]]:
    """Returns the full names of the modules in each layer, from the top down."""
    [container] = contract.get("containers", [""])
    return [
        [f"{container}.{module.strip()}".lstrip(".") for module in layer.split("|")]
        for layer in contract["layers"]
    ]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The packages and their contracts, to be changed."""
    shutil.copy(PYPROJECT, tmp_path)
    for folder in FOLDERS:
        shutil.copytree(
            ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__", "*.sql")
        )
    return tmp_path


def add_import(copy: Path, module: str, *imported: str) -> None:
    """Adds imports to a module, to a root package's own module, or to a new module of a package inside."""
    [place] = [
        path
        for folder in FOLDERS
        for path in (
            copy / folder / Path(*module.split(".")),
            copy / folder / Path(*module.split(".")).with_suffix(".py"),
        )
        if path.exists()
    ]
    if place.is_dir():
        place /= "added.py" if "." in module else "__init__.py"
    with place.open("a") as file:
        file.writelines(f"import {name}\n" for name in imported)


def lint(copy: Path) -> tuple[set[str], set[tuple[str, str]]]:
    """Returns the names of the broken contracts, and the pairs of modules of which one must not import the other."""
    ran = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--no-logo"],
        cwd=copy,
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join(str(copy / folder) for folder in FOLDERS)}
        | {"COLUMNS": "1000", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Contracts: " in ran.stdout, ran.stdout + ran.stderr
    broken = set(re.findall(r"^(.*) BROKEN", ran.stdout, flags=re.MULTILINE))
    assert (ran.returncode != 0) == bool(broken)
    return broken, set(
        re.findall(r"^(\S+) is not allowed to import (\S+?):?$", ran.stdout, flags=re.MULTILINE)
    )


def test_every_contract_is_of_a_kind_that_is_broken_below() -> None:
    assert len(CONTRACTS) == len(FORBIDDEN) + len(LAYERS)


def test_the_copy_keeps_every_contract(copy: Path) -> None:
    assert lint(copy) == (set(), set())


@pytest.mark.parametrize(
    ("module", "imported", "contract"),
    [
        ("vaultstream", "vaultstream_operator", "The command is on top"),
        ("vaultstream", "vaultstream_cli", "The command is on top"),
        ("vaultstream.__main__", "vaultstream_operator", "The command is on top"),
        ("vaultstream.__main__", "vaultstream_cli", "The command is on top"),
        ("vaultstream.store", "vaultstream_operator", "The command is on top"),
        ("vaultstream.local", "vaultstream_cli", "The command is on top"),
        ("vaultstream_operator", "vaultstream_cli", "The command is on top"),
        ("vaultstream_operator.core", "vaultstream_cli", "The command is on top"),
        ("vaultstream.signing", "vaultstream.audit", "Each layer of the engine"),
        ("vaultstream.audit.checks", "vaultstream.audit.seals", "Each room of the audit"),
        ("vaultstream.audit.exports", "vaultstream.audit.verify", "Each room of the audit"),
        ("vaultstream_operator.core", "vaultstream_operator.adapters", "Each layer of the operator"),
        ("vaultstream_operator.core", "vaultstream_operator.ports", "Each layer of the operator"),
        ("vaultstream_operator.reconciler", "vaultstream_operator.adapters", "Each layer of the operator"),
        ("vaultstream_operator.adapters", "vaultstream_operator.runtime", "Each layer of the operator"),
        ("vaultstream.api", "nats", "Types and cryptography"),
        ("vaultstream.crypto", "asyncpg", "Types and cryptography"),
        ("vaultstream.scaling", "threading", "The scaling decision is pure"),
        ("vaultstream.scaling", "vaultstream.last_words", "The scaling decision is pure"),
        ("vaultstream.simulation", "socket", "The simulation is pure"),
        ("vaultstream.proof", "socket", "Proofs are pure"),
        ("vaultstream.proof", "vaultstream.logs", "Proofs are pure"),
        ("vaultstream_operator.core", "time", "The operator's core is pure"),
        ("vaultstream_operator.core", "vaultstream.settings", "The operator's core is pure"),
        ("vaultstream_operator.core", "kopf", "Only the operator's handlers"),
        ("vaultstream_operator.runtime", "kopf", "Only the operator's handlers"),
        ("vaultstream_operator", "vaultstream.local", "The operator starts no process"),
        ("vaultstream_operator.adapters", "vaultstream.roles", "The operator starts no process"),
    ],
)
def test_a_wrong_import_breaks_exactly_the_contract_that_forbids_it(
    copy: Path, module: str, imported: str, contract: str
) -> None:
    add_import(copy, module, imported)
    [broken], _ = lint(copy)
    assert broken.startswith(contract)


@pytest.mark.parametrize("contract", FORBIDDEN, ids=lambda contract: contract["name"])
def test_each_import_that_a_contract_forbids_breaks_it(copy: Path, contract: dict[str, Any]) -> None:
    for module in contract["source_modules"]:
        add_import(copy, module, *contract["forbidden_modules"])
    broken, pairs = lint(copy)
    assert contract["name"] in broken
    assert {
        (module, imported)
        for module in contract["source_modules"]
        for imported in contract["forbidden_modules"]
    } <= pairs


@pytest.mark.parametrize("contract", LAYERS, ids=lambda contract: contract["name"])
def test_each_layer_must_not_import_the_one_above_it(copy: Path, contract: dict[str, Any]) -> None:
    expected = {
        (lower, upper) for above, below in pairwise(rows(contract)) for lower in below for upper in above
    }
    for lower, upper in expected:
        add_import(copy, lower, upper)
    broken, pairs = lint(copy)
    assert contract["name"] in broken
    assert expected <= pairs


@pytest.mark.parametrize("contract", LAYERS[1:], ids=lambda contract: contract["name"])
def test_packages_of_one_layer_must_not_import_each_other(copy: Path, contract: dict[str, Any]) -> None:
    expected = {(row[0], other) for row in rows(contract) for other in row[1:]}
    assert expected
    for module, other in expected:
        add_import(copy, module, other)
    broken, pairs = lint(copy)
    assert broken == {contract["name"]}
    assert expected <= pairs


@pytest.mark.parametrize(
    ("folder", "package"), [("workers", "vaultstream"), ("operator", "vaultstream_operator")]
)
def test_a_new_module_must_get_a_layer(copy: Path, folder: str, package: str) -> None:
    (copy / folder / package / "added.py").touch()
    [contract] = [contract for contract in LAYERS if contract.get("containers") == [package]]
    assert lint(copy) == ({contract["name"]}, set())
