"""The picture of the architecture, drawn from the import contracts in pyproject.toml: what may import what.

A room is a root package; a row in it is a layer of its layers contract; each box is a package or a module, with the first
sentence of its docstring. A box that must not import any client of a service is marked "no network", and "no I/O" if it may
not start processes or have a clock either.
"""

from __future__ import annotations

import ast
import textwrap
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import Any

WIDTH, MARGIN, GUTTER, GAP = 960, 24, 64, 8
LOW, HIGH = 42, 57
"""Heights of a row of boxes, whose purposes take one line or two."""
LINE_HEIGHT, ROOM_HEAD = 15, 30
CHARACTER_WIDTH = 6.0
"""Of the purposes' 12 px font, on average, in pixels."""
SERVICES = {"asyncpg", "nats"}
"""A box that must import neither of these does no I/O over a network."""
EFFECTS = SERVICES | {"asyncio", "logging", "subprocess", "time"}
"""A box that must import none of these does no I/O at all; tests/unit/test_pure_packages.py checks the rest."""

LEGEND = (
    "A package may import the packages below it, and a row of boxes the rows below it: nothing above. "
    "Boxes that share a row do not import each other."
)
STYLE = (
    "text{font:12px sans-serif;fill:#424a53}.title{font-size:17px;font-weight:bold;fill:#1f2328}"
    ".name{font:bold 13px monospace;fill:#0a3069}.room{font-size:13px;font-weight:bold;fill:#1f2328}"
    ".badge{font-size:10px;font-weight:bold;fill:#1a7f37}"
)
ROOM = {"vaultstream_cli": "#fff8c5", "vaultstream_operator": "#fbefff", "vaultstream": "#ddf4ff"}
PURE = "#dafbe1"


@dataclass(frozen=True)
class Box:
    """A package or a module: its name in its room, what it is for, and the mark of what it must not do."""

    module: str
    label: str
    purpose: str
    badge: str


class Architecture:
    """The contracts, and the docstrings of what they name."""

    def __init__(self, pyproject: str) -> None:
        contracts: list[dict[str, Any]] = tomllib.loads(pyproject)["tool"]["importlinter"]["contracts"]
        layers = [contract for contract in contracts if contract["type"] == "layers"]
        [self.rooms] = [contract["layers"] for contract in layers if "containers" not in contract]
        self.rows = {
            room: [
                [f"{room}.{name.strip()}" for name in layer.split("|")]
                for contract in layers
                if contract.get("containers") == [room]
                for layer in contract["layers"]
            ]
            for room in self.rooms
        }
        self.forbidden = [contract for contract in contracts if contract["type"] == "forbidden"]

    def badge(self, module: str) -> str:
        """Returns the mark of a module: "no I/O", "no network" or none."""
        imports: set[str] = set()
        for contract in self.forbidden:
            if module in contract["source_modules"]:
                imports.update(contract["forbidden_modules"])
        return "no I/O" if imports >= EFFECTS else "no network" if imports >= SERVICES else ""

    def box(self, module: str) -> Box:
        """Returns the box of a module.

        Raises:
            LookupError: there is no such module.
        """
        spec = find_spec(module)
        if spec is None or spec.origin is None:
            raise LookupError(f"{module} of the contracts in pyproject.toml is not there")
        name = module.rpartition(".")[2]
        label = f"{name}/" if spec.submodule_search_locations else f"{name}.py"
        docstring = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))) or ""
        return Box(module, label, first_sentence(docstring), self.badge(module))

    def svg(self) -> str:
        """Returns the picture as a document of its own, with its own background."""
        parts = [
            f'<text class="title" x="{MARGIN}" y="38">What may import what</text>',
            f'<text x="{MARGIN}" y="58">{LEGEND}</text>',
        ]
        y = 74.0
        for room in self.rooms:
            top = y + ROOM_HEAD
            y = self._room(parts, y, room) + GAP
            if self.rows[room]:
                parts.append(_arrow(top + 4, y - 2 * GAP - 4))
        y += 2 * GAP
        for line in self._notes():
            parts.append(f'<text x="{MARGIN}" y="{y:.0f}">{escape(line)}</text>')
            y += LINE_HEIGHT + 3
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y:.0f}" role="img">'
            f"<title>The packages of VaultStream, and which may import which</title><style>{STYLE}</style>"
            f'<rect width="{WIDTH}" height="{y:.0f}" rx="8" fill="#ffffff"/>{"".join(parts)}</svg>\n'
        )

    def _room(self, parts: list[str], y: float, package: str) -> float:
        """Adds a package with its rows of boxes, from `y` down; returns where it ends."""
        inside: list[str] = []
        end = y + ROOM_HEAD
        for row in ([self.box(module) for module in modules] for modules in self.rows[package]):
            height = HIGH if any(len(_lines(box, _width(row))) > 1 for box in row) else LOW
            for number, box in enumerate(row):
                x = MARGIN + GUTTER + number * (_width(row) + GAP)
                inside += _box(box, x, end, _width(row), height)
            end += height + GAP
        parts.append(_rect(MARGIN, y, WIDTH - 2 * MARGIN, end - y, ROOM[package]))
        parts.append(
            f'<text class="room" x="{MARGIN + 12}" y="{y + 20:.0f}">{escape(package)}'
            f'<tspan font-weight="normal" dx="10">{escape(self.box(package).purpose)}</tspan></text>'
        )
        parts += inside
        return end

    def _notes(self) -> Iterator[str]:
        yield "More contracts, checked by make lint like the order above:"
        for contract in self.forbidden:
            yield from textwrap.wrap(
                f"• {contract['name']}.", int((WIDTH - 2 * MARGIN) / CHARACTER_WIDTH), subsequent_indent="   "
            )


