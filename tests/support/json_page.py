"""docs/json-output.md as a schema: what a command prints is compared with it."""

from __future__ import annotations

import re
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "json-output.md"
_ROW = re.compile(r"\| `(?P<path>[^`]+)` \| (?P<type>[^|]+) \| (?P<meaning>.*) \|")
_KINDS = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "time": str,
    "object": dict,
    "list": list,
}


@cache
def sections() -> dict[str, dict[str, tuple[str, str]]]:
    """Returns the fields of each section: by path, the type and the meaning."""
    found: dict[str, dict[str, tuple[str, str]]] = {}
    for part in PAGE.read_text("utf-8").split("\n## ")[1:]:
        name, _, text = part.partition("\n")
        rows = {row["path"]: (row["type"], row["meaning"]) for row in _ROW.finditer(text)}
        if of := re.search(r"All fields of `([^`]+)`, and:", text):
            rows = {**found[of[1]], **rows}
        found[name] = rows
    return found


def assert_documented(section: str, value: Any) -> None:
    """Checks that an object, or each of a list of them, has the fields of a section and no others."""
    for each in value if isinstance(value, list) else [value]:
        _check(section, sections()[section], "", each)


def _check(section: str, rows: dict[str, tuple[str, str]], prefix: str, value: dict[str, Any]) -> None:
    wanted = {
        path.removeprefix(prefix): row
        for path, row in rows.items()
        if path.startswith(prefix) and "." not in path.removeprefix(prefix)
    }
    needed = {name for name, (_, meaning) in wanted.items() if not meaning.startswith("Only")}
    assert value.keys() <= wanted.keys(), f"{section}: {prefix}{value.keys() - wanted.keys()} not documented"
    assert needed <= value.keys(), f"{section}: {prefix}{needed - value.keys()} documented, and not there"
    for name, found in value.items():
        kind, place = wanted[name][0], f"{section}: {prefix}{name}"
        assert _fits(kind, found), f"{place} is {found!r}, documented as {kind}"
        if of := re.search(r"fields of `([^`]+)`", kind):
            assert_documented(of[1], found)
        elif isinstance(found, dict) and kind.startswith("object") and " of " not in kind:
            _check(section, rows, f"{prefix}{name}.", found)
        elif kind == "list of objects":
            for each in found:
                _check(section, rows, f"{prefix}{name}[].", each)


def _fits(kind: str, value: Any) -> bool:
    if value is None:
        return kind.endswith(" or null")
    kind = kind.removesuffix(" or null")
    if "fields of" in kind:
        return isinstance(value, list if kind.startswith("list") else dict)
    if kind == "time":
        return isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None
    if kind == "list of strings":
        return isinstance(value, list) and all(isinstance(each, str) for each in value)
    expected = _KINDS[kind.split()[0]]
    return isinstance(value, expected) and (kind == "boolean" or not isinstance(value, bool))  # type: ignore[arg-type]
