"""Liveness and readiness of a worker: it is live while its loops turn, and ready while its services answer.

The worker reports progress as it goes (`turn`, `beat`, `seen`). Another thread asks for a verdict, with reasons. A worker
that hangs is therefore detected without its cooperation.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vaultstream.errors import redact

if TYPE_CHECKING:
    from collections.abc import Callable

LOOP_SECONDS = 10.0
"""Maximum time between two turns of the event loop. No step in it takes a tenth of that."""

PROGRESS_SECONDS = 180.0
"""Maximum time between two passes of a loop. It exceeds the timeout of a Postgres statement, after which a loop continues."""

START_SECONDS = 30.0
"""After which a process counts as started although it was never ready: a restart would not help."""

ANSWER_SECONDS = 5.0
"""A service counts as unreachable if its last answer is older than this. It is asked once per second."""

_PROCESS_STARTED = time.monotonic()
"""A worker that waits and tries again has a new health each time: it must not count as starting without end."""


@dataclass(frozen=True)
class Check:
    """One check: its name, its result and a detail for people."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True)
class Verdict:
    """The checks of one probe; it succeeds if all of them do."""

    role: str
    checks: list[Check]

    @property
    def ok(self) -> bool:
        return all(check.ok for check in self.checks)

    def document(self) -> dict[str, Any]:
        """Returns the verdict as JSON-ready values."""
        return {
            "status": "ok" if self.ok else "failing",
            "role": self.role,
            "checks": {check.name: {"ok": check.ok, "detail": check.detail} for check in self.checks},
        }


@dataclass
class _Fact:
    """Something that must be reported again within `limit` seconds."""

    limit: float
    at: float | None = None
    trouble: str = ""


class Health:
    """The health of one worker. Its event loop reports; any thread may ask.

    Args:
        role: the role of the worker.
        loop_seconds: maximum time between two turns of the event loop.
        progress_seconds: maximum time between two passes of each loop of the worker.
        answer_seconds: maximum age of a service's last answer.
        clock: a monotonic clock, in seconds.
    """

    def __init__(
        self,
        role: str,
        *,
        loop_seconds: float = LOOP_SECONDS,
        progress_seconds: float = PROGRESS_SECONDS,
        answer_seconds: float = ANSWER_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.role = role
        self.progress_seconds = progress_seconds
        self.answer_seconds = answer_seconds
        self._clock = clock
        self._loop = _Fact(loop_seconds, clock())
        self._beats: dict[str, _Fact] = {}
        self._facts: dict[str, _Fact] = {}
        self._conditions: dict[str, Callable[[], str | None]] = {}
        self._was_ready = False

    def turn(self) -> None:
        """Reports a turn of the event loop."""
        self._loop.at = self._clock()

    def beat(self, loop: str) -> None:
        """Reports a pass of a loop of the worker. From the first pass on, the loop is checked."""
        fact = self._beats.get(loop)
        if fact is None:
            fact = self._beats[loop] = _Fact(self.progress_seconds)
        fact.at = self._clock()

    def rest(self, loop: str) -> None:
        """Reports that a loop has finished; it is no longer checked."""
        self._beats.pop(loop, None)

    def expect(self, name: str, *, within: float) -> None:
        """Makes readiness depend on a fact: the worker is ready only if it was `seen` in the last `within` seconds."""
        self._facts[name] = _Fact(within)

    def seen(self, name: str) -> None:
        """Reports that an expected fact holds now."""
        if fact := self._facts.get(name):
            fact.at = self._clock()
            fact.trouble = ""

    def missed(self, name: str, trouble: str) -> None:
        """Reports why an expected fact does not hold. The verdict shows it once the time of the fact is over."""
        if fact := self._facts.get(name):
            fact.trouble = redact(trouble)

    def require(self, name: str, trouble: Callable[[], str | None]) -> None:
        """Makes readiness depend on a condition.

        Args:
            name: of the check.
            trouble: called from another thread; returns what is wrong, or None.
        """
        self._conditions[name] = trouble

    def live(self) -> Verdict:
        """Returns whether the worker makes progress. An unreachable service does not count: a restart would not help."""
        beats = [self._check(f"{name} loop", fact, "passed") for name, fact in list(self._beats.items())]
        return Verdict(self.role, [self._check("event loop", self._loop, "turned"), *beats])

    def ready(self) -> Verdict:
        """Returns whether the worker can use everything that it needs."""
        facts = [self._check(name, fact, "seen") for name, fact in list(self._facts.items())]
        troubles = [(name, trouble()) for name, trouble in list(self._conditions.items())]
        checks = [*facts, *(Check(name, not why, why or "ok") for name, why in troubles)]
        if not checks:  # a process that has not got as far as to say what it needs
            checks.append(Check("start", ok=False, detail="not complete yet"))
        verdict = Verdict(self.role, checks)
        self._was_ready = self._was_ready or verdict.ok
        return verdict

    @property
    def starting(self) -> bool:
        """Whether it was never found ready, in a process that is not older than `START_SECONDS`."""
        return not self._was_ready and time.monotonic() - _PROCESS_STARTED < START_SECONDS

    def _check(self, name: str, fact: _Fact, done: str) -> Check:
        if fact.at is None:
            return Check(name, ok=False, detail=_with(f"not {done} yet", fact.trouble))
        age = max(0.0, self._clock() - fact.at)
        if age <= fact.limit:
            return Check(name, ok=True, detail=f"{done} {age:.1f} s ago")
        return Check(
            name,
            ok=False,
            detail=_with(f"last {done} {age:.1f} s ago; the limit is {fact.limit:g} s", fact.trouble),
        )


def _with(detail: str, trouble: str) -> str:
    return f"{detail}: {trouble}" if trouble else detail
