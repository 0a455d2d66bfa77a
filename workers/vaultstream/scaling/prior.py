"""What earlier jobs of the same kind have shown: what a number of signers signs together, and how long signers take to start and to drain.

A job's own measurements replace it as soon as there are any. So a wrong prior costs at most the first step: what it says is used only
up to a few times the signers that were seen, and what is old or was measured once is not used.
"""

from __future__ import annotations

from dataclasses import replace
from statistics import median
from typing import Annotated, Final

from pydantic import Field

from vaultstream.api.base import Natural, StatusPart
from vaultstream.scaling.curve import LearnedCurve, fit_curve
from vaultstream.scaling.history import History, Span
from vaultstream.scaling.observation import Observation
from vaultstream.scaling.throughput import ENOUGH_SAMPLES, MEMORY_SECONDS, Seen

LONGEST_AGE_SECONDS: Final = 30 * 86_400.0
"""Seconds after which a measurement of an earlier job is not used: machines, payloads and versions change."""
REACH: Final = 4
"""How many times the most signers that were seen an earlier job says something about."""
MOST_RATES: Final = 16
"""Maximum number of counts whose rates are kept."""
MOST_JOBS: Final = 20
"""Maximum number of jobs whose starts and drains are kept: the latest."""

_WEIGHT: Final = 0.5  # of the latest measurement of a count
_OTHER_MACHINE: Final = 1.5  # times more or less than before: what was measured before is of another machine


class Lasted(StatusPart):
    """How long something took in one job: the median, if it happened more than once."""

    job: Natural
    """Number of the job."""
    seconds: Span
    """How long it took."""


class Prior(StatusPart):
    """What jobs of one kind have shown so far."""

    seen: Annotated[tuple[Seen, ...], Field(max_length=MOST_RATES)] = ()
    """Rates at each number of signers."""
    starts: Annotated[tuple[Lasted, ...], Field(max_length=MOST_JOBS)] = ()
    """Starts of signers by job, oldest first."""
    drains: Annotated[tuple[Lasted, ...], Field(max_length=MOST_JOBS)] = ()
    """Times from the last signature until the job had ended, by job, oldest first."""

    def learned_curve(self, now: float) -> LearnedCurve | None:
        """Returns what signers sign together; None if too little is known. `now`: Unix seconds."""
        fresh = self._fresh(now)
        curve = fit_curve([(one.signers, one.rate, float(max(1, one.samples))) for one in fresh])
        return LearnedCurve(curve, REACH * max(one.signers for one in fresh)) if curve else None

    def start(self, assumed: float) -> float:
        """Returns the usual seconds of a start, the median over jobs; `assumed` if none was seen."""
        return median(one.seconds for one in self.starts) if self.starts else assumed

    def drain(self, assumed: float) -> float:
        """Returns the usual seconds of a drain, the median over jobs; `assumed` if none was seen."""
        return median(one.seconds for one in self.drains) if self.drains else assumed

    def applied(self, observation: Observation, now: float) -> Observation:
        """Returns an observation that knows what earlier jobs have shown. `now`: Unix seconds."""
        timing = observation.timing
        known = replace(
            timing,
            startup_seconds=self.start(timing.startup_seconds),
            drain_seconds=self.drain(timing.drain_seconds),
        )
        return replace(observation, timing=known, learned=self.learned_curve(now))

    def learned(self, history: History, job: int, now: float, *, drain: float | None = None) -> Prior:
        """Returns the prior after a job. The same history again changes nothing.

        Args:
            history: of the job.
            job: its number.
            now: Unix seconds.
            drain: seconds from its last signature until it had ended; None: unknown, or it has not ended.
        """
        lately = [one for one in history.seen if one.rate > 0 and now - one.at <= MEMORY_SECONDS]
        known = {one.signers: one for one in self._fresh(now)}
        new = [
            one for one in lately if one.signers not in known or one.at > known[one.signers].at
        ]  # others were merged before
        if new and (factor := self._factor(new, now)):
            known = {n: one.model_copy(update={"rate": one.rate * factor}) for n, one in known.items()}
        for one in new:
            if (old := known.get(one.signers)) is not None:
                rate = old.rate + _WEIGHT * (one.rate - old.rate)
                samples = min(ENOUGH_SAMPLES, old.samples + one.samples)
                known[one.signers] = one.model_copy(update={"rate": rate, "samples": samples})
            else:
                known[one.signers] = one
        start = median(history.starts) if history.starts else None
        return self.model_copy(
            update={
                "seen": tuple(sorted(known.values(), key=lambda one: one.at)[-MOST_RATES:]),
                "starts": _with(self.starts, job, start),
                "drains": _with(self.drains, job, drain),
            }
        )

    def moved(self, seconds: float) -> Prior:
        """Returns the prior as of a clock that shows so many seconds more."""
        seen = tuple(one.model_copy(update={"at": one.at + seconds}) for one in self.seen)
        return self.model_copy(update={"seen": seen})

    def _fresh(self, now: float) -> list[Seen]:
        return [one for one in self.seen if now - one.at <= LONGEST_AGE_SECONDS]

    def _factor(self, new: list[Seen], now: float) -> float | None:
        """Returns by which factor another machine is faster; None: it is the same one, as far as can be seen.

        Only counts between those that were seen say so: beyond them, another rate is one of the database.
        """
        learned, counts = self.learned_curve(now), [one.signers for one in self._fresh(now)]
        between = [one for one in new if counts and min(counts) <= one.signers <= max(counts)]
        if learned is None or not between:
            return None
        factor = median(one.rate / learned.curve(one.signers) for one in between)
        return None if 1 / _OTHER_MACHINE <= factor <= _OTHER_MACHINE else factor


def _with(known: tuple[Lasted, ...], job: int, seconds: float | None) -> tuple[Lasted, ...]:
    if seconds is None:
        return known
    others = tuple(one for one in known if one.job != job)
    return (*others, Lasted(job=job, seconds=min(max(0.0, seconds), 120.0)))[-MOST_JOBS:]
