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
"""Seconds without a change after which a rate is attributed to the current number of signers."""
MEMORY_SECONDS: Final = 900.0
"""Seconds after which a rate is forgotten: Postgres may have become faster, and another attempt is cheap."""
ENOUGH_SAMPLES: Final = 3
MOST_COUNTS: Final = 16
"""Maximum number of remembered rates."""

_APART: Final = 1.25  # counts that differ by less differ in rate only by noise
_GAIN: Final = 0.1  # a smaller share of the proportional gain counts as none
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
    """Two rates that are about equal, although `more` has more signers than `fewer`."""

    fewer: Seen
    more: Seen


def sample(observation: Observation, *, steady_since: float | None, now: float) -> tuple[int, float] | None:
    """Returns the count and its rate if this observation says the throughput of that count, else None.

    It does when all that were asked for are ready, long enough for the rate to be theirs, and none lacks work.

    Args:
        observation: what was observed.
        steady_since: when the count was changed last; None: unknown.
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
    """Returns the plateau with the fewest signers; None if more signers still sign more, or were not tried."""
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
