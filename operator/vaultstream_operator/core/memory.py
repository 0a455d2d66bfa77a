"""What scaling remembers of a job from one decision to the next. Postgres keeps it, so that a restarted operator reads it back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from pydantic import ValidationError

from vaultstream.scaling.history import History

STALE_SECONDS: Final = 10.0
"""How old the copy in Postgres may become while only times and rates change, in seconds."""


@dataclass(frozen=True, slots=True)
class ScalingMemory:
    """What the next decision needs of the earlier ones.

    Attributes:
        history: recommendations, changes and measured rates, bounded in size.
        generation: of the signers' Deployment when the latest decision was made; 0: there was none. Until it increases, a
            change that was decided has not been made.
    """

    history: History = field(default_factory=History)
    generation: int = 0

    @classmethod
    def parse(cls, stored: object) -> ScalingMemory:
        """Returns what `dump` returned; what can't be read is left out."""
        if not isinstance(stored, Mapping):
            return cls()
        generation = stored.get("generation")
        known = isinstance(generation, int) and generation >= 0
        try:
            history = History.model_validate(stored.get("history") or {})
        except ValidationError:
            history = History()
        return cls(history, generation if known and isinstance(generation, int) else 0)

    def but(self, history: History, generation: int) -> ScalingMemory:
        """Returns the memory after a decision."""
        return replace(self, history=history, generation=generation)

    def dump(self) -> dict[str, Any]:
        """Returns it as JSON-ready values."""
        history = self.history.model_dump(mode="json", by_alias=True, exclude_none=True)
        return {"history": history, "generation": self.generation}

    def same_count(self, other: ScalingMemory) -> bool:
        """Returns whether both know the same changes of the count: what differs may be stored later."""
        mine, theirs = self.history, other.history
        return (self.generation, mine.changes, mine.added, mine.removed) == (
            other.generation,
            theirs.changes,
            theirs.added,
            theirs.removed,
        )
