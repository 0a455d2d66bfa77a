"""Turns validation errors into sentences: the field as it was written, the value given, and what is allowed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from functools import cache
from typing import Any

from pydantic import ValidationError

from vaultstream.api.base import BROKEN_RULES, FORM
from vaultstream.api.document import Document, Path, Problem
from vaultstream.api.pods import ANY_QUANTITY, INT_OR_STRING
from vaultstream.api.signingjob import NAME_PATTERN, SigningJob

LONGEST_SHOWN = 60
"""Maximum length of a value or name that a message quotes, in characters."""

_SECRET_NAME = re.compile(r"passw|secret|token|credential|private", re.IGNORECASE)
_SECRET_WORD = re.compile(r"passw|secret|token|private key|://", re.IGNORECASE)
_KEY_LIKE = re.compile(
    # a long run of mixed characters: a key or token in base64, or in hexadecimal
    r"(?=[\w+/=-]*[a-z])(?=[\w+/=-]*[A-Z])(?=[\w+/=-]*\d)[\w+/=-]{24,}|[0-9a-f]{32,}|[0-9A-F]{32,}"
)
_PLAIN_NAME = re.compile(r"[A-Za-z_][\w-]*")


def problems_of(error: ValidationError, document: Document) -> Iterator[Problem]:
    """Yields a problem for each of pydantic's errors, in their order."""
    details = error.errors(include_url=False)
    paths = [tuple(detail["loc"]) for detail in details]
    for path, detail in zip(paths, details, strict=True):
        if detail["type"] == BROKEN_RULES:
            for field, sentence in detail["ctx"]["broken"]:
                yield Problem((*path, field), document.line_of((*path, field)), sentence)
        elif detail["type"] == "too_short" and any(
            len(other) > len(path) and other[: len(path)] == path for other in paths
        ):
            continue  # pydantic counts only the valid items; the invalid ones have their own problems
        else:
            sentence = _sentence(path, detail["type"], detail["msg"], detail["input"])
            yield Problem(path, document.line_of(path), sentence)


def shown_path(path: Path) -> str:
    """Returns `path` as text, such as `spec.signer.tolerations[0].key`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif len(step) > LONGEST_SHOWN or _KEY_LIKE.search(step):
            text += f"[a name of {len(step)} characters]"
        elif _PLAIN_NAME.fullmatch(step):
            text += f".{step}" if text else step
        else:
            text += f"[{step!r}]"
    return text


def shown_value(value: Any, path: Path) -> str:
    """Returns `value` as a message may quote it: short, and without anything that may be secret by its form or `path`."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = repr(value)
    if len(text) > LONGEST_SHOWN:
        return f"text of {len(text)} characters"
    named_secret = any(isinstance(step, str) and _SECRET_NAME.search(step) for step in path)
    if named_secret or _SECRET_WORD.search(text) or _KEY_LIKE.search(text):
        return "the value given (not shown: it may be secret)"
    return text


def _sentence(path: Path, kind: str, message: str, value: Any) -> str:
    if kind == "missing":
        return f"is required: {_allowed(path)}"
    if kind == "extra_forbidden":
        return _unknown_field(path)
    if value is None:
        return f"has no value: give {_allowed(path)}, or remove the field"
    if kind == FORM:
        return f"{message}, not {shown_value(value, path)}"
    if kind == "too_long":
        return f"has more than {_most(path)} items: remove some"
    quoted = " (put it in quotes)" if kind == "string_type" else ""
    return f"must be {_allowed(path)}{quoted}, not {shown_value(value, path)}"


def _most(path: Path) -> int:
    schema = _schema_at(path)
    most: int = schema["maxItems"] if "maxItems" in schema else schema["maxProperties"]
    return most


def _allowed(path: Path) -> str:
    """Returns what is allowed at `path`. Taken from the JSON schema, so it always agrees with the validation."""
    schema = _schema_at(path)
    kind = next((word for word in ("const", "enum", INT_OR_STRING) if word in schema), None)
    return _ALLOWED[kind or schema["type"]](schema)


