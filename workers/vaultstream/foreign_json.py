"""Reads JSON that somebody else has written. However it is nested, it is read or refused, and never ends a program.

`json.loads` raises RecursionError for a text of some thousand brackets, which whoever catches ValueError does not expect. In a list
or a stream of objects, one such object would make all others unreadable.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

from pydantic_core import from_json

MOST_LEVELS: Final = 100
"""What is nested deeper is read as `TOO_DEEP`, where a text has more levels than the parser takes (200)."""
TOO_DEEP: Final = "(nested too deeply)"

# Possessive: no text makes it go back.
_TOKEN: Final = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[{]|[\]}]', re.DOTALL)


def read_foreign_json(data: bytes | str) -> Any:
    """Returns the value that a JSON text has, without what is nested too deeply.

    Raises:
        ValueError: it is not JSON, or not UTF-8.
    """
    try:
        return from_json(data)
    except (ValueError, TypeError):  # TypeError: a lone surrogate
        text = data if isinstance(data, str) else data.decode()
    try:
        return json.loads(_shallow(text))
    except RecursionError:
        raise ValueError("The text is nested too deeply.") from None


def is_deeper(value: Any, most: int) -> bool:
    """Returns whether a value has lists and objects within each other on more than `most` levels."""
    level = [value]
    for _ in range(most + 1):
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            return False
    return True


def _shallow(text: str) -> str:
    kept: list[str] = []
    depth = since = 0
    for token in _TOKEN.finditer(text):
        first = text[token.start()]
        if first in "[{":
            depth += 1
            if depth == MOST_LEVELS + 1:
                kept.append(text[since : token.start()])
        elif first in "]}":
            if depth == MOST_LEVELS + 1:
                kept.append(f'"{TOO_DEEP}"')
                since = token.end()
            depth -= 1
    if depth > MOST_LEVELS:
        raise ValueError("The text ends within its brackets.")
    kept.append(text[since:])
    return "".join(kept)
