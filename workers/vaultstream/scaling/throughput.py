"""The throughput of each number of signers, and whether more signers still add to it.

The signers share one Postgres. Once it is the limit, another signer adds connections and no signatures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from vaultstream.api.base import Amount, Natural, StatusPart
from vaultstream.scaling.observation import Lag, Observation, UnixTime

SETTLE_SECONDS: Final = 30.0
"""A rate is believed once the count has stood for so long: before, it is part of the count before."""
MEMORY_SECONDS: Final = 900.0
"""What was seen longer ago is forgotten: Postgres may have become faster, and one more attempt is cheap."""
ENOUGH_SAMPLES: Final = 3
MOST_COUNTS: Final = 16
"""Counts of signers that are remembered at most."""

_APART: Final = 1.25  # counts that differ by less differ in rate only by noise
_GAIN: Final = 0.1  # less than this part of a proportional gain is none
_WEIGHT: Final = 0.5  # of the latest sample


def _one_or_more(signers: int) -> int:
    if signers < 1:
        raise ValueError("no rate is seen without a signer")
    return signers


class Seen(StatusPart):
    """The rate measured at one number of signers."""

    signers: Annotated[Natural, AfterValidator(_one_or_more)]
    """Number of signers."""
    rate: Annotated[Amount, Field(strict=True)]
    """Records per second of all signers together, smoothed."""
    samples: Natural
    """Number of readings in the rate."""
    at: UnixTime
    """When the latest reading was made, in seconds since 1970."""


@dataclass(frozen=True, slots=True)
class Plateau:
    """`more` signs about what `fewer` signs already, though it has more signers."""

    fewer: Seen
    more: Seen


def sample(observation: Observation, *, steady_since: float | None, now: float) -> tuple[int, float] | None:
    """Returns the count and its rate if this observation says the throughput of that count, else None.

    It does when all that were asked for are ready, long enough for the rate to be theirs, and none lacks work.

    Args:
        observation: what was observed.
        steady_since: when the count was changed last; None: not within memory.
        now: Unix seconds.
    """
    count, rate = observation.replicas.current, observation.progress.records_per_second
    lag = observation.lag
    if not rate or count == 0 or observation.replicas.ready != count:
        return None
    if not isinstance(lag, Lag) or lag.total < 2 * count:
        return None
    if steady_since is not None and now - steady_since < SETTLE_SECONDS:
        return None
    return count, rate


def learned(seen: tuple[Seen, ...], count: int, rate: float, now: float) -> tuple[Seen, ...]:
    """Returns `seen` with one more reading, without what is too old, the latest counts only.

    A reading within 1 s of the previous one is ignored: it contains no new information.
    """
    if any(old.signers == count and abs(now - old.at) < 1 for old in seen):
        return seen
    kept = [old for old in seen if old.signers != count and now - old.at <= MEMORY_SECONDS]
    new = Seen(signers=count, rate=rate, samples=1, at=now)
    for old in seen:
        if old.signers == count and now - old.at <= MEMORY_SECONDS:
            smoothed = old.rate + _WEIGHT * (rate - old.rate)
            samples = min(old.samples + 1, ENOUGH_SAMPLES)
            new = Seen(signers=count, rate=smoothed, samples=samples, at=now)
    return (*sorted(kept, key=lambda old: old.at)[-(MOST_COUNTS - 1) :], new)


def plateau_of(seen: tuple[Seen, ...], now: float) -> Plateau | None:
    """Returns the plateau that begins with the fewest signers; None: more signers still add, or nobody tried."""
    believed = sorted(
        (one for one in seen if one.samples >= ENOUGH_SAMPLES and now - one.at <= MEMORY_SECONDS),
        key=lambda one: one.signers,
    )
    for index, fewer in enumerate(believed):
        for more in believed[index + 1 :]:
            proportional = fewer.rate * (more.signers / fewer.signers - 1)
            if more.signers >= fewer.signers * _APART and more.rate - fewer.rate < _GAIN * proportional:
                return Plateau(fewer, more)
    return None
