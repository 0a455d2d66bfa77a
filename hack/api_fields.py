"""Renders the fields of a schema as tables: a section per object, with types, defaults and bounds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from markdown import anchor, cell, flow, table
from vaultstream.api.base import INT32_MAX, VALIDATIONS
from vaultstream.api.pods import INT_OR_STRING

Schema = Mapping[str, Any]


class Sections:
    """A section with a table for each object of a schema. An object that occurs twice gets one section."""

    def __init__(self, *, defaults: bool) -> None:
        self._defaults = defaults
        self._sections: dict[str, str] = {}
        self._done: set[str] = set()

    def of(self, path: str, schema: Schema) -> Iterator[str]:
        self._done.add(path)
        yield f"### {path}\n"
        yield f"{schema['description']}\n"
        yield from self._fields(path, schema)
        yield ""
        for name, field in schema["properties"].items():
            inner, target = self._inner(f"{path}.{name}", field)
            if inner is not None and target not in self._done:
                yield from self.of(target, inner)

    def _fields(self, path: str, schema: Schema) -> list[str]:
        rows = []
        for name, field in schema["properties"].items():
            kind = self._type(f"{path}.{name}", field)
            if is_immutable(field):
                kind += "; immutable"
            row = [f"`{name}`", kind, cell(field["description"].removesuffix(" Immutable."))]
            if self._defaults:
                row.insert(2, self._default(name, field, schema))
            rows.append(tuple(row))
        heads = (
            ("Field", "Type", "Default", "Description")
            if self._defaults
            else ("Field", "Type", "Description")
        )
        return table(heads, rows)

    def _inner(self, path: str, field: Schema) -> tuple[Schema | None, str]:
        """Returns the object under a field, if its fields are known, and the section that describes it."""
        if "properties" in field:
            return field, self._sections.setdefault(_fingerprint(field), path)
        if "properties" in (items := field.get("items", {})):
            return items, self._sections.setdefault(_fingerprint(items), f"{path}[]")
        return None, ""

    def _type(self, path: str, field: Schema) -> str:
        inner, target = self._inner(path, field)
        if inner is not None:
            word = "list of objects" if "items" in field else "object"
            return f"[{word}](#{anchor(target)})"
        if field.get("type") == "array":
            return "list of objects" if field["items"]["type"] == "object" else "list of text"
        return _kind(field)

    def _default(self, name: str, field: Schema, parent: Schema) -> str:
        if name in parent.get("required", ()):
            return "**required**"
        if "properties" in field and "default" in field:
            return "defaults of its fields"
        if "default" not in field:
            return "none"
        value = field["default"]
        if isinstance(value, list):
            return "<br>".join(f"`{flow(item)}`" for item in value)
        return f"`{flow(value)}`"


def _kind(field: Schema) -> str:
    """Returns a field's type with its bounds, as text."""
    kind = str(field.get("type", "object"))
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if kind == "object":
        return _map(field) if "additionalProperties" in field else "object"
    if kind == "string":
        return _text(field)
    least, most = field.get("minimum"), field.get("maximum")
    if least is None:
        return kind
    if field.get("exclusiveMinimum"):
        return f"{kind}, above {least:g}, at most {most:g}"
    return f"{kind}, {least:g} or more" if most in (INT32_MAX, None) else f"{kind}, {least} to {most}"


def _map(field: Schema) -> str:
    values = "quantities" if INT_OR_STRING in field["additionalProperties"] else "text"
    return f"map of {values}, at most {field['maxProperties']}"


def _text(field: Schema) -> str:
    if field.get("format") == "date-time":
        return "timestamp"
    if any("timestamp" in rule["message"] for rule in field.get(VALIDATIONS, ())):
        return "timestamp with a time zone"
    least, most = field.get("minLength"), field.get("maxLength")
    if most is None:
        return "text"
    return f"text, {least} to {most} characters" if least else f"text, at most {most} characters"


def is_immutable(field: Schema) -> bool:
    inner = field.get("properties")
    if inner:
        return all(is_immutable(part) for part in inner.values())
    return any(rule["rule"] == "self == oldSelf" for rule in field.get(VALIDATIONS, ()))


def _fingerprint(schema: Schema) -> str:
    return json.dumps(schema["properties"], sort_keys=True)
