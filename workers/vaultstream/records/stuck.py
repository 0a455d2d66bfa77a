"""Batches of which JetStream delivers none to the signers that wait for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from vaultstream.bus.records import ConsumerLag

STUCK_SECONDS: Final = 300.0
"""How long a batch may take from its delivery to its end, in seconds: longer than a read of it, which Postgres cancels after two minutes,
and a few redeliveries."""


@dataclass(frozen=True, slots=True)
class StuckWatch:
    """Whether a job's deliveries are stuck: signers wait for messages, there are some, and no batch is settled.

    A reader of the consumer may have put off a delivery for as long as it likes (a negative acknowledgment with a delay), or have
    asked for all of them in advance, and left.

    Attributes:
        since: when that began, on the monotonic clock; None: it is not so.
        pending: batches that were not settled then.
    """

    since: float | None = None
    pending: int = 0

    def observed(self, lag: ConsumerLag, pending: int, *, now: float) -> StuckWatch:
        """Returns the state after reading the lag and the number of pending batches in Postgres."""
        if not (lag.total and lag.waiting):
            return StuckWatch()
        if self.since is None or pending != self.pending:
            return StuckWatch(now, pending)
        return self

    def stuck(self, now: float, *, longest_backoff: float) -> bool:
        """Returns whether it has lasted too long; a batch that failed may wait for `longest_backoff` seconds first."""
        return self.since is not None and now - self.since >= STUCK_SECONDS + longest_backoff
