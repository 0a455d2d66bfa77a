"""A decision on the number of signers, which explains itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vaultstream.scaling.deadline import Shortfall
from vaultstream.scaling.reasons import OPENINGS, LimitName, Reason, Scalar, limit_clause


@dataclass(frozen=True, slots=True)
class Limit:
    """The limit that applied to a decision, and the count that it allows."""

    name: LimitName
    value: int

    def clause(self) -> str:
        """Returns the limit as a clause for people."""
        return limit_clause(self.name, self.value)


@dataclass(frozen=True, slots=True)
class Decision:
    """How many signers to run, and why.

    Attributes:
        desired: signers to run.
        current: signers that were requested before.
        reason: the rule that made the count.
        limit: what kept the count from being the one that the rule asked for; None: nothing did.
        inputs: the numbers that the rules used, under camelCase names, ready for JSON. Unknown ones are left out.
        formula: how the rule's count was computed, with its numbers.
        hold: True: too little is known to change the count, so it is kept.
        message: why, as a clause for people.
        recommendation: the count within its bounds, before HPA's behavior was applied: stabilization windows use it.
            None: HPA's behavior does not apply to the rule.
        paced: HPA's behavior applied to this change, so its policies count it.
        eta_seconds: seconds until the job ends at the rate measured now; None: unknown.
        deadline_at_risk: the finishing time will be missed even with all the signers that the job may have.
        shortfall: by how much, if that is known.
        unmeasured: signers were added lately, and what they sign is not known yet.
        short_since: since when it looks so, in Unix seconds, see `deadline.short_since`; None: it does not.
    """

    desired: int
    current: int
    reason: Reason
    limit: Limit | None
    inputs: Mapping[str, Scalar]
    formula: str
    hold: bool
    message: str
    recommendation: int | None
    paced: bool
    eta_seconds: float | None
    deadline_at_risk: bool
    short_since: float | None = None
    shortfall: Shortfall | None = None
    unmeasured: bool = False

    @property
    def soon(self) -> bool:
        """True if the next decision is to be made within a second: it is about to be seen what signers sign."""
        return self.unmeasured or (self.reason in OPENINGS and self.desired > 0)

    @property
    def changes_count(self) -> bool:
        """True if the count differs from the one before."""
        return self.desired != self.current

    def explain(self) -> str:
        """Returns one sentence: the change, the reason, the formula with its numbers, and the limit that applied."""
        limit = f", {self.limit.clause()}" if self.limit else ""
        risk = "; the target time is at risk" if self.deadline_at_risk else ""
        risk += f": {self.shortfall.clause()}" if self.shortfall else ""
        return f"{self._action()}: {self.message}, {self.formula}{limit}{risk}."

    def dump(self) -> dict[str, Any]:
        """Returns the decision as `status.scaling` shows it, ready for JSON."""
        limit = {"name": str(self.limit.name), "value": self.limit.value} if self.limit else None
        return {
            "replicas": self.current,
            "desired": self.desired,
            "reason": str(self.reason),
            "limit": limit,
            "inputs": dict(self.inputs),
            "formula": self.formula,
            "hold": self.hold,
            "message": self.explain(),
        }

    def _action(self) -> str:
        if self.changes_count:
            return f"Scaled from {self.current} to {signers(self.desired)}"
        return f"{'Held' if self.hold else 'Kept'} {signers(self.desired)}"


def signers(count: int) -> str:
    """Returns `1 signer`, `2 signers`."""
    return f"{count} signer{'' if count == 1 else 's'}"
