"""The batches that signers of this process take on, and their ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from support.signer import Bench
from vaultstream.signing import hold
from vaultstream.signing.batch import Batch


@dataclass
class Deliveries:
    """The batches that signers of this process took on, and how often each was acknowledged or returned."""

    taken: list[Batch] = field(default_factory=list)
    ended: Counter[Batch] = field(default_factory=Counter)
    some_stay: bool = False
    """Whether a test leaves batches in flight on purpose."""


@pytest.fixture(autouse=True)
def deliveries(monkeypatch: pytest.MonkeyPatch) -> Iterator[Deliveries]:
    """Whatever disturbs a signer: each batch that it took on ends exactly once."""
    seen = Deliveries()
    admit = hold.Hold.admit

    def admitted(own: hold.Hold, fetched: Iterable[Batch]) -> list[Batch]:
        batches = admit(own, fetched)
        seen.taken += batches
        return batches

    def counted(end: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        async def counting(ended: Batch | Sequence[Batch], **delay: float) -> None:
            seen.ended.update([ended] if isinstance(ended, Batch) else ended)
            await end(ended, **delay)

        return counting

    monkeypatch.setattr(hold.Hold, "admit", admitted)
    monkeypatch.setattr(hold, "ack", counted(hold.ack))
    monkeypatch.setattr(hold, "nak", counted(hold.nak))
    yield seen
    assert seen.taken
    assert [batch for batch in seen.taken if seen.ended[batch] > 1] == []
    left = [batch for batch in seen.taken if batch.settlement is None or not seen.ended[batch]]
    assert bool(left) == seen.some_stay, left


def payloads(count: int) -> dict[Any, bytes]:
    return {n: f"payload of {n}".encode() for n in range(1, count + 1)}


async def outcomes(bench: Bench) -> list[str]:
    rows = await bench.db.fetch(
        "SELECT l.outcome FROM vaultstream.leases l JOIN vaultstream.keys k USING (key_no) WHERE k.job_no = $1",
        bench.job.job_no,
    )
    return sorted(row["outcome"] for row in rows)
