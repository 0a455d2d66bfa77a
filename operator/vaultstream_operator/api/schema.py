"""Converts pydantic's JSON schema to the structural schema that an API server accepts.

A structural schema has no references, titles, constants or nulls, and writes bounds as OpenAPI v3.0 does. An API server drops
unknown fields, and treats null as an omitted field: what may be None is simply not required.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from pydantic import BaseModel

from vaultstream.api.base import VALIDATIONS
from vaultstream.api.pods import INT_OR_STRING

Schema = dict[str, Any]

_KEPT: Final = (
    "description",
    "type",
    "format",
    "enum",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "pattern",
    "minItems",
    "maxItems",
    "maxProperties",
    "required",
    INT_OR_STRING,
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
)
_HANDLED: Final = {
    "$defs",
    "additionalProperties",
    "anyOf",
    "const",
    "default",
    "exclusiveMinimum",
    "items",
    "properties",
    "title",
    VALIDATIONS,
}
_RULE: Final = ("rule", "message", "fieldPath")
_EMPTY: Final[tuple[Any, ...]] = (None, [], {})


def structural_schema(model: type[BaseModel], *, defaults: bool = True) -> Schema:
    """Returns the structural schema of `model`.

    Args:
        model: a type whose fields all have descriptions.
        defaults: whether the API server fills in default values.

    Raises:
        ValueError: the model uses a feature that a structural schema does not have.
    """
    whole = model.model_json_schema(by_alias=True)
    return _Converter(whole.get("$defs", {}), defaults=defaults).convert(whole)


def leaves(schema: Schema, path: str) -> Iterator[tuple[str, Schema]]:
    """Yields path and schema of every value at or under `path` that has no fields of its own."""
    if "properties" in schema:
        for name, inner in schema["properties"].items():
            yield from leaves(inner, f"{path}.{name}")
    else:
        yield path, schema


class _Converter:
    def __init__(self, definitions: dict[str, Schema], *, defaults: bool) -> None:
        self._definitions = definitions
        self._defaults = defaults

    def convert(self, node: Schema) -> Schema:
        node = self._resolved(node)
        if unknown := node.keys() - {*_KEPT, *_HANDLED}:
            raise ValueError(f"A structural schema has no {', '.join(sorted(unknown))}.")
        schema: Schema = {word: node[word] for word in _KEPT if word in node}
        if "description" in schema:
            schema["description"] = _flowing(schema["description"])
        schema |= _restated(node)
        if VALIDATIONS in node:
            # Otherwise an API server checks the format first and refuses with its own message.
            schema.pop("format", None)
        # Nested defaults are written out: an API server validates a default before it fills in the nested ones.
        if self._defaults and (default := _given(node.get("default"))) not in _EMPTY:
            schema["default"] = default
        if "items" in node:
            schema["items"] = self.convert(node["items"])
        if "properties" in node:
            schema["properties"] = {name: self.convert(inner) for name, inner in node["properties"].items()}
        elif isinstance(others := node.get("additionalProperties"), dict):
            schema |= self._others(others)
        return schema

    def _resolved(self, node: Schema) -> Schema:
        """Returns `node` merged with the definition it refers to; its own keywords win."""
        if "anyOf" in node and INT_OR_STRING not in node:
            choices = [choice for choice in node["anyOf"] if choice.get("type") != "null"]
            if len(choices) != 1:
                raise ValueError("A structural schema can't leave the choice between types.")
            rest = {word: value for word, value in node.items() if word != "anyOf"}
            return self._resolved({**choices[0], **rest})
        if "$ref" in node:
            definition = self._definitions[node["$ref"].rpartition("/")[2]]
            rest = {word: value for word, value in node.items() if word != "$ref"}
            return self._resolved({**definition, **rest})
        return node

    def _others(self, node: Schema) -> Schema:
        if self._resolved(node):
            return {"additionalProperties": self.convert(node)}
        return {"x-kubernetes-preserve-unknown-fields": True}  # any JSON: Kubernetes defines it elsewhere


def _restated(node: Schema) -> Schema:
    """Returns the keywords of `node` that an API server expects in another form."""
    schema: Schema = {}
    if INT_OR_STRING in node:
        schema["anyOf"] = node["anyOf"]
    if "const" in node:
        schema["enum"] = [node["const"]]
    if "exclusiveMinimum" in node:  # as JSON Schema's draft 4 has it
        schema |= {"minimum": node["exclusiveMinimum"], "exclusiveMinimum": True}
    if VALIDATIONS in node:
        schema[VALIDATIONS] = [
            {word: rule[word] for word in _RULE if word in rule} for rule in node[VALIDATIONS]
        ]
    return schema


def _given(default: Any) -> Any:
    """Returns `default` without empty values."""
    if not isinstance(default, dict):
        return default
    return {name: _given(value) for name, value in default.items() if value not in _EMPTY}


def _flowing(text: str) -> str:
    """Returns `text` with line breaks only between paragraphs: every tool wraps lines itself."""
    return "\n".join(re.sub(r"\s+", " ", paragraph).strip() for paragraph in text.split("\n\n"))
