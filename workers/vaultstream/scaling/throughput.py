"""The throughput of each number of signers, and the number beyond which more signers add nothing: the knee.

The signers share one Postgres. Once it is the limit, another signer adds connections and no signatures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, sqrt
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from vaultstream.api.base import Amount, Natural, StatusPart
from vaultstream.scaling.observation import Lag, Observation, Share, UnixTime

MEMORY_SECONDS: Final = 900.0
"""Seconds after which a rate is only believed until it is tried again: Postgres may have become faster."""
ENOUGH_SAMPLES: Final = 3
"""Readings of a rate that show a knee below their number of signers."""
MOST_COUNTS: Final = 16
"""Maximum number of remembered rates."""
RETRY_FACTOR: Final = 1.5
"""How far beyond a knee that was seen long ago signers are tried again."""

_APART: Final = 1.25  # counts that differ by less differ in rate only by noise
_ENOUGH: Final = 0.95  # of the best rate: what is lost below it is within the noise
_AIM: Final = 0.98  # of the best rate, which fewer signers are tried for
_GAIN: Final = 0.1  # a smaller share of the proportional gain counts as none
_SOFT: Final = 0.9  # of the best rate per signer: below it, signers cost each other already
_LINEAR: Final = 0.7  # of the proportional rate: signers that reach it are worth having
_GLARING: Final = 0.35  # of the proportional rate: below it, one reading is enough
_HALF: Final = 0.5  # of the proportional rate: signers that reach it may not be all that are worth having
_WEIGHT: Final = 0.5  # of the latest sample
_OTHER_LOAD: Final = 0.15  # a rate that differs by more from the one before is that of another load
_CONFIRM_SECONDS: Final = (
    60.0  # after which the knee is believed although fewer signers were not measured again
)
_FORGET: Final = 4  # times MEMORY_SECONDS


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
    """Where more signers add nothing.

    Attributes:
        fewer: the rate of fewer signers.
        more: the rate of more signers, which does not pay for them.
        knee: signers that are enough for the best rate, as far as it is known.
    """

    fewer: Seen
    more: Seen
    knee: int

    def confirmed(self, now: float) -> bool:
        """Returns whether fewer signers were measured again after more of them: if not, all may have become slower. `now`: Unix seconds."""
        return self.fewer.at >= self.more.at or now - self.more.at >= _CONFIRM_SECONDS

    def facts(self) -> dict[str, int | float]:
        """Returns its numbers as inputs of a decision."""
        return {
            "plateauSigners": self.fewer.signers,
            "plateauRate": self.fewer.rate,
            "plateauMore": self.more.signers,
            "plateauMoreRate": self.more.rate,
            "plateauKnee": self.knee,
        }


def sample(observation: Observation, *, starting: bool) -> tuple[int, float] | None:
    """Returns how many signers are ready and their rate, if this observation says what they can sign, else None.

    It does when they and no others have signed for long enough, and none lacks work. While a signer is starting, it may sign before it
    is seen as ready. Signers without a node do not matter.

    Args:
        observation: what was observed.
        starting: whether a signer is starting.
    """
    count, rate, lag = observation.replicas.ready, observation.progress.steady_rate, observation.lag
    if starting or not rate or count == 0 or not isinstance(lag, Lag) or lag.total < 2 * count:
        return None
    return count, rate


def shortfall(seen: tuple[Seen, ...], share: Share | None, now: float) -> Seen | None:
    """Returns what many signers sign at most, if that is so little beside fewer of them that one reading shows it, while others start; else None.

    Args:
        seen: rates measured so far.
        share: what the ready signers sign at most; None: unknown.
        now: Unix seconds.
    """
    fewer = _fewer(seen, share.signers, now) if share else None
    if share is None or fewer is None:
        return None
    if share.most >= _GLARING * share.signers * fewer.rate / fewer.signers:
        return None
    return Seen(signers=share.signers, rate=share.most, samples=1, at=now)


def _fewer(seen: Sequence[Seen], count: int, now: float) -> Seen | None:
    """Returns the rate of fewer signers of which each signs most; None: it is not known."""
    fresh = [one for one in seen if one.signers * _APART <= count and now - one.at <= MEMORY_SECONDS]
    return max(fresh, key=lambda one: one.rate / one.signers, default=None)


def learned(seen: tuple[Seen, ...], count: int, rate: float, now: float) -> tuple[Seen, ...]:
    """Returns `seen` with one more reading, the latest counts only.

    A reading within 1 s of the previous one is ignored: it contains no new information. One that differs much from the
    previous ones of its count shows that the load has changed, such as the size of payloads. The other counts are then taken to have
    changed by as much, until they are tried again.
    """
    old = next((one for one in seen if one.signers == count), None)
    if old is not None and abs(now - old.at) < 1:
        return seen
    kept = [one for one in seen if one.signers != count and now - one.at <= _FORGET * MEMORY_SECONDS]
    new = Seen(signers=count, rate=rate, samples=1, at=now)
    factor = _change_of_load(old, kept, count, rate, now)
    if factor is not None:
        kept = [_under_another_load(one, factor, now) for one in kept]
    elif old is not None and now - old.at <= MEMORY_SECONDS:
        smoothed = old.rate + _WEIGHT * (rate - old.rate)
        new = Seen(signers=count, rate=smoothed, samples=min(old.samples + 1, ENOUGH_SAMPLES), at=now)
    return (*sorted(kept, key=lambda one: one.at)[-(MOST_COUNTS - 1) :], new)


def _change_of_load(
    old: Seen | None, others: list[Seen], count: int, rate: float, now: float
) -> float | None:
    """Returns by which factor all rates have changed; None: the reading agrees with the earlier ones.

    A few signers more that sign much less than a few fewer did are a change of the load, too.
    """
    if old is not None and old.rate > 0 and now - old.at <= MEMORY_SECONDS:
        factor = rate / old.rate
        return factor if abs(factor - 1) > _OTHER_LOAD else None
    near = [
        one
        for one in others
        if now - one.at <= MEMORY_SECONDS and one.signers < count <= _APART * one.signers
    ]
    nearest = max(near, key=lambda one: one.signers, default=None)
    if nearest is None or rate >= (1 - _OTHER_LOAD) * nearest.rate:
        return None
    return rate / count / (nearest.rate / nearest.signers)


def _under_another_load(one: Seen, factor: float, now: float) -> Seen:
    return one.model_copy(update={"rate": one.rate * factor, "at": min(one.at, now - MEMORY_SECONDS - 1)})


def plateau_of(seen: tuple[Seen, ...], now: float, short: Seen | None = None) -> Plateau | None:
    """Returns where more signers add nothing; None if they may still add something, or were not tried.

    Args:
        seen: rates measured so far.
        now: Unix seconds.
        short: what `shortfall` returned last: as long as the rates don't show a knee, it is a bound of it.
    """
    found = _knee_of(seen, now)
    if found is not None or short is None or now - short.at > MEMORY_SECONDS:
        return found
    fewer = _fewer(seen, short.signers, now)
    if fewer is None or fewer.rate <= 0:
        return None
    knee = _tried_knee(seen, short, fewer.rate / fewer.signers)
    return Plateau(fewer, short, knee) if knee < short.signers else None


def _tried_knee(seen: tuple[Seen, ...], short: Seen, alone: float) -> int:
    """Returns the signers to try below a shortfall: as many as sign all that was seen at the rate of one alone; then fewer, and more if those lose."""
    since = sorted((one for one in seen if one.at > short.at), key=lambda one: one.signers)
    sure = [one for one in since if one.samples >= ENOUGH_SAMPLES]
    if not sure:
        return max(1, ceil(short.rate / alone))
    best = max(one.rate for one in sure)
    enough = next(one for one in sure if one.rate >= _ENOUGH * best)
    down = max(1, ceil(_AIM * enough.rate / alone))
    if down * _APART <= enough.signers and not any(down <= one.signers < enough.signers for one in since):
        return down
    higher = any(one.signers >= _APART * enough.signers for one in sure)
    if higher or enough.rate < _HALF * alone * enough.signers:
        return enough.signers
    return round(RETRY_FACTOR * enough.signers)


def _knee_of(seen: tuple[Seen, ...], now: float) -> Plateau | None:
    """Returns where more signers add nothing, by rates that were measured.

    The fewest signers that reach the best rate are found by trying: first as many as would reach it at the rate per signer of the
    next lower count that was seen. If they do not, that count shows a lower rate per signer, and the next attempt is higher.
    """
    counts = sorted(seen, key=lambda one: one.signers)
    fresh = [one for one in counts if now - one.at <= MEMORY_SECONDS]
    tried = [one for one in fresh if one.samples >= ENOUGH_SAMPLES]
    if not tried:
        return None
    best = max(one.rate for one in tried)
    enough = next(one for one in tried if one.rate >= _ENOUGH * best)
    lower = [one for one in fresh if one.signers < enough.signers and one.rate < _ENOUGH * best]
    if lower and (found := _below(lower, enough, best)):
        return found
    more = [one for one in counts if one.samples >= ENOUGH_SAMPLES and _adds_nothing(enough, one)]
    if not more:
        return None
    if any(one in fresh for one in more):
        return Plateau(enough, next(one for one in more if one in fresh), enough.signers)
    return Plateau(enough, more[0], max(enough.signers + 1, round(RETRY_FACTOR * enough.signers)))


def _below(lower: list[Seen], enough: Seen, best: float) -> Plateau | None:
    """Returns a knee below the fewest signers that are known to be enough; None if it can't be much lower."""
    below = lower[-1]
    alone, per_signer = max(one.rate / one.signers for one in lower), below.rate / below.signers
    if per_signer <= 0 or enough.rate >= _LINEAR * per_signer * enough.signers:
        return None
    count = ceil(_AIM * best / per_signer)
    if per_signer < _SOFT * alone:  # a soft knee: by the chord between the two counts, which is surely enough
        chord = below.signers + (enough.signers - below.signers) * (_ENOUGH * best - below.rate) / (
            enough.rate - below.rate
        )
        count = ceil(sqrt(count * chord))
    if count * _APART > enough.signers:
        return None
    return Plateau(below, enough, max(count, below.signers + 1))


def _adds_nothing(fewer: Seen, more: Seen) -> bool:
    proportional = fewer.rate * (more.signers / fewer.signers - 1)
    return more.signers >= fewer.signers * _APART and more.rate - fewer.rate < _GAIN * proportional
