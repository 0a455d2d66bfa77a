"""Watches a job from its creation to its end, and draws the time line."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from support.e2e.site import HOME, is_ready

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from support.e2e.site import Site

_STEP_SECONDS = 0.4


@dataclass(frozen=True)
class Sample:
    """What was seen at one moment; None means unknown."""

    seconds: float
    state: str
    desired: int
    """Requested signers."""
    ready: int
    """Ready signers."""
    lag: int | None
    signed: int


@dataclass
class Timeline:
    """The samples of one job, in order."""

    samples: list[Sample] = field(default_factory=list)

    def counts(self) -> list[int]:
        """The requested numbers of signers, one after the other, without repetitions."""
        seen = [0]
        for sample in self.samples:
            if sample.desired != seen[-1]:
                seen.append(sample.desired)
        return seen

    def states(self) -> list[str]:
        """The states, one after the other, without repetitions."""
        return list(dict.fromkeys(sample.state for sample in self.samples if sample.state))


@asynccontextmanager
async def watching(site: Site, name: str, namespace: str = HOME) -> AsyncIterator[Timeline]:
    """Samples a job until the block ends."""
    timeline = Timeline()
    task = asyncio.create_task(_sample(site, name, namespace, timeline))
    try:
        yield timeline
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _sample(site: Site, name: str, namespace: str, timeline: Timeline) -> None:
    started = time.monotonic()
    while True:
        status = await site.status(name, namespace)
        pods = await site.pods(namespace, job=name, component="signing")
        timeline.samples.append(
            Sample(
                seconds=time.monotonic() - started,
                state=status.get("state", ""),
                desired=await site.signers(name, namespace) or 0,
                ready=sum(is_ready(pod) for pod in pods),
                lag=status.get("lag"),
                signed=int(status.get("signed") or 0),
            )
        )
        await asyncio.sleep(_STEP_SECONDS)


_WIDTH, _HEIGHT, _LEFT, _TOP, _GAP = 760, 130, 70, 46, 34
_COLOURS = {
    "signers asked for": "#9aa5b1",
    "signers ready": "#1f6feb",
    "lag, batches": "#c2410c",
    "signed": "#15803d",
}


def draw(timeline: Timeline, title: str) -> str:
    """The time line as SVG: signers, lag and signed records over time in seconds."""
    samples = timeline.samples
    end = max(1.0, samples[-1].seconds)
    panels = [
        {
            "signers asked for": [(s.seconds, s.desired) for s in samples],
            "signers ready": [(s.seconds, s.ready) for s in samples],
        },
        {"lag, batches": [(s.seconds, s.lag) for s in samples if s.lag is not None]},
        {"signed": [(s.seconds, s.signed) for s in samples]},
    ]
    width = _LEFT + _WIDTH + 20
    height = _TOP + len(panels) * (_HEIGHT + _GAP) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" style="font:12px sans-serif">',
        f"<title>{title}</title>",
        '<rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="{_LEFT}" y="24" font-size="15">{title}</text>',
    ]
    for number, panel in enumerate(panels):
        parts += _panel(panel, _TOP + number * (_HEIGHT + _GAP), end)
    return "\n".join([*parts, "</svg>", ""])


def _panel(lines: dict[str, list[tuple[float, int]]], top: int, end: float) -> list[str]:
    most = max([1, *(value for line in lines.values() for _, value in line)])
    bottom = top + _HEIGHT
    parts = [
        f'<path d="M{_LEFT} {top}V{bottom}H{_LEFT + _WIDTH}" fill="none" stroke="#52606d"/>',
        f'<text x="{_LEFT - 6}" y="{top + 5}" text-anchor="end">{most:,}</text>',
        f'<text x="{_LEFT - 6}" y="{bottom}" text-anchor="end">0</text>',
        f'<text x="{_LEFT + _WIDTH}" y="{bottom + 15}" text-anchor="end">{end:.0f} s</text>',
    ]
    for number, (name, line) in enumerate(lines.items()):
        steps = " ".join(
            f"{'M' if not index else 'H'}{_LEFT + at / end * _WIDTH:.1f}"
            f"{' ' if not index else 'V'}{bottom - value / most * _HEIGHT:.1f}"
            for index, (at, value) in enumerate(line)
        )
        parts += [
            f'<path d="{steps}" fill="none" stroke="{_COLOURS[name]}" stroke-width="2"/>',
            f'<text x="{_LEFT + 10 + number * 130}" y="{top - 6}" fill="{_COLOURS[name]}">{name}</text>',
        ]
    return parts