def _allowed_choice(schema: dict[str, Any]) -> str:
    *rest, last = schema["enum"]
    return f"{', '.join(rest)} or {last}"


def _allowed_mapping(schema: dict[str, Any]) -> str:
    fields = schema.get("properties")
    return f"a mapping with the fields {', '.join(fields)}" if fields else "a mapping"


def _allowed_text(schema: dict[str, Any]) -> str:
    if schema.get("format") == "date-time":
        return "a timestamp with a time zone, such as 2026-12-01T06:00:00Z"
    least, most = schema.get("minLength", 0), schema.get("maxLength")
    bounds = f"{least} to {most}" if least else f"at most {most}"
    text = f"text of {bounds} characters" if most else "text"
    if schema.get("pattern") == NAME_PATTERN:
        text += ": lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit"
    return text


def _bounds(schema: dict[str, Any]) -> str:
    least, above, most = (schema.get(name) for name in ("minimum", "exclusiveMinimum", "maximum"))
    if most is None:
        return f"of {least:g} or more" if above is None else f"above {above:g}"
    return f"from {least:g} to {most:.15g}" if above is None else f"above {above:g} and at most {most:.15g}"


_ALLOWED: dict[str, Callable[[dict[str, Any]], str]] = {
    "array": lambda schema: "a list with at least one item" if schema.get("minItems") else "a list",
    "boolean": lambda _: "true or false",
    "const": lambda schema: str(schema["const"]),
    "enum": _allowed_choice,
    "integer": lambda schema: f"a whole number {_bounds(schema)}",
    "number": lambda schema: f"a number {_bounds(schema)}",
    "object": _allowed_mapping,
    "string": _allowed_text,
    INT_OR_STRING: lambda _: ANY_QUANTITY,
}


def _unknown_field(path: Path) -> str:
    *parent, name = path
    known = list(_schema_at(tuple(parent)).get("properties", {}))
    folded = {_folded(field): field for field in known}
    if _folded(str(name)) in folded:
        return f"is not a field; did you mean {folded[_folded(str(name))]}?"
    if len(elsewhere := [place for place in _places() if place[-1] == name]) == 1:
        return f"is not a field; did you mean {shown_path(elsewhere[0])}?"
    if near := get_close_matches(_folded(str(name)), folded, n=1):
        return f"is not a field; did you mean {folded[near[0]]}?"
    return f"is not a field; {shown_path(tuple(parent)) or 'a SigningJob'} has {', '.join(known)}"


def _folded(name: str) -> str:
    return re.sub(r"[\W_]", "", name).lower()


@cache
def _root() -> dict[str, Any]:
    return SigningJob.model_json_schema()


def _resolved(schema: dict[str, Any]) -> dict[str, Any]:
    if "anyOf" in schema and INT_OR_STRING not in schema:  # optional: the other choice is null
        schema = next(choice for choice in schema["anyOf"] if choice.get("type") != "null")
    if "$ref" in schema:
        resolved: dict[str, Any] = _root()["$defs"][schema["$ref"].rpartition("/")[2]]
        return resolved
    return schema


def _schema_at(path: Path) -> dict[str, Any]:
    schema = _root()
    for step in path:
        if isinstance(step, int):
            schema = _resolved(schema["items"])
        else:
            schema = _resolved(schema.get("properties", {}).get(step) or schema["additionalProperties"])
    return schema


@cache
def _places() -> tuple[Path, ...]:
    """Returns the path of every field outside a list."""
    places: list[Path] = []
    open_paths: list[Path] = [()]
    while open_paths:
        path = open_paths.pop()
        inner = [(*path, name) for name in _schema_at(path).get("properties", {})]
        places += inner
        open_paths += inner
    return tuple(places)
