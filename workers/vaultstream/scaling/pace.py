"""How fast a signer signs, and how sure that is: the longest time that agrees with the latest seconds counts.

A rate over 20 s varies with each batch and each hiccup of the database. Over two minutes it hardly does, but then a rate that has
changed is seen late. So the window grows as long as what it adds agrees with the latest part, within their errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt
from typing import Final

LATEST_SECONDS: Final = 30.0
"""Seconds with which the others must agree."""
PACE_SECONDS: Final = 120.0
"""Seconds of a pace at most."""
LEAVING_SECONDS: Final = 10.0
"""Seconds that signers may still sign after they were removed: their preStop hook, and their last batches."""
READY_LATE_SECONDS: Final = 6.0
"""Seconds that signers may sign before they are seen as ready: the period of their probe, and a poll."""
LEAST_ERROR: Final = 0.02
"""A pace is never known better than this, as a share."""

_BLOCK_SECONDS = 4.0  # of a part of the window at least, so that the batches in it vary less
_FEWEST_BLOCKS = 3  # from which an error can be estimated
_ASSUMED, _ASSUMED_BLOCKS = (
    0.2,
    3,
)  # deviation of a block, before any is seen, and how many blocks that weighs
_AGREE = 4.0  # errors by which two parts may differ and still agree


@dataclass(frozen=True, slots=True)
class Point:
    """What was seen at one moment, in seconds of the caller's clock.

    Attributes:
        settled: records that were done.
        ready: signers that were ready.
        found: records that were planned so far.
        busy: whether there was a batch for each signer.
    """

    at: float
    settled: int
    ready: int
    found: int = 0
    busy: bool = True


@dataclass(frozen=True, slots=True)
class SignerPace:
    """The rate of one signer.

    Attributes:
        rate: records per second.
        error: standard error of the rate, as a share of it.
    """

    rate: float
    error: float


@dataclass(frozen=True, slots=True)
class _Part:
    """A time in which the same signers were ready, they and no others signed, and each had a batch."""

    ago: float
    seconds: float
    signer_seconds: float
    settled: int


def paces_of(trail: Sequence[Point]) -> tuple[SignerPace | None, SignerPace | None]:
    """Returns the pace that a trail shows, its oldest point first, and the pace without the last `READY_LATE_SECONDS`; None: too little is known."""
    if not trail or not trail[-1].ready:
        return None, None
    parts = _parts(trail)
    return _longest(parts, 0.0), _longest(parts, READY_LATE_SECONDS)


def _longest(parts: Sequence[_Part], begin: float) -> SignerPace | None:
    """Returns the pace of the longest time that agrees with the latest one. `begin`: seconds ago at which that ends."""
    best = latest = _pace(_within(parts, begin, LATEST_SECONDS))
    if latest is None:
        return _pace(_within(parts, begin, PACE_SECONDS))
    for longest in (2 * LATEST_SECONDS, PACE_SECONDS):
        wider = _pace(_within(parts, begin, longest))
        if wider is None or abs(wider.rate - latest.rate) > _AGREE * latest.error * latest.rate:
            break
        best = wider
    return best


def _parts(trail: Sequence[Point]) -> list[_Part]:
    """Returns the parts of a trail, the latest first."""
    parts: list[_Part] = []
    now = trail[-1].at if trail else 0.0
    left = [after.at for before, after in pairwise(trail) if after.ready < before.ready]
    came = [after.at for before, after in pairwise(trail) if after.ready > before.ready]
    for before, after in pairwise(trail):
        alone = not any(before.at < at + LEAVING_SECONDS and at <= after.at for at in left)
        alone = alone and not any(before.at < at <= after.at + READY_LATE_SECONDS for at in came)
        if alone and before.ready > 0 and before.busy and after.busy:
            seconds = after.at - before.at
            parts.append(
                _Part(now - after.at, seconds, before.ready * seconds, after.settled - before.settled)
            )
    return parts[::-1]


def _within(parts: Sequence[_Part], begin: float, seconds: float) -> list[tuple[float, int]]:
    """Returns the signer-seconds and the settled records of the blocks in so many seconds, the latest `begin` seconds ago."""
    blocks: list[tuple[float, int]] = []
    length, signer_seconds, settled = 0.0, 0.0, 0
    for part in parts:
        if part.ago < begin:
            continue
        if part.ago >= begin + seconds:
            break
        length, settled = length + part.seconds, settled + part.settled
        signer_seconds += part.signer_seconds
        if length >= _BLOCK_SECONDS:
            blocks.append((signer_seconds, settled))
            length, signer_seconds, settled = 0.0, 0.0, 0
    return blocks


def _pace(blocks: Sequence[tuple[float, int]]) -> SignerPace | None:
    """Returns the rate of blocks. Its error is that of two blocks together: a batch that is not in one is in the next.

    Few blocks may agree by chance, so some that vary as is assumed count as well.
    """
    count = len(blocks)
    if count < _FEWEST_BLOCKS:
        return None
    seconds, settled = sum(block[0] for block in blocks), sum(block[1] for block in blocks)
    if settled <= 0:
        return None
    rate = settled / seconds
    misses = [done / (rate * spent) - 1 for spent, done in blocks]
    squares = [(one + other) ** 2 / 2 for one, other in pairwise(misses)]
    variance = (sum(squares) + _ASSUMED_BLOCKS * _ASSUMED**2) / (len(squares) + _ASSUMED_BLOCKS)
    return SignerPace(rate, max(LEAST_ERROR, sqrt(variance / count)))