def first_sentence(docstring: str) -> str:
    """Returns the first sentence of a docstring without its Markdown, and without its full stop."""
    paragraph = " ".join(docstring.partition("\n\n")[0].split())
    return paragraph.partition(". ")[0].rstrip(".").replace("`", "")


def _width(row: list[Box]) -> float:
    return (WIDTH - 2 * MARGIN - GUTTER - GAP * len(row)) / len(row)


def _lines(box: Box, width: float) -> list[str]:
    return textwrap.wrap(box.purpose, int((width - 20) / CHARACTER_WIDTH), max_lines=2, placeholder=" …")


def _box(box: Box, x: float, y: float, width: float, height: float) -> Iterator[str]:
    yield _rect(x, y, width, height, PURE if box.badge == "no I/O" else "#ffffff")
    yield f'<text class="name" x="{x + 10:.0f}" y="{y + 17:.0f}">{escape(box.label)}</text>'
    if box.badge:
        yield (
            f'<text class="badge" x="{x + width - 10:.0f}" y="{y + 17:.0f}" text-anchor="end">{box.badge}</text>'
        )
    for number, line in enumerate(_lines(box, width)):
        yield f'<text x="{x + 10:.0f}" y="{y + 33 + number * LINE_HEIGHT:.0f}">{escape(line)}</text>'


def _arrow(top: float, bottom: float) -> str:
    x = MARGIN + GUTTER / 2
    middle = (top + bottom) / 2
    return (
        f'<path d="M{x} {top:.0f}V{bottom:.0f}m-6 -9l6 9l6 -9" fill="none" stroke="#57606a" stroke-width="2"/>'
        f'<text x="{x - 10}" y="{middle:.0f}" text-anchor="middle" transform="rotate(-90 {x - 10} {middle:.0f})">'
        "may import</text>"
    )


def _rect(x: float, y: float, width: float, height: float, fill: str) -> str:
    return (
        f'<rect x="{x:.0f}" y="{y:.0f}" width="{width:.0f}" height="{height:.0f}" rx="6" fill="{fill}" '
        'stroke="#8c959f" stroke-opacity=".6"/>'
    )
