"""The table of a chart's values in its README, made from values.yaml and its comments.

A comment that begins with `# --` describes the value under it; it may go on over more lines. A value is described itself
or as a part of one that is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from vaultstream.errors import VaultStreamError

BEGIN, END = "<!-- values: made by hack/chart.py -->", "<!-- end of values -->"

_KEY = re.compile(r"(?P<indent> *)(?P<key>[A-Za-z_][\w-]*):(?: |$)")
_COMMENT = re.compile(r" *# ?(?P<text>.*)")
_MARK = "-- "


@dataclass(frozen=True)
class Value:
    """One described value: its path from the top, its default, and what it is for."""

    path: tuple[str, ...]
    default: Any
    text: str


def described(values: str) -> list[Value]:
    """Reads the text of values.yaml.

    Raises:
        VaultStreamError: a value has no description; names it.
    """
    defaults = yaml.safe_load(values)
    texts = dict(_texts(values.splitlines()))
    bare = [
        ".".join(path)
        for path in _leaves(defaults)
        if not any(path[:n] in texts for n in range(1, len(path) + 1))
    ]
    if bare:
        raise VaultStreamError(
            f"Without a description in values.yaml: {', '.join(bare)}.",
            hint="Put a comment over it: # -- what it is for",
        )
    return [Value(path, _at(defaults, path), text) for path, text in texts.items()]


def table(values: list[Value]) -> str:
    """Returns the values in Markdown, a table for each of the keys at the top."""
    sections: dict[str, list[Value]] = {}
    for value in values:
        top = value.path[0] if len(value.path) > 1 else ""
        sections.setdefault(top, []).append(value)
    return "\n\n".join(
        _section(top, own) for top, own in sorted(sections.items(), key=lambda item: item[0] != "")
    )


def with_values(readme: str, values: str) -> str:
    """Returns the README with the table that belongs to `values` between its two marks.

    Raises:
        VaultStreamError: a mark is missing, or a value has no description.
    """
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise VaultStreamError(
            "The README lacks the marks between which its values stand.", hint=f"{BEGIN} and {END}"
        )
    return f"{before}{BEGIN}\n\n{table(described(values))}\n\n{END}{after}"


def _texts(lines: list[str]) -> Iterator[tuple[tuple[str, ...], str]]:
    path: list[tuple[int, str]] = []
    comment: list[str] = []
    for line in lines:
        if said := _COMMENT.fullmatch(line):
            text = said["text"]
            if text.startswith(_MARK):
                comment = [text.removeprefix(_MARK)]
            elif comment:
                comment.append(text)
            continue
        if key := _KEY.match(line):
            indent = len(key["indent"])
            path = [(depth, name) for depth, name in path if depth < indent] + [(indent, key["key"])]
            if comment:
                yield tuple(name for _, name in path), " ".join(comment)
        comment = []


def _leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _leaves(inner, (*path, key))
    else:
        yield path


def _at(value: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def _section(top: str, values: list[Value]) -> str:
    head = [f"### {top}", ""] if top else []
    rows = (
        f"| `{'.'.join(value.path)}` | {value.text} | `{json.dumps(value.default, ensure_ascii=False)}` |".replace(
            "\n", " "
        )
        for value in values
    )
    return "\n".join([*head, "| Value | What it is for | Default |", "| --- | --- | --- |", *rows])
