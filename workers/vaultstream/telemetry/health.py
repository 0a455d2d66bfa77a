"""How a worker is: alive as long as its loops turn, ready as long as it has what it works with.

Who works says so in passing (`turn`, `beat`, `seen`); who asks, from another thread, gets a verdict with reasons. So a
worker that is stuck does not have to do anything to be found out.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vaultstream.errors import redact

if TYPE_CHECKING:
    from collections.abc import Callable

LOOP_SECONDS = 10.0
"""So long the event loop may be busy with one thing; nothing in it takes a tenth of that."""

PROGRESS_SECONDS = 180.0
"""So long a loop may wait in one place: longer than a statement in Postgres may take, after which it comes round again."""

ANSWER_SECONDS = 5.0
"""A service that is asked each second, and last answered longer ago, is away."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at, and what a person should read of it."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True)
class Verdict:
    """All checks of a question; good if each of them is."""

    role: str
    checks: list[Check]

    @property
    def ok(self) -> bool:
        return all(check.ok for check in self.checks)

    def document(self) -> dict[str, Any]:
        """Returns the verdict as JSON has it."""
        return {
            "status": "ok" if self.ok else "failing",
            "role": self.role,
            "checks": {check.name: {"ok": check.ok, "detail": check.detail} for check in self.checks},
        }


@dataclass
class _Fact:
    """Something that must be heard of again and again."""

    limit: float
    at: float | None = None
    trouble: str = ""


class Health:
    """What is known of one worker. Told from its event loop; asked from any thread.

    Args:
        role: which worker.
        loop_seconds: how long the event loop may not turn.
        progress_seconds: how long each loop of the worker may not pass.
        answer_seconds: how long a service may not answer.
        clock: seconds that nobody sets.
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

    def turn(self) -> None:
        """The event loop has come round."""
        self._loop.at = self._clock()

    def beat(self, loop: str) -> None:
        """A loop of the worker has passed its start; from the first time on it must do so again and again."""
        fact = self._beats.get(loop)
        if fact is None:
            fact = self._beats[loop] = _Fact(self.progress_seconds)
        fact.at = self._clock()

    def rest(self, loop: str) -> None:
        """A loop has done all that it had to do."""
        self._beats.pop(loop, None)

    def expect(self, name: str, *, within: float) -> None:
        """To be ready, something must have been `seen` within so many seconds; until then it is not."""
        self._facts[name] = _Fact(within)

    def seen(self, name: str) -> None:
        """Something expected is there, now."""
        if fact := self._facts.get(name):
            fact.at = self._clock()
            fact.trouble = ""

    def missed(self, name: str, trouble: str) -> None:
        """Something expected did not answer; why stands in the verdict once its time is over."""
        if fact := self._facts.get(name):
            fact.trouble = redact(trouble)

    def require(self, name: str, trouble: Callable[[], str | None]) -> None:
        """To be ready, `trouble` must return None when it is asked, from another thread; else what is wrong."""
        self._conditions[name] = trouble

    def live(self) -> Verdict:
        """Whether the worker moves. A service that is away is no reason to end it."""
        beats = [self._check(f"{name} loop", fact, "passed") for name, fact in list(self._beats.items())]
        return Verdict(self.role, [self._check("event loop", self._loop, "turned"), *beats])

    def ready(self) -> Verdict:
        """Whether the worker has all that it works with."""
        facts = [self._check(name, fact, "seen") for name, fact in list(self._facts.items())]
        troubles = [(name, trouble()) for name, trouble in list(self._conditions.items())]
        return Verdict(self.role, [*facts, *(Check(name, not why, why or "ok") for name, why in troubles)])

    def _check(self, name: str, fact: _Fact, done: str) -> Check:
        if fact.at is None:
            return Check(name, ok=False, detail=_with(f"not {done} yet", fact.trouble))
        age = max(0.0, self._clock() - fact.at)
        if age <= fact.limit:
            return Check(name, ok=True, detail=f"{done} {age:.1f} s ago")
        return Check(
            name,
            ok=False,
            detail=_with(f"last {done} {age:.1f} s ago; {fact.limit:g} s are allowed", fact.trouble),
        )


def _with(detail: str, trouble: str) -> str:
    return f"{detail}: {trouble}" if trouble else detail
