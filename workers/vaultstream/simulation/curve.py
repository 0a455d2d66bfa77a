"""What a number of signers signs together: the Universal Scalability Law, below a ceiling.

N. Gunther, Guerrilla Capacity Planning, 2007: X(n) = r n / (1 + s (n - 1) + k n (n - 1)). The signers share one Postgres:
s is what they wait for each other, k what they cost each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf


@dataclass(frozen=True, slots=True)
class Curve:
    """The throughput of signers by their number.

    Attributes:
        rate: of one signer alone, in records per second (r).
        contention: share of the work that is serial (s).
        coherence: cost of each pair of signers (k).
        ceiling: what the database does at most, in records per second.
    """

    rate: float
    contention: float = 0.0
    coherence: float = 0.0
    ceiling: float = inf

    def __call__(self, signers: int) -> float:
        """Returns the records per second of so many signers together."""
        if signers <= 0:
            return 0.0
        others = signers - 1
        slower = 1 + self.contention * others + self.coherence * signers * others
        return min(self.ceiling, self.rate * signers / slower)

    def knee(self, most: int, share: float = 0.99) -> int:
        """Returns the fewest signers, of at most `most`, that sign this share of the best rate."""
        best = max(self(count) for count in range(1, most + 1))
        return next(count for count in range(1, most + 1) if self(count) >= share * best)
