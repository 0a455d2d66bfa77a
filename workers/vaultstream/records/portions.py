"""Which payloads are read at a time: only as many as fit into a fixed number of bytes, whatever their sizes.

A read has a cap: a payload that is longer stays in the database, and the read returns its size. Records times cap is the most
that a read can return, before anything is known about them. Payloads over the cap are read afterwards, by their sizes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

PORTION_BYTES = 16 * 1024 * 1024
"""The most bytes of payloads in one read, unless a single payload is longer.

Large enough that a group of batches with payloads under 4 KiB is one read; small enough that a signer with two of them in
memory, and the driver's copies, needs half of the 256 MiB that its pod has by default.
"""

_WEIGHT = 0.5
"""Weight of the newest read in the average size."""


class PayloadSizes:
    """The average size of a job's payloads, from those read recently."""

    def __init__(self) -> None:
        self._mean = 0.0

    def note(self, payloads: int, total: int) -> None:
        """Records how many payloads a read found, and their total size in bytes."""
        if payloads:
            mean = total / payloads
            self._mean = _WEIGHT * mean + (1 - _WEIGHT) * (self._mean or mean)

    @property
    def usual(self) -> int:
        """Twice the average: at most half of the payloads are longer (Markov's inequality). 0: nothing is known."""
        return int(2 * self._mean)


@dataclass(frozen=True)
class Portion:
    """One read: the records wanted of each batch, by the batch's place in its group, and the longest payload to return."""

    wanted: dict[int, Sequence[Any]]
    cap: int

    @property
    def most_bytes(self) -> int:
        """The most bytes of payloads that this read can return."""
        return sum(map(len, self.wanted.values())) * self.cap


class Unread:
    """The records of a group of batches that are still to be read.

    Args:
        planned: the ids of each batch.
        usual: the size in bytes that most payloads do not exceed; 0: unknown.
        limit: the largest payload allowed, in bytes.
    """

    def __init__(self, planned: Sequence[Sequence[Any]], *, usual: int, limit: int) -> None:
        records = sum(map(len, planned))
        self._limit = limit
        self._cap = min(limit, max(usual, PORTION_BYTES // max(records, 1)))
        self._planned = [(place, ids) for place, ids in enumerate(planned) if len(ids)]
        self._long: list[tuple[int, Any, int]] = []
        self._deferred: set[tuple[int, Any]] = set()

    def __bool__(self) -> bool:
        return bool(self._planned or self._long)

    def take(self) -> Portion:
        """Returns what to read next; never more than PORTION_BYTES, except for one payload that is longer."""
        if not self._planned:
            return self._take_long()
        room = max(1, PORTION_BYTES // self._cap)
        wanted: dict[int, Sequence[Any]] = {}
        while self._planned and room:
            place, ids = self._planned.pop(0)
            wanted[place] = ids[:room]
            if len(ids) > room:
                self._planned.insert(0, (place, ids[room:]))
            room -= len(wanted[place])
        return Portion(wanted, self._cap)

    def defer(self, place: int, sized: Iterable[tuple[Any, int]]) -> None:
        """Takes back records of a batch whose payloads were over the cap, with their sizes.

        A payload that has grown since its size was known is read as if it were of the largest size.
        """
        for record_id, size in sized:
            again = (place, record_id) in self._deferred
            self._deferred.add((place, record_id))
            self._long.append((place, record_id, self._limit if again else size))

    def _take_long(self) -> Portion:
        self._long.sort(key=lambda each: each[2])
        cap = self._long[-1][2]
        room = max(1, PORTION_BYTES // cap)
        taken, self._long = self._long[-room:], self._long[:-room]
        wanted: dict[int, list[Any]] = {}
        for place, record_id, _ in taken:
            wanted.setdefault(place, []).append(record_id)
        return Portion(dict(wanted), cap)
