"""Records that arrive while a job runs: read from lines of text, or made from a pattern such as `burst:300:200000`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import pi, sin
from typing import Final

from vaultstream.simulation.scenario import Arrival

MOST_ARRIVALS: Final = 10_000
"""Arrivals of a scenario at most."""
DIURNAL_STEPS: Final = 48
"""Arrivals by which a day is made."""


def parse_arrivals(text: str) -> tuple[Arrival, ...]:
    """Returns the arrivals in lines of `SECONDS,RECORDS`, in order of time. Empty lines, those that begin with #, and names of columns in the first line are left out.

    Raises:
        ValueError: a line is neither, or has a number that can't be one.
    """
    arrivals = []
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped[0] == "#" or (number == 1 and stripped[0].isalpha()):
            continue
        cells = stripped.split(",")
        try:
            seconds, records = (float(cells[0]), int(cells[1])) if len(cells) == 2 else (-1.0, -1)  # noqa: PLR2004
        except ValueError:
            seconds = records = -1
        if not (0 <= seconds < float("inf")) or records < 0:
            raise ValueError(f"line {number} is not SECONDS,RECORDS, such as 300,200000: {stripped[:60]!r}")
        arrivals.append(Arrival(seconds, records))
    return _checked(arrivals)


def make_arrivals(pattern: str) -> tuple[Arrival, ...]:
    """Returns the arrivals of a pattern.

    Args:
        pattern: `burst:AT:RECORDS`, all at AT seconds; `every:SECONDS:RECORDS:TIMES`; or `diurnal:SECONDS:RECORDS`, so many in a day of so
            many seconds, most of them in its middle.

    Raises:
        ValueError: it is not a pattern.
    """
    name, *texts = pattern.split(":")
    made = _PATTERNS.get(name)
    try:
        numbers = [float(text) for text in texts]
    except ValueError:
        numbers = []
    if made is None or len(numbers) != made[0] or not all(0 < n < float("inf") for n in numbers):
        forms = "burst:AT:RECORDS, every:SECONDS:RECORDS:TIMES or diurnal:SECONDS:RECORDS"
        raise ValueError(f"{pattern[:60]!r} is no pattern; the patterns are {forms}, with numbers above 0")
    if name == "every" and numbers[2] > MOST_ARRIVALS:
        raise ValueError(f"it has {numbers[2]:.0f} arrivals; {MOST_ARRIVALS:,} are possible")
    return _checked(made[1](numbers))


def _burst(numbers: list[float]) -> list[Arrival]:
    return [Arrival(numbers[0], int(numbers[1]))]


def _every(numbers: list[float]) -> list[Arrival]:
    seconds, records, times = numbers
    return [Arrival(seconds * (place + 1), int(records)) for place in range(int(times))]


def _diurnal(numbers: list[float]) -> list[Arrival]:
    seconds, records = numbers
    shares = [sin(pi * (place + 0.5) / DIURNAL_STEPS) ** 2 for place in range(DIURNAL_STEPS)]
    step = seconds / DIURNAL_STEPS
    return [
        Arrival(step * (place + 1), round(records * share / sum(shares)))
        for place, share in enumerate(shares)
    ]


_PATTERNS: Final[Mapping[str, tuple[int, Callable[[list[float]], list[Arrival]]]]] = {
    "burst": (2, _burst),
    "every": (3, _every),
    "diurnal": (2, _diurnal),
}


def _checked(arrivals: list[Arrival]) -> tuple[Arrival, ...]:
    if len(arrivals) > MOST_ARRIVALS:
        raise ValueError(f"it has {len(arrivals):,} arrivals; {MOST_ARRIVALS:,} are possible")
    return tuple(sorted(arrivals, key=lambda arrival: arrival.at))
