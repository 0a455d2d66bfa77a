"""Failed readings of a job's lag, counted in a row: at most one per polling interval, however often it is read.

Why they failed may change: a NATS that comes and goes is unreachable at one reading and has no consumer at the next. All of them
count, as in KEDA, or the fallback would never be reached.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from vaultstream.scaling.observation import LagUnknown
from vaultstream.scaling.reasons import LagProblem

_SHARE = 0.9  # of an interval: a reading that comes a little early still counts


@dataclass(frozen=True, slots=True)
class Silence:
    """The failed readings since the last one that succeeded.

    Attributes:
        unknown: the lag that could not be read, as a decision uses it.
        counted_at: when the latest reading was made that counts, in seconds of the caller's clock.
    """

    unknown: LagUnknown
    counted_at: float


def failed_again(before: Silence | None, state: LagProblem, *, interval: float, now: float) -> Silence:
    """Returns the silence after one more failed reading.

    Args:
        before: the silence so far; None: the reading before this one succeeded.
        state: why this one failed.
        interval: the polling interval, in seconds.
        now: seconds of the caller's clock.
    """
    if before is None:
        return Silence(LagUnknown(state, since=now), now)
    unknown = replace(before.unknown, state=state)
    if now - before.counted_at < _SHARE * interval:
        return replace(before, unknown=unknown)
    return Silence(replace(unknown, failures=unknown.failures + 1), now)
