"""Line plots as SVG: a few series over evenly spaced values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, TOP, BOTTOM = 80, 24, 64, 56
COLOURS = ("#388bfd", "#8b949e", "#f0524f", "#2da44e")
STYLE = (
    "text{font:13px sans-serif;fill:#57606a}.title{font-size:15px;font-weight:bold}.grid{stroke:#8b949e;stroke-opacity:.3}"
    "@media(prefers-color-scheme:dark){text{fill:#c9d1d9}}"
)


@dataclass(frozen=True)
class Series:
    """A line: one value per label of the plot; None: none is known."""

    name: str
    values: Sequence[float | None]
    ranges: Sequence[tuple[float, float]] = ()
    """The lowest and the highest of what each value stands for."""
    dashed: bool = False


@dataclass(frozen=True)
class Plot:
    """Lines over evenly spaced labels, with a y axis that starts at zero."""

    title: str
    x_title: str
    labels: list[str]
    series: list[Series]

    def svg(self) -> str:
        """Returns the plot as a complete SVG document, readable on light and dark backgrounds."""
        highest = [value for line in self.series for value in line.values if value is not None]
        highest += [high for line in self.series for _, high in line.ranges]
        top = nice_ceiling(max(highest))
        parts = [f'<text class="title" x="{LEFT}" y="24">{escape(self.title)}</text>']
        parts += [self._grid(top, step) for step in range(5)]
        parts += [
            f'<text x="{self._x(place):.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{escape(label)}</text>'
            for place, label in enumerate(self.labels)
        ]
        parts.append(
            f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 12}" text-anchor="middle">{escape(self.x_title)}</text>'
        )
        parts += [self._line(number, line, top) for number, line in enumerate(self.series)]
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">'
            f"<title>{escape(self.title)}</title><style>{STYLE}</style>{''.join(parts)}</svg>\n"
        )

    def _x(self, place: int) -> float:
        return LEFT + (place + 0.5) * (WIDTH - LEFT - RIGHT) / len(self.labels)

    @staticmethod
    def _y(value: float, top: float) -> float:
        return HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM)

    def _grid(self, top: float, step: int) -> str:
        value = top * step / 4
        y = self._y(value, top)
        return (
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:,.0f}</text>'
        )

    def _line(self, number: int, line: Series, top: float) -> str:
        colour = COLOURS[number % len(COLOURS)]
        places = [
            (self._x(place), self._y(value, top))
            for place, value in enumerate(line.values)
            if value is not None
        ]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in places)
        bars = "".join(
            f'<line x1="{self._x(place):.1f}" x2="{self._x(place):.1f}" y1="{self._y(low, top):.1f}" y2="{self._y(high, top):.1f}" '
            f'stroke="{colour}" stroke-width="5" stroke-opacity=".45"/>'
            for place, (low, high) in enumerate(line.ranges)
        )
        dash = ' stroke-dasharray="6 5"' if line.dashed else ""
        key = f'<rect x="{LEFT + 210 * number}" y="36" width="12" height="12" fill="{colour}"/>'
        name = f'<text x="{LEFT + 210 * number + 18}" y="47">{escape(line.name)}</text>'
        return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>{bars}{dots}{key}{name}'


def nice_ceiling(value: float) -> float:
    """Returns the smallest number ≥ `value` whose quarters are round; 1 if `value` is not positive."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(power * step for step in (1, 1.2, 1.6, 2, 2.4, 4, 5, 6, 8, 10) if power * step >= value)
