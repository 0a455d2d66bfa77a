"""What a number of signers signs together: the Universal Scalability Law, below a ceiling.

N. Gunther, Guerrilla Capacity Planning, 2007: X(n) = r n / (1 + s (n - 1) + k n (n - 1)). The signers share one Postgres:
s is what they wait for each other, k what they cost each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import inf
from typing import Final

_SPREAD: Final = (1.0, 2.0, 4.0)
"""How far apart the counts of a fit are at least, most over fewest, by the number of terms beyond the first: noise has no shape."""
_FLAT: Final = 1.5
"""How far apart the counts are at least, most over fewest, that show a ceiling: their rates are nearly the same."""
_BEND: Final = 2.5
"""How far the fewest of them are from the most signers below a ceiling: farther, the law between them is not known."""


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

    @property
    def formula(self) -> str:
        """The law with its numbers."""
        law = f"{self.rate:.6g} n / (1 + {self.contention:.3g} (n - 1) + {self.coherence:.3g} n (n - 1))"
        return f"X(n) = {law}" if self.ceiling == inf else f"X(n) = min({self.ceiling:.6g}, {law})"

    def times(self, factor: float) -> Curve:
        """Returns the curve of signers that are so many times as fast."""
        return Curve(self.rate * factor, self.contention, self.coherence, self.ceiling * factor)

    def knee(self, most: int, share: float = 0.99) -> int:
        """Returns the fewest signers, of at most `most`, that sign this share of the best rate."""
        best = max(self(count) for count in range(1, most + 1))
        return next(count for count in range(1, most + 1) if self(count) >= share * best)


@dataclass(frozen=True, slots=True)
class LearnedCurve:
    """A curve that was fitted to earlier jobs, and up to how many signers it is believed."""

    curve: Curve
    most: int


def fit_curve(points: Sequence[tuple[int, float, float]]) -> Curve | None:
    """Returns the curve that is nearest to what was measured; None if nothing was.

    n / X(n) = (1 + s (n - 1) + k n (n - 1)) / r is linear in 1 / r, s / r and k / r: least squares of the relative error, of which none may
    be negative. A term is used only if it makes the fit better, and if the counts are far enough apart to show it. The most signers
    may be at a ceiling: their mean is it, if that fits better than any law of all.

    Args:
        points: signers (1 or more), records per second of all of them, and the weight of the measurement.
    """
    points = sorted((signers, rate, weight) for signers, rate, weight in points if rate > 0 and weight > 0)
    if not points:
        return None
    curves = [_law_of(points)]
    for lowest, (signers, _, _) in enumerate(points):
        near = not lowest or signers <= _BEND * points[lowest - 1][0]
        if near and points[-1][0] >= _FLAT * signers:
            curves.append(_below_a_ceiling(points[:lowest], points[lowest:]))
    found = [curve for curve in curves if curve is not None]
    return min(found, key=lambda curve: _miss(curve, points), default=None)


def _law_of(points: Sequence[tuple[int, float, float]]) -> Curve | None:
    """Returns the law without a ceiling that is nearest to the points."""
    counts = {signers for signers, _, _ in points}
    apart = max(counts) / min(counts)
    best: tuple[float, tuple[float, float, float]] | None = None
    for beyond in range(min(len(counts), 3)):
        if apart < _SPREAD[beyond]:
            break
        for terms in combinations((1, 2), beyond):
            found = _least_squares(points, (0, *terms))
            if found and (best is None or found[0] < best[0] * (1 - 1e-9)):
                best = found
    if best is None:
        return None
    alone, contention, coherence = best[1]
    return Curve(1 / alone, contention / alone, coherence / alone)


def _below_a_ceiling(
    below: Sequence[tuple[int, float, float]], flat: Sequence[tuple[int, float, float]]
) -> Curve | None:
    """Returns the law of the points below a ceiling, which is the mean of the others; without any, it is reached by the fewest signers that were seen."""
    ceiling = sum(weight / rate for _, rate, weight in flat) / sum(
        weight / rate**2 for _, rate, weight in flat
    )
    law = _law_of(below) if below else Curve(ceiling / flat[0][0])
    return replace(law, ceiling=ceiling) if law else None


def _miss(curve: Curve, points: Sequence[tuple[int, float, float]]) -> float:
    """Returns the sum of the squares of the relative errors of n / X(n)."""
    return sum(weight * (rate / curve(signers) - 1) ** 2 for signers, rate, weight in points)


def _least_squares(
    points: Sequence[tuple[int, float, float]], terms: tuple[int, ...]
) -> tuple[float, tuple[float, float, float]] | None:
    """Returns the error and the three coefficients, those that are no term 0; None if one would be negative."""
    rows = []
    for signers, rate, weight in points:
        cost, root = signers / rate, weight**0.5
        basis = (1.0, signers - 1.0, signers * (signers - 1.0))
        rows.append(([root * basis[term] / cost for term in terms], root))
    size = len(terms)
    matrix = [
        [sum(row[i] * row[j] for row, _ in rows) for j in range(size)] + [sum(row[i] * y for row, y in rows)]
        for i in range(size)
    ]
    for i in range(size):
        pivot = max(range(i, size), key=lambda j: abs(matrix[j][i]))
        matrix[i], matrix[pivot] = matrix[pivot], matrix[i]
        if matrix[i][i] == 0:
            return None
        for j in range(size):
            if j != i:
                factor = matrix[j][i] / matrix[i][i]
                matrix[j] = [a - factor * b for a, b in zip(matrix[j], matrix[i], strict=True)]
    solved = [matrix[i][size] / matrix[i][i] for i in range(size)]
    if solved[0] <= 0 or any(value < 0 for value in solved):
        return None
    error = sum((sum(a * b for a, b in zip(row, solved, strict=True)) - y) ** 2 for row, y in rows)
    coefficients = dict(zip(terms, solved, strict=True))
    return error, (coefficients[0], coefficients.get(1, 0.0), coefficients.get(2, 0.0))
