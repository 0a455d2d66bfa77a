"""How much a signer takes on at a time: enough to be busy while the next is on its way, and no more."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

HAND_SECONDS = 0.05
"""Of signing, that a signer takes on in one hand: round trips are paid a hand, not a batch.

It also bounds memory, for large payloads take long to hash.
"""

_HANDS = 3
"""Hands on their way at a time: one that is read, one that is signed, one that is committed."""

_WEIGHT = 0.5
"""Of the newest hand, in the average."""


@dataclass
class Pace:
    """Decides how many batches make a hand, and how many may be in hand.

    Args:
        batch_size: records a batch.
        concurrency: batches in hand at the most, whatever else there is.
    """

    batch_size: int
    concurrency: int
    _record_seconds: float | None = None
    _last: int = 1
    _share: int = field(init=False)

    def __post_init__(self) -> None:
        self._share = self.concurrency

    @property
    def share(self) -> int:
        """Batches that may be in hand: `concurrency`, or this signer's share of the keys, if they are fewer.

        Nobody hands out the shares. Who finds no key free is content with half of what it holds, and with one more after
        each hand for which there were keys enough: so signers that want the same keys come to hold about as many each.
        """
        return self._share

    def keys_were_short(self, held: int) -> None:
        """Learns that there was no free key for some batch, while `held` were in hand."""
        self._share = max(1, held // 2)

    def keys_were_enough(self) -> None:
        """Learns that there was a free key for each batch of a hand."""
        self._share = min(self.concurrency, self._share + 1)

    @property
    def hand(self) -> int:
        """Batches to take on next. One, until it is known how long they take; then no more than twice the last time."""
        if self._record_seconds is None:
            return 1
        batches = HAND_SECONDS / max(self._record_seconds * self.batch_size, 1e-9)
        return max(1, min(math.ceil(self._share / _HANDS), 2 * self._last, round(batches)))

    @property
    def ahead(self) -> int:
        """Batches that may wait for their turn to be signed, before more are taken on."""
        return self.hand

    def signed(self, batches: int, records: int, seconds: float) -> None:
        """Learns from a hand how long a record takes."""
        if not records:
            return
        each = seconds / records
        before = each if self._record_seconds is None else self._record_seconds
        self._record_seconds = _WEIGHT * each + (1 - _WEIGHT) * before
        self._last = max(batches, self._last)
