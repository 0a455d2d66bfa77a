"""Markdown for the generated pages: tables, cells, prose, values, anchors."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Sequence


def table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Returns the lines of a table."""
    lines = [heads, tuple("---" for _ in heads), *rows]
    return ["|" + "|".join(f" {cell} " if cell else " " for cell in line) + "|" for line in lines]


def cell(text: str) -> str:
    """Returns `text` for a table cell. Inside code, where italics do not work, placeholders are in capitals."""
    text = re.sub(r"`[^`]*`", lambda code: re.sub(r"\*(\w+)\*", lambda name: name[1].upper(), code[0]), text)
    return text.replace("|", "\\|").replace("\n", "<br>")


def prose(text: str) -> str:
    """Returns `text` as a paragraph with lines of at most 125 characters."""
    return textwrap.fill(text, 125, break_long_words=False, break_on_hyphens=False) + "\n"


def flow(value: object) -> str:
    """Returns a value as YAML on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {flow(part)}" for name, part in value.items()) + "}"
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value)


def anchor(heading: str) -> str:
    """Returns the anchor for links to a heading."""
    return "".join(letter for letter in heading.lower() if letter.isalnum() or letter in "-_")
