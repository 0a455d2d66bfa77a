"""The course of simulated runs as an SVG: signers, batches left and rate over time. Readable on light and dark pages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import ceil, floor, log10
from textwrap import wrap
from typing import Final, Protocol

from vaultstream.simulation.run import Mark, Moment

WIDTH: Final = 760
PANEL: Final = 150
"""Height of a panel, in pixels."""
_LEFT, _RIGHT, _TOP, _GAP, _BOTTOM = 76, 20, 66, 34, 42
_COLORS: Final = {
    "vaultstream": "#2f81f7",
    "next job": "#1b7c83",
    "keda": "#d29922",
    "keda-tuned": "#db61a2",
    "numaflow": "#8957e5",
    "flink": "#e5534b",
    "fixed": "#8b949e",
    "oracle": "#3fb950",
}
_STYLE: Final = (
    "text{font:12px sans-serif;fill:#57606a}.title{font-size:15px;font-weight:bold}.head{font-weight:bold}"
    ".grid{stroke:#8b949e;stroke-opacity:.3}.line{fill:none;stroke-width:1.8;stroke-linejoin:round}"
    "@media(prefers-color-scheme:dark){text{fill:#c9d1d9}}"
)
_MOST_POINTS = 200
_SHORT: Final = 20.0
"""Seconds of a run below which its axis has fractions."""
_LINE: Final = 108
"""Characters in a line of text, about."""

_Value = Callable[[Moment], float | None]
_PANELS: Final[tuple[tuple[str, _Value, bool], ...]] = (
    ("signers requested", lambda moment: moment.requested, True),
    ("batches left", lambda moment: moment.lag, False),
    ("records/s", lambda moment: moment.rate or 0.0, False),
)


class Course(Protocol):
    """What a chart shows of a run, simulated or real."""

    @property
    def moments(self) -> tuple[Moment, ...]:
        """The state over time."""

    @property
    def marks(self) -> tuple[Mark, ...]:
        """The decisions that changed the count."""


def svg_chart(
    title: str, runs: Mapping[str, Course], *, rate: str = "over the latest 20 s", listed: bool = False
) -> str:
    """Returns a complete SVG document. Marks on the line of VaultStream are its decisions; pointing at one shows it.

    Args:
        title: above the panels.
        runs: one for each way to scale, by its name.
        rate: what the rates are means of.
        listed: whether the marks are numbered, and what they say stands below, for a picture that nobody points into.
    """
    end = max(run.moments[-1].at for run in runs.values()) or 1.0
    height = _TOP + len(_PANELS) * (PANEL + _GAP) + _BOTTOM - _GAP
    parts = [f'<text class="title" x="{_LEFT}" y="22">{_escaped(title)}</text>', _legend(list(runs))]
    for number, (name, value, stepped) in enumerate(_PANELS):
        top = _TOP + number * (PANEL + _GAP)
        most = _ceiling(max((value(m) or 0.0) for run in runs.values() for m in run.moments))
        parts.append(_grid(f"{name}, {rate}" if name == "records/s" else name, top, most))
        for who, run in reversed(list(runs.items())):
            points = [(_x(m.at, end), _y(value(m) or 0.0, top, most)) for m in _thinned(run.moments)]
            parts.append(
                f'<path class="line" stroke="{_COLORS.get(who, "#8b949e")}" d="{_path(points, stepped)}"/>'
            )
            if stepped:
                parts += [
                    f'<circle cx="{_x(mark.at, end):.1f}" cy="{_y(mark.count, top, most):.1f}" r="3.2" '
                    f'fill="{_COLORS.get(who, "#8b949e")}"><title>{mark.at:.0f} s: {_escaped(mark.why)}</title></circle>'
                    for mark in run.marks
                ]
                if listed:
                    parts += _numbers(run.marks, end, top, most)
    for step in range(5):
        at = end * step / 4
        digits = 1 if end < _SHORT else 0
        parts.append(
            f'<text x="{_x(at, end):.1f}" y="{height - 22}" text-anchor="middle">{at:,.{digits}f}</text>'
        )
    parts.append(
        f'<text x="{(_LEFT + WIDTH - _RIGHT) / 2}" y="{height - 5}" text-anchor="middle">seconds since the job was created</text>'
    )
    if listed:
        told = [line for run in runs.values() for line in _told(run.marks)]
        parts += [
            f'<text x="{_LEFT}" y="{height + 14 + 17 * number}">{_escaped(line)}</text>'
            for number, line in enumerate(told)
        ]
        height += 14 + 17 * len(told)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">'
        f"<title>{_escaped(title)}</title><style>{_STYLE}</style>{''.join(parts)}</svg>\n"
    )


def _numbers(marks: Sequence[Mark], end: float, top: float, most: float) -> list[str]:
    """Returns the numbers of marks, beside them and within the panel."""
    return [
        f'<text class="head" x="{_x(mark.at, end) + 7:.1f}" '
        f'y="{_y(mark.count, top, most) + (16 if 2 * mark.count > most else -6):.1f}">{number}</text>'
        for number, mark in enumerate(marks, 1)
    ]


def _told(marks: Sequence[Mark]) -> list[str]:
    """Returns what marks say, in lines that fit."""
    lines = []
    for number, mark in enumerate(marks, 1):
        lines += wrap(
            f"{mark.why}", _LINE, initial_indent=f"{number}  {mark.at:.1f} s: ", subsequent_indent="\u2003"
        )
    return lines


def text_chart(moments: tuple[Moment, ...], width: int, height: int = 8) -> list[str]:
    """Returns lines of text that show the signers over time, for a terminal.

    Args:
        moments: of one run.
        width: of each line, in characters.
        height: lines of the plot.
    """
    columns = max(10, width - 8)
    end, peak = moments[-1].at or 1.0, max(1, *(moment.requested for moment in moments))
    counts = [0.0] * columns
    for before, after in zip(moments, [*moments[1:], moments[-1]], strict=True):
        first, last = (min(columns - 1, int(at / end * columns)) for at in (before.at, after.at))
        for column in range(first, last + 1):
            counts[column] = max(counts[column] if column == first else 0.0, before.requested)
    lines = []
    for row in range(height, 0, -1):
        label = f"{peak * row / height:6.0f} " if row in {height, height // 2} else " " * 7
        cells = (count * height / peak - (row - 1) for count in counts)
        lines.append(f"{label}│" + "".join(_block(cell) for cell in cells).rstrip())
    lines.append(f"{0:6} └" + "─" * columns)
    axis = f"{'0 s':<{columns // 2}}{end:>{columns - columns // 2 - 2},.0f} s"
    return [*lines, " " * 8 + axis]


def _block(filled: float) -> str:
    return " ▁▂▃▄▅▆▇█"[max(0, min(8, round(filled * 8)))]


def _legend(names: list[str]) -> str:
    parts, x = [], _LEFT
    for name in names:
        parts.append(
            f'<rect x="{x}" y="34" width="14" height="4" rx="2" fill="{_COLORS.get(name, "#8b949e")}"/>'
        )
        parts.append(f'<text x="{x + 20}" y="40">{_escaped(name)}</text>')
        x += 36 + 7 * len(name)
    return "".join(parts)


def _grid(name: str, top: float, most: float) -> str:
    lines = [f'<text class="head" x="{_LEFT}" y="{top - 7}">{name}</text>']
    for step in range(3):
        value = most * step / 2
        y = _y(value, top, most)
        lines.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        lines.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:,.0f}</text>')
    return "".join(lines)


def _x(at: float, end: float) -> float:
    return _LEFT + at / end * (WIDTH - _LEFT - _RIGHT)


def _y(value: float, top: float, most: float) -> float:
    return top + PANEL * (1 - value / most)


def _path(points: list[tuple[float, float]], stepped: bool) -> str:
    parts = [f"M{points[0][0]:.1f} {points[0][1]:.1f}"]
    for x, y in points[1:]:
        parts.append(f"H{x:.1f}V{y:.1f}" if stepped else f"L{x:.1f} {y:.1f}")
    return "".join(parts)


def _thinned(moments: tuple[Moment, ...]) -> list[Moment]:
    """Returns at most so many moments as can be seen: all at which the count changed, and some in between."""
    step = ceil(len(moments) / _MOST_POINTS)
    return [
        moment
        for place, moment in enumerate(moments)
        if place % step == 0 or place == len(moments) - 1 or moment.requested != moments[place - 1].requested
    ]


def _ceiling(value: float) -> float:
    """Returns the next round number that is even in its first digits, so that its half is round, too."""
    if value <= 2:  # noqa: PLR2004 - the lowest axis
        return 2.0
    unit = 10.0 ** floor(log10(value))
    return next(unit * step for step in (1, 2, 4, 6, 8, 10) if unit * step >= value)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
