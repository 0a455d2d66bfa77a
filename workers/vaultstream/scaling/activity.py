"""What a job's signers do, from one observation to the next: their rate, and whether it describes those that run now.

The rate per signer is what was settled over the seconds in which signers were ready, in the same window: signers that came
during the window count for the part of it in which they signed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from vaultstream.scaling.observation import Progress, Share
from vaultstream.scaling.pace import LEAVING_SECONDS, PACE_SECONDS, Point, paces_of
from vaultstream.scaling.workload import RATE_WINDOW_SECONDS, Counts

STEADY_SECONDS: Final = 3.0
"""Seconds in which the same signers were ready, and only they, before their rate is theirs."""
STEADY_BATCHES: Final = 2
"""Batches that each signer has settled by then: signers that began together also settle together."""
LONGEST_MEASURE_SECONDS: Final = 60.0
"""Seconds after which a rate is taken as it is, although batches take so long that few were settled."""
_APART_SECONDS = 0.5  # between two points of the trail: events may wake the operator more often
_MOST_POINTS = 128
_EVEN = 0.4  # of the mean rate, which each part of a measurement reaches unless the database hiccuped


@dataclass(frozen=True, slots=True)
class Activity:
    """State of a job's signers that is kept from one observation to the next. Times are seconds of the caller's clock.

    Attributes:
        ready: signers that are ready; None: not observed yet.
        ready_since: since when that many are ready.
        steady_from: since when these sign, and no others.
        idle_since: since when they have had batches to sign and settled nothing; None: they are not idle.
        trail: what was seen lately, oldest first.
        batch_size: records of a batch.
    """

    ready: int | None = None
    ready_since: float = 0.0
    steady_from: float = 0.0
    idle_since: float | None = None
    trail: tuple[Point, ...] = ()
    batch_size: int = 1

    def observed(self, counts: Counts, *, ready: int, running: bool, now: float) -> Activity:
        """Returns the activity after an observation.

        Args:
            counts: of the job.
            ready: signers that are ready to sign.
            running: whether the job is in the state Running, in which they should sign.
            now: seconds of the caller's clock.
        """
        ready_since, steady_from = self.ready_since, self.steady_from
        if ready != self.ready:
            ready_since = steady_from = now
            if self.ready is not None and ready < self.ready:
                steady_from += LEAVING_SECONDS
        if counts.batches_left < ready:  # some wait for work, so the rate is not what they can sign
            steady_from = max(steady_from, now)
        idle_since = None
        if running and ready > 0 and counts.batches_left > 0 and not counts.settled_lately:
            idle_since = now if self.idle_since is None else self.idle_since
        found, busy = counts.settled + counts.records_left, counts.batches_left >= ready
        trail = _followed(self.trail, Point(now, counts.settled, ready, found, busy))
        return Activity(ready, ready_since, steady_from, idle_since, trail, self.batch_size)

    def progress(self, counts: Counts, now: float, *, expected: int | None = None) -> Progress:
        """Returns the progress that a decision uses, from counts that were observed at `now`.

        The rate is 0.0 only once signers had work and did none of it for RATE_WINDOW_SECONDS. Until then a job that
        settled nothing lately has no rate. The rate is settling for as long after the number of ready signers changed.

        Args:
            counts: of the job.
            now: seconds of the caller's clock.
            expected: records that the whole job is expected to have; None: unknown, or all are planned.
        """
        rate = counts.recent_rate
        if self.idle_since is not None and now - self.idle_since >= RATE_WINDOW_SECONDS:
            rate = 0.0
        expected_left = counts.records_left
        if not counts.planned and expected is not None:
            expected_left = max(expected_left, expected - counts.settled)
        found, (pace, pace_before) = counts.settled + counts.records_left, paces_of(self.trail)
        return Progress(
            records_left=counts.records_left if counts.planned else None,
            batches_left=counts.batches_left,
            planned=counts.planned,
            records_per_second=rate,
            rate_per_signer=self._rate_per_signer(),
            pace=pace,
            pace_before=pace_before,
            settling=now - self.ready_since < RATE_WINDOW_SECONDS,
            steady_rate=self._steady_rate(),
            most_rate=self._most_rate(),
            records_expected=expected_left,
            records_found=found,
            planning_seconds=self._planning_seconds(expected_left - counts.records_left),
        )

    def _planning_seconds(self, unplanned: int) -> float | None:
        """Seconds until so many more records are planned, by the pages of the trail; None: unknown."""
        if unplanned <= 0:
            return 0.0
        begin = self.trail[-1].at - LONGEST_MEASURE_SECONDS if self.trail else 0.0
        found = [point for point in self.trail if point.found > 0 and point.at > begin]
        pages = [after for before, after in pairwise(found) if after.found > before.found]
        if not pages:
            return None
        rate = (pages[-1].found - found[0].found) / max(pages[-1].at - found[0].at, _APART_SECONDS)
        return unplanned / rate

    def _rate_per_signer(self) -> float | None:
        """Records per second that a ready signer was busy in the window; None: none was, or nothing was settled.

        A first part without a ready signer is left out: signers sign before they are seen as ready. If signers never had work from one observation
        to the next, the highest rate between two is nearest to what they can sign.
        """
        begin = self.trail[-1].at - RATE_WINDOW_SECONDS if self.trail else 0.0
        ready = [(before, after) for before, after in pairwise(self.trail) if before.ready > 0]
        busy = [each for each in ready if each[0].busy and each[1].busy and each[1].at > begin]
        settled = sum(after.settled - before.settled for before, after in busy)
        seconds = sum(before.ready * (after.at - before.at) for before, after in busy)
        span = self.trail[-1].at - self.trail[0].at if self.trail else 0.0
        if span < STEADY_SECONDS:
            return None
        if settled > 0 and seconds > 0:
            return settled / seconds
        rates = [
            (after.settled - before.settled) / (max(before.ready, after.ready) * (after.at - before.at))
            for before, after in ready
            if after.at - before.at >= _APART_SECONDS
        ]
        return max(rates, default=0.0) or None

    def _steady_rate(self) -> float | None:
        """Records per second of the signers that are ready now; None: not measured long enough."""
        points = self._since_stall([point for point in self.trail if point.at >= self.steady_from])
        if len(points) < 2 or not self.ready:  # noqa: PLR2004 - a first and a last one
            return None
        enough = STEADY_BATCHES * self.ready * self.batch_size
        latest = points[-1]
        for point in reversed(points[:-1]):  # the latest time that is long enough
            seconds, settled = latest.at - point.at, latest.settled - point.settled
            long = seconds >= RATE_WINDOW_SECONDS or point is points[0]
            if (
                long
                and seconds >= STEADY_SECONDS
                and (settled >= enough or seconds >= LONGEST_MEASURE_SECONDS)
            ):
                return settled / seconds if settled > 0 else None
        return None

    def _since_stall(self, points: Sequence[Point]) -> Sequence[Point]:
        """Returns the points after the last time in which each signer could have settled two batches, and none did: NATS or Postgres was gone."""
        pairs = list(pairwise(points))
        settled = points[-1].settled - points[0].settled if points else 0
        busy = sum(after.at - before.at for before, after in pairs if after.settled > before.settled)
        if not settled or not self.ready:
            return points
        longest = max(STEADY_SECONDS, STEADY_BATCHES * self.ready * self.batch_size * busy / settled)
        begin, idle_from = 0, points[0].at
        for index, (before, after) in enumerate(pairs):
            if after.settled > before.settled:
                if before.at - idle_from >= longest:
                    begin = index + 1
                idle_from = after.at
        return points[begin:] if points[-1].at - idle_from < longest else ()

    def _most_rate(self) -> Share | None:
        """What the signers that were ready for the latest seconds signed at most; None: not known, or too uneven to be what they can sign.

        Signers that start may sign already, and a batch that is not settled may be nearly signed: both only make it more.
        """
        points = [point for point in self.trail if point.at >= self.trail[-1].at - RATE_WINDOW_SECONDS]
        if any(after.ready < before.ready for before, after in pairwise(points)):
            return None  # those that leave sign as well, and take their part of the database
        for begin in range(len(points) - 2, -1, -1):  # the latest time that is long enough
            first, latest = points[begin], points[-1]
            seconds, settled = latest.at - first.at, latest.settled - first.settled
            if not first.ready or not first.busy:
                return None
            if seconds >= STEADY_SECONDS and settled >= STEADY_BATCHES * first.ready * self.batch_size:
                most = (settled + first.ready * self.batch_size) / seconds
                return Share(first.ready, most) if _even(points[begin:]) else None
        return None


def _even(points: Sequence[Point]) -> bool:
    """Returns whether signers signed all the time, so that no hiccup of the database is taken for what they can sign."""
    seconds, settled = points[-1].at - points[0].at, points[-1].settled - points[0].settled
    parts = [(after.at - before.at, after.settled - before.settled) for before, after in pairwise(points)]
    return all(done * seconds >= _EVEN * settled * span for span, done in parts if span >= _APART_SECONDS)


def _followed(trail: Sequence[Point], point: Point) -> tuple[Point, ...]:
    """Returns the trail with one more point: those of the window, and one before it."""
    kept = [old for old in trail if old.at < point.at]
    if (
        len(kept) > 1
        and kept[-1].ready == point.ready == kept[-2].ready
        and point.at - kept[-2].at < _APART_SECONDS
    ):
        kept.pop()
    while len(kept) > 1 and kept[1].at <= point.at - PACE_SECONDS:
        kept.pop(0)
    return (*kept[-_MOST_POINTS:], point)
