"""Generates the table of values in a chart's README from values.yaml and its comments.

A comment that begins with `# --` describes the value below it and may span several lines. Every value must be described,
either itself or through one of its parents.
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
    """A described value: its path, its default and its description."""

    path: tuple[str, ...]
    default: Any
    text: str


def described(values: str) -> list[Value]:
    """Reads the text of values.yaml.

    Raises:
        VaultStreamError: a value has no description; the message names it.
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
            f"Values without a description in values.yaml: {', '.join(bare)}.",
            hint="Add a comment above each: # -- description",
        )
    return [Value(path, _at(defaults, path), text) for path, text in texts.items()]


def table(values: list[Value]) -> str:
    """Returns the values as Markdown, with one table per top-level key."""
    sections: dict[str, list[Value]] = {}
    for value in values:
        top = value.path[0] if len(value.path) > 1 else ""
        sections.setdefault(top, []).append(value)
    return "\n\n".join(
        _section(top, own) for top, own in sorted(sections.items(), key=lambda item: item[0] != "")
    )


def with_values(readme: str, values: str) -> str:
    """Returns the README with the tables of `values` between its two markers.

    Raises:
        VaultStreamError: a marker is missing, or a value has no description.
    """
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise VaultStreamError(
            "The README lacks the markers around the table of values.",
            hint=f"Add the lines {BEGIN} and {END}",
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
