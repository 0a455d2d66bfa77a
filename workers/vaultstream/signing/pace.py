"""How much a signer takes on at a time: just enough to be busy until the next batches arrive."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

GROUP_SECONDS = 0.05
"""Seconds of signing in one group of batches: a round trip is paid once per group, not per batch.

It also bounds memory, because large payloads take long to hash.
"""

_GROUPS = 2
"""Groups in flight at a time: one is read and signed, one is committed. What a group costs by itself is paid less often than with more."""

_GROWTH = 8
"""How many times as large as the largest one a group may be. A group that costs too much for its size is soon over, and teaches."""

_WEIGHT = 0.5
"""Weight of the newest group in the average."""


@dataclass
class Pace:
    """Decides how many batches make a group, and how many may be in flight.

    Args:
        batch_size: records per batch.
        concurrency: batches in flight, at most.
    """

    batch_size: int
    concurrency: int
    _record_seconds: float | None = None
    _last: int = 1
    _share: int = field(init=False)
    _idle: bool = False
    """Whether it held no key when it last found none."""

    def __post_init__(self) -> None:
        self._share = self.concurrency

    @property
    def share(self) -> int:
        """Batches that may be in flight: `concurrency`, or this signer's share of the keys if that is fewer.

        Nobody assigns the shares. A signer that finds no free key gives up an eighth of its share, and adds one after each group
        for which there were enough keys, so signers that compete for keys come to hold about as many each. One that held no key at all
        has lost its share, and doubles it with each group until a key is missing again: by then all keys may be free.
        """
        return self._share

    def keys_were_short(self, held: int) -> None:
        """Records that there was no free key for some batch while `held` batches were in flight."""
        self._share = max(1, held * 7 // 8)
        self._idle = held == 0

    def keys_were_enough(self) -> None:
        """Records that there was a free key for each batch of a group."""
        self._share = min(self.concurrency, self._share * 2 if self._idle else self._share + 1)

    @property
    def group(self) -> int:
        """Batches to take on next: one until their time is known, then at most `_GROWTH` times as many as ever before."""
        if self._record_seconds is None:
            return 1
        batches = GROUP_SECONDS / max(self._record_seconds * self.batch_size, 1e-9)
        return max(1, min(math.ceil(self._share / _GROUPS), _GROWTH * self._last, round(batches)))

    @property
    def least(self) -> int:
        """How many of them there must be room for. After a share became smaller, room for all comes only once nothing is in flight."""
        return math.ceil(self.group * 3 / 4)

    @property
    def ahead(self) -> int:
        """Batches that may wait to be signed before more are taken on."""
        return self.group

    def signed(self, batches: int, records: int, seconds: float) -> None:
        """Records how long a group took, in seconds of processor time."""
        if not records:
            return
        each = seconds / records
        before = each if self._record_seconds is None else self._record_seconds
        self._record_seconds = _WEIGHT * each + (1 - _WEIGHT) * before
        self._last = max(batches, self._last)
