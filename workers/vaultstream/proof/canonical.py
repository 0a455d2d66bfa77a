"""Canonical JSON: the one text of what is hashed and signed, in the form of RFC 8785.

Members are sorted by name, there are no spaces, and everything is UTF-8. The form is kept simple enough that most JSON
libraries write it: names are ASCII, and values are text, integers below 2^53, arrays and objects.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

from vaultstream.errors import ProofError

MAX_INTEGER = 2**53 - 1
"""The largest integer that JSON numbers keep exactly everywhere."""


def canonical_text(value: Any) -> str:
    """Returns the canonical text of a value.

    Raises:
        ProofError: it has none, or one that is not simple.
    """
    try:
        _require_simple(value)
        text = json.dumps(
            value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), check_circular=False
        )
        text.encode()
    except RecursionError:
        raise ProofError("The value is nested too deeply for canonical JSON.") from None
    except UnicodeEncodeError:
        raise ProofError("Half of a surrogate pair can't be in canonical JSON.") from None
    return text


def parse_canonical(data: bytes) -> dict[str, Any]:
    """Returns the object that a canonical text describes.

    Raises:
        ProofError: it is not the canonical text of an object.
    """
    try:
        text = data.decode()
        value = json.loads(text, parse_float=_refuse, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise ProofError("The text is no canonical JSON.") from None
    if not isinstance(value, dict) or canonical_text(value) != text:
        raise ProofError("The text is not the canonical JSON of an object.")
    return value


def _require_simple(value: Any) -> None:
    match value:
        case bool() | float() | None:
            raise ProofError(f"{value!r} can't be in canonical JSON here: only text and integers can.")
        case str():
            return
        case int():
            if abs(value) > MAX_INTEGER:
                raise ProofError("An integer beyond 2^53 can't be in canonical JSON.")
        case list() | tuple():
            for each in value:
                _require_simple(each)
        case dict():
            if not all(isinstance(name, str) and name.isascii() for name in value):
                raise ProofError("The names of members in canonical JSON here are ASCII.")
            for each in value.values():
                _require_simple(each)
        case _:
            raise ProofError(f"A {type(value).__name__} can't be in canonical JSON.")


def _refuse(_text: str) -> NoReturn:
    raise ValueError
