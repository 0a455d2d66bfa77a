"""The packages that decide are pure: they do no I/O and have no clock.

An import contract can only list what is forbidden. This test lists what is allowed.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]
STANDARD = {
    "__future__",
    "collections",
    "contextlib",
    "dataclasses",
    "datetime",
    "decimal",
    "enum",
    "fractions",
    "functools",
    "itertools",
    "math",
    "re",
    "statistics",
    "textwrap",
    "typing",
}
"""Modules of the standard library without effects."""
SCALING = STANDARD | {
    "pydantic",
    "vaultstream.api",
    "vaultstream.plurals",
    "vaultstream.role",
    "vaultstream.scaling",
}
OPERATOR_API = SCALING | {"vaultstream_operator.api", "yaml"}
CORE = SCALING | {
    "hashlib",
    "json",
    "vaultstream.errors",
    "vaultstream_operator.api",
    "vaultstream_operator.core",
}
PROOF = STANDARD | {
    "base64",
    "binascii",
    "cryptography.exceptions",
    "cryptography.hazmat.primitives",
    "hashlib",
    "hmac",
    "json",
    "pydantic",
    "vaultstream.api",
    "vaultstream.errors",
    "vaultstream.proof",
}
SIMULATION = SCALING | {"heapq", "random", "vaultstream.simulation"}
"""Its randomness is seeded: `Random(seed)`."""
ALLOWED = {
    "workers/vaultstream/proof": PROOF,
    "workers/vaultstream/scaling": SCALING,
    "workers/vaultstream/simulation": SIMULATION,
    "operator/vaultstream_operator/api": OPERATOR_API,
    "operator/vaultstream_operator/core": CORE,
}
"""From a package to all that its modules may import, with the modules inside."""

READS_A_FILE = {"load_signing_job", "loader"}
"""Names in `vaultstream.api` that are the exception: they open a file."""
BUILTINS = {"__import__", "breakpoint", "eval", "exec", "input", "open", "print"}
CLOCKS = {"now", "today", "utcnow"}
"""Methods of `datetime` and `date` that read the clock."""


def effects(source: str, allowed: set[str]) -> Iterator[str]:
    """Yields each import that is not allowed, and each use of a clock or of a builtin that does I/O."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from (name.name for name in names if not is_allowed(name.name, allowed))
            case ast.ImportFrom(module=module, names=names, level=level):
                package = "." * level + (module or "")
                if not is_allowed(package, allowed):
                    yield package
                yield from (f"{package}.{name.name}" for name in names if name.name in READS_A_FILE)
            case ast.Name(id=name) if name in BUILTINS:
                yield name
            case ast.Attribute(attr=name) if name in READS_A_FILE:
                yield name
            case (
                ast.Call(func=ast.Attribute(attr=name))
                | ast.Attribute(
                    value=ast.Name(id="date" | "datetime") | ast.Attribute(attr="date" | "datetime"),
                    attr=name,
                )
            ) if name in CLOCKS:
                yield name


def is_allowed(module: str, allowed: set[str]) -> bool:
    """Returns whether a module is on the list, or inside a package on the list."""
    if not READS_A_FILE.isdisjoint(module.split(".")):
        return False
    return any(module == name or module.startswith(f"{name}.") for name in allowed)


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        pytest.param(path, allowed, id=str(path.relative_to(ROOT)))
        for folder, allowed in ALLOWED.items()
        for path in sorted((ROOT / folder).rglob("*.py"))
    ],
)
def test_a_pure_module_imports_only_what_is_allowed(path: Path, allowed: set[str]) -> None:
    assert list(effects(path.read_text(), allowed)) == []


@pytest.mark.parametrize("folder", ALLOWED)
def test_each_pure_package_is_found(folder: str) -> None:
    assert len(list((ROOT / folder).rglob("*.py"))) > 1


EFFECTS = [
    ("import os", "os"),
    ("import re, os.path", "os.path"),
    ("from pathlib import Path", "pathlib"),
    ("import urllib.request", "urllib.request"),
    ("import h11", "h11"),
    ("import threading", "threading"),
    ("import logging", "logging"),
    ("import time", "time"),
    ("import random", "random"),
    ("import importlib", "importlib"),
    ("from vaultstream import settings", "vaultstream"),
    ("import vaultstream.last_words", "vaultstream.last_words"),
    ("from vaultstream.settings import Settings", "vaultstream.settings"),
    ("from vaultstream_operator.settings import OperatorSettings", "vaultstream_operator.settings"),
    ("from vaultstream_operator import adapters", "vaultstream_operator"),
    ("from vaultstream.api import load_signing_job", "vaultstream.api.load_signing_job"),
    ("from vaultstream.api.loader import MAX_BYTES", "vaultstream.api.loader"),
    ("import vaultstream.api.loader", "vaultstream.api.loader"),
    ("api.load_signing_job('job.yaml')", "load_signing_job"),
    ("from . import decide", "."),
    ("def inside(): import os", "os"),
    ("started = datetime.now(UTC)", "now"),
    ("started = dt.utcnow()", "utcnow"),
    ("day = datetime.date.today()", "today"),
    ("clock = datetime.now", "now"),
    ("open('file')", "open"),
    ("print('text')", "print"),
]
"""Lines with an effect, each with what is found in it."""


@pytest.mark.parametrize(
    ("folder", "line", "found"),
    [
        pytest.param(folder, line, found, id=f"{folder}-{line}")
        for folder, allowed in ALLOWED.items()
        for line, found in EFFECTS
        if found not in allowed
    ],
)
def test_an_effect_is_refused(folder: str, line: str, found: str) -> None:
    module = min((ROOT / folder).glob("[a-z]*.py"))
    assert found in effects(f"{module.read_text()}\n{line}\n", ALLOWED[folder])


def test_a_moment_that_is_passed_in_is_no_clock() -> None:
    assert list(effects("age = case.now - report.now.timestamp()", SCALING)) == []


def test_the_scaling_decision_is_stricter_than_the_operators_core() -> None:
    assert list(effects("import json, vaultstream_operator.core.view", SCALING)) == [
        "json",
        "vaultstream_operator.core.view",
    ]
