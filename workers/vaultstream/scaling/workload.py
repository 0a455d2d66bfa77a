"""A job's work and its rate, as decisions use them: rate, settling, expected batches.

State between two observations is passed in and returned.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from vaultstream.scaling.observation import Lag, LagUnknown, Progress
from vaultstream.scaling.reasons import Reason

RATE_WINDOW_SECONDS: Final = 20.0
"""Seconds over which the rate of a running job is measured."""
POD_STARTUP_SECONDS: Final = 10.0
"""Assumed seconds from requesting a pod until it signs."""
POD_DRAIN_SECONDS: Final = 2.0
"""Assumed seconds from the last record signed until a job on Kubernetes counts as ended."""
LEAST_WINDOW_SECONDS: Final = 2.0
"""A rate measured over fewer seconds is too random to use."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts of a job, read at one moment.

    Attributes:
        planned: all records were found.
        records_left: records found so far that are neither signed nor dead.
        batches_left: batches planned so far that are still to be signed.
        settled_lately: records that were signed or became dead letters in the window.
        window_seconds: length of the window: RATE_WINDOW_SECONDS, or less if the first batch was settled later. None: no batch
            was settled yet.
    """

    planned: bool
    records_left: int
    batches_left: int
    settled_lately: int
    window_seconds: float | None

    @property
    def recent_rate(self) -> float | None:
        """Records settled per second in the window. None: nothing was settled, or the window is shorter than LEAST_WINDOW_SECONDS.

        Only `Activity` knows whether signers had work that they did not do, so that the rate is 0.
        """
        if (
            not self.settled_lately
            or self.window_seconds is None
            or self.window_seconds < LEAST_WINDOW_SECONDS
        ):
            return None
        return self.settled_lately / self.window_seconds


@dataclass(frozen=True, slots=True)
class Activity:
    """State of a job's signers that is kept from one observation to the next. Times are seconds of the caller's clock.

    Attributes:
        ready: signers that are ready; None: not observed yet.
        ready_since: since when that many are ready.
        idle_since: since when they have had batches to sign and settled nothing; None: they are not idle.
    """

    ready: int | None = None
    ready_since: float = 0.0
    idle_since: float | None = None

    def observed(self, counts: Counts, *, ready: int, running: bool, now: float) -> Activity:
        """Returns the activity after an observation.

        Args:
            counts: of the job.
            ready: signers that are ready to sign.
            running: whether the job is in the state Running, in which they should sign.
            now: seconds of the caller's clock.
        """
        ready_since = self.ready_since if ready == self.ready else now
        idle_since = None
        if running and ready > 0 and counts.batches_left > 0 and not counts.settled_lately:
            idle_since = now if self.idle_since is None else self.idle_since
        return Activity(ready, ready_since, idle_since)

    def progress(self, counts: Counts, now: float) -> Progress:
        """Returns the progress that a decision uses, from counts that were observed at `now`.

        The rate is 0.0 only once signers had work and did none of it for RATE_WINDOW_SECONDS. Until then a job that
        settled nothing lately has no rate. The rate is settling for as long after the number of ready signers changed.
        """
        rate = counts.recent_rate
        if self.idle_since is not None and now - self.idle_since >= RATE_WINDOW_SECONDS:
            rate = 0.0
        return Progress(
            records_left=counts.records_left if counts.planned else None,
            batches_left=counts.batches_left,
            planned=counts.planned,
            records_per_second=rate,
            settling=now - self.ready_since < RATE_WINDOW_SECONDS,
        )


def expected_batches(rows: int, batch_size: int) -> int:
    """Returns the batches that a table of about so many rows will have: ⌈rows / batch_size⌉."""
    return -(-rows // batch_size)


def expected_lag(counts: Counts, *, expected: int, batches_done: int) -> int:
    """Returns the batches still to be signed: while the job is being planned, those expected count as well.

    Args:
        counts: of the job.
        expected: batches that the whole job is expected to have; 0: unknown.
        batches_done: batches that are signed already.
    """
    return counts.batches_left if counts.planned else max(counts.batches_left, expected - batches_done)


def whole_lag(
    lag: Lag | LagUnknown | None, *, batches_left: int | None, unpublished: int, published: bool
) -> Lag | LagUnknown:
    """Returns the lag including the batches that are not published to JetStream yet, which only Postgres knows.

    Args:
        lag: of the job's consumer in JetStream; None: it was not read.
        batches_left: batches planned so far that are still to be signed; None: unknown.
        unpublished: those of them that are not published yet.
        published: whether any batch was published. Before that there may be no consumer.
    """
    match lag:
        case Lag():
            if batches_left is not None:  # read at a different time: count no batch twice
                given = lag.batches_pending + lag.batches_in_flight
                unpublished = min(unpublished, max(0, batches_left - given))
            return replace(lag, batches_unpublished=unpublished)
        case LagUnknown(state=Reason.CONSUMER_MISSING) if not published:
            return Lag(0, batches_unpublished=unpublished)
        case None:
            return Lag(0, batches_unpublished=unpublished)
    return lag
