"""Fits the Universal Scalability Law to measured rates: what more signers on more cores would sign, as a model."""

from __future__ import annotations

from collections.abc import Mapping

from vaultstream.scaling.curve import Curve

FEWEST = 2
"""Numbers of signers that a curve is fitted to, at least."""


def fit(rates: Mapping[int, float]) -> Curve:
    """Returns the curve through the rates by number of signers, with the least error of n / rate.

    The law is linear in that form: n / X(n) = (1 + s (n - 1) + k n (n - 1)) / r. Two points give no k, which is 0 then; nor are s and k
    below 0: more signers never help each other.

    Args:
        rates: records per second by signers; of one signer, and of others up to one per core.

    Raises:
        ValueError: fewer than two numbers of signers.
    """
    if len(rates) < FEWEST:
        raise ValueError("A curve needs the rates of two numbers of signers.")
    points = [((1.0, n - 1.0, n * (n - 1.0)), n / rate) for n, rate in sorted(rates.items())]
    for used in ([3] if len(points) > FEWEST else []) + [2]:
        level, serial, *pairs = _least_squares([(row[:used], value) for row, value in points])
        if level > 0 and serial >= 0 and all(each >= 0 for each in pairs):
            return Curve(1 / level, serial / level, pairs[0] / level if pairs else 0.0)
    return Curve(len(points) / sum(value for _, value in points))


def _least_squares(points: list[tuple[tuple[float, ...], float]]) -> list[float]:
    """Returns the coefficients of the normal equations, by elimination."""
    width = len(points[0][0])
    rows = [
        [sum(row[i] * row[j] for row, _ in points) for j in range(width)]
        + [sum(row[i] * value for row, value in points)]
        for i in range(width)
    ]
    for i in range(width):
        pivot = max(range(i, width), key=lambda at: abs(rows[at][i]))
        rows[i], rows[pivot] = rows[pivot], rows[i]
        for other in range(width):
            if other != i:
                factor = rows[other][i] / rows[i][i]
                rows[other] = [a - factor * b for a, b in zip(rows[other], rows[i], strict=True)]
    return [rows[i][width] / rows[i][i] for i in range(width)]
