"""Batches that JetStream has delivered, that nobody signs, and that it does not deliver again."""

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
    """Whether a job's deliveries are stuck: signers wait for messages, all that there are were delivered, and no batch is settled.

    A reader of the consumer may have put off a delivery for as long as it likes (a negative acknowledgment with a delay), and left.

    Attributes:
        since: when that began, on the monotonic clock; None: it is not so.
        pending: batches that were not settled then.
    """

    since: float | None = None
    pending: int = 0

    def observed(self, lag: ConsumerLag, pending: int, *, max_ack_pending: int, now: float) -> StuckWatch:
        """Returns the state after reading the lag and the number of pending batches in Postgres."""
        all_delivered = lag.ack_pending > 0 and (lag.pending == 0 or lag.ack_pending >= max_ack_pending)
        if not (all_delivered and lag.waiting):
            return StuckWatch()
        if self.since is None or pending != self.pending:
            return StuckWatch(now, pending)
        return self

    def stuck(self, now: float, *, longest_backoff: float) -> bool:
        """Returns whether it has lasted too long; a batch that failed may wait for `longest_backoff` seconds first."""
        return self.since is not None and now - self.since >= STUCK_SECONDS + longest_backoff
