"""The course of a real job: how many signers it had, its lag and its rate over time, and each decision, as a picture."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from vaultstream.simulation.chart import svg_chart
from vaultstream.simulation.run import Mark, Moment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

RATE_SECONDS = 3.0
"""The rate is that of the latest seconds: a short job would be over before a longer window is full."""


@dataclass
class RecordedCourse:
    """What was read of a job while it ran.

    Attributes:
        begun: when it was applied, in Unix seconds.
    """

    begun: float
    _read: list[tuple[float, Mapping[str, Any]]] = field(default_factory=list)
    _marks: list[Mark] = field(default_factory=list)

    def read(self, at: float, status: Mapping[str, Any]) -> None:
        """Adds the status of the job at a Unix time."""
        self._read.append((at - self.begun, status))

    def decided(self, decisions: Sequence[Mapping[str, Any]]) -> None:
        """Adds the decisions that changed the count, as `vaultstream explain --json` prints them, and the end as the status has it."""
        for decision in decisions:
            if decision["replicas"] != decision["desired"]:
                at = datetime.fromisoformat(decision["at"]).timestamp()
                self._marks.append(Mark(at - self.begun, decision["desired"], decision["message"]))
        at, status = self._read[-1]
        for change in (status.get("scaling") or {}).get("changes", []):
            if change["reason"] == "Ended":
                self._marks.append(Mark(at, change["after"], status["message"]))

    @property
    def marks(self) -> tuple[Mark, ...]:
        """The decisions that changed the count."""
        return tuple(self._marks)

    @property
    def moments(self) -> tuple[Moment, ...]:
        """The state at each reading. The count is that of the decisions, which come between two readings."""
        changes = sorted(self._marks, key=lambda mark: mark.at)
        times = sorted({0.0, *(at for at, _ in self._read), *(mark.at for mark in changes)})
        return tuple(self._moment(at, [mark for mark in changes if mark.at <= at]) for at in times)

    def _moment(self, at: float, before: Sequence[Mark]) -> Moment:
        when, status = self._latest(at)
        scaling = status.get("scaling") or {}
        return Moment(
            at=at,
            lag=int(status.get("lag") or 0),
            requested=before[-1].count if before else 0,
            ready=int(scaling.get("ready") or 0),
            rate=self._rate(when, status),
        )

    def _latest(self, at: float) -> tuple[float, Mapping[str, Any]]:
        """Returns the latest reading up to a time, and when it was; before the first one, nothing."""
        return next(((when, status) for when, status in reversed(self._read) if when <= at), (0.0, {}))

    def _rate(self, at: float, status: Mapping[str, Any]) -> float:
        since, earlier = self._latest(at - RATE_SECONDS)
        signed, before = (int(each.get("signed") or 0) for each in (status, earlier))
        return (signed - before) / (at - since) if at > since else 0.0

    def svg(self, title: str) -> str:
        """Returns the picture, a complete SVG document."""
        return svg_chart(
            title, {"vaultstream": self}, rate=f"over the latest {RATE_SECONDS:g} s", listed=True
        )
