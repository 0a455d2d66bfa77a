"""A job's work, as decisions use it: its counts, its whole lag, and the batches that are expected."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from vaultstream.scaling.observation import Lag, LagUnknown
from vaultstream.scaling.reasons import Reason

RATE_WINDOW_SECONDS: Final = 20.0
"""Seconds over which the rate of a running job is measured."""
POD_STARTUP_SECONDS: Final = 10.0
"""Assumed seconds from requesting a pod until it signs."""
POD_DRAIN_SECONDS: Final = 2.0
"""Assumed seconds from the last record signed until a job on Kubernetes counts as ended."""
LEAST_WINDOW_SECONDS: Final = 2.0
"""A rate measured over fewer seconds is too random to use."""

SOONEST_SECONDS: Final = 1.0
"""Seconds between two looks at a job at least, unless one of its children changes."""


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
        signed: records that have a signature.
        dead: records in the dead letters.
    """

    planned: bool
    records_left: int
    batches_left: int
    settled_lately: int
    window_seconds: float | None
    signed: int = field(default=0, kw_only=True)
    dead: int = field(default=0, kw_only=True)

    @property
    def settled(self) -> int:
        """Records that are done: with a signature or in the dead letters."""
        return self.signed + self.dead

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


def wait_for_records(age: float) -> float:
    """Returns the seconds until a job that has no records yet is looked at again: the longer they take to come, the longer they may still take.

    Args:
        age: seconds since the job was created.
    """
    return max(SOONEST_SECONDS, age / 10)


def expected_batches(rows: int, batch_size: int) -> int:
    """Returns the batches that a table of about so many rows will have: ⌈rows / batch_size⌉."""
    return -(-rows // batch_size)


def unplanned_batches(counts: Counts, *, expected: int | None, batch_size: int) -> int:
    """Returns the batches that a table is expected to have beyond those that are planned; 0 if that is unknown.

    Args:
        counts: of the job.
        expected: records that the whole job is expected to have; None: unknown.
        batch_size: records of a batch.
    """
    if counts.planned or expected is None:
        return 0
    return expected_batches(max(0, expected - counts.settled - counts.records_left), batch_size)


def expected_lag(counts: Counts, *, expected: int, batches_done: int) -> int:
    """Returns the batches still to be signed: while the job is being planned, those expected count as well.

    Args:
        counts: of the job.
        expected: batches that the whole job is expected to have; 0: unknown.
        batches_done: batches that are signed already.
    """
    return counts.batches_left if counts.planned else max(counts.batches_left, expected - batches_done)


def whole_lag(
    lag: Lag | LagUnknown | None,
    *,
    batches_left: int | None,
    unpublished: int,
    published: bool,
    unplanned: int = 0,
) -> Lag | LagUnknown:
    """Returns the lag including the batches that are not published to JetStream yet, which only Postgres knows.

    Args:
        lag: of the job's consumer in JetStream; None: it was not read.
        batches_left: batches planned so far that are still to be signed; None: unknown.
        unpublished: those of them that are not published yet.
        published: whether any batch was published. Before that there may be no consumer.
        unplanned: batches that the table is expected to have beyond those that are planned. They count once the first are planned:
            before that, signers would wait for a records worker that may never work.
    """
    if not published and not batches_left:
        unplanned = 0
    match lag:
        case Lag():
            if batches_left is not None:  # read at a different time: count no batch twice
                given = lag.batches_pending + lag.batches_in_flight
                unpublished = min(unpublished, max(0, batches_left - given))
            return replace(lag, batches_unpublished=unpublished + unplanned)
        case LagUnknown(state=Reason.CONSUMER_MISSING) if not published:
            return Lag(0, batches_unpublished=unpublished + unplanned)
        case None:
            return Lag(0, batches_unpublished=unpublished + unplanned)
    return lag
