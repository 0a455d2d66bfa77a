"""Which decisions are kept for people who ask later, and what is kept of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from vaultstream.scaling.decision import Decision

MOST_KEPT: Final = 500
"""Maximum number of decisions that are kept about one job: the latest."""
QUIET_SECONDS: Final = 30.0
"""For how long after a decision another one that wants the same number for another reason is not kept, in seconds."""

_MOST_SECONDS: Final = 253_402_300_800
"""The year 10,000, in Unix seconds."""
_TOLD: Final = ("replicas", "desired", "reason", "limit", "hold")


@dataclass(frozen=True, slots=True)
class KeptDecision:
    """A decision on the number of signers.

    Attributes:
        at: when it was made, in Unix seconds.
        shown: the decision as `status.scaling` and logs show it, see `Decision.dump`.
    """

    at: float
    shown: Mapping[str, Any]

    @classmethod
    def of(cls, decision: Decision, at: float) -> KeptDecision:
        """Returns what is kept of a decision that was made at `at`, in Unix seconds."""
        return cls(at, decision.dump())

    @classmethod
    def read(cls, at: float, shown: object) -> Self | None:
        """Returns what was stored; None: it is no decision. Whoever has the operator's login can have stored anything."""
        if not isinstance(shown, Mapping) or not 0 <= at < _MOST_SECONDS:
            return None
        counts = all(isinstance(shown.get(name), int) for name in ("replicas", "desired"))
        known = isinstance(shown.get("message"), str) and isinstance(shown.get("inputs", {}), Mapping)
        return cls(at, {"inputs": {}, **shown}) if counts and known else None

    @property
    def changed(self) -> bool:
        """Whether it changed the number of signers."""
        return self.shown.get("replicas") != self.shown.get("desired")

    def is_news(self, last: KeptDecision | None) -> bool:
        """Returns whether it is to be kept after `last`, the latest that was kept; None: there is none.

        Another number, and the begin and the end of a hold, always are news. Another reason for the same number is news once
        per `QUIET_SECONDS`: where two rules take turns, that would be a row for each poll.
        """
        if last is None:
            return True
        mine, theirs = ({name: each.shown.get(name) for name in _TOLD} for each in (self, last))
        if mine == theirs:
            return False
        urgent = any(mine[name] != theirs[name] for name in ("desired", "hold"))
        return urgent or not 0 <= self.at - last.at < QUIET_SECONDS
