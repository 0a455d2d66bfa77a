"""Leases on keys and the batches signed under them: claimed, renewed, released, committed."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from vaultstream.crypto.rows import HEAD_BYTES
from vaultstream.store.source_pool import altered
from vaultstream.store.sql import arguments, query

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import asyncpg

    from vaultstream.crypto.rows import Rows
    from vaultstream.proof.dsse import StatementEnvelope
    from vaultstream.store.database import Connection
    from vaultstream.store.source_pool import SourceState

# Keeps counting while the machine sleeps, where the system has such a clock: a lease expires while a laptop is closed.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

SAFETY_FACTOR = 0.9
"""A holder uses only this fraction of its lease; the rest covers clocks that run at different speeds."""


def lease_clock() -> float:
    """Returns seconds on the holder's monotonic clock."""
    return time.clock_gettime(_CLOCK)


@dataclass(frozen=True)
class DatabaseClock:
    """Postgres's clock as a holder knows it: what it showed in an answer, and when that came on the holder's own clock."""

    shown: datetime
    came: float

    def now(self) -> datetime:
        """Returns a time that Postgres's clock has passed, and by how much is small: the way of the answer, and a share of what
        has gone by since, in case the holder's clock is fast.
        """
        return self.shown + timedelta(seconds=(lease_clock() - self.came) * SAFETY_FACTOR)


@dataclass
class Lease:
    """One lease of one key. The fence checks `(key_no, epoch)` and the holder.

    The deadline counts from when the lease was *requested*, on the holder's own clock. It therefore always passes
    before Postgres leases the key to another holder.
    """

    key_no: int
    key_id: str
    epoch: int
    deadline: float
    holder: str
    clock: DatabaseClock
    lost: bool = field(default=False, compare=False)

    @property
    def remaining(self) -> float:
        """Seconds for which the holder may still use the key; 0 or less: it may not."""
        return 0.0 if self.lost else self.deadline - lease_clock()

    def holds_at(self, now: float) -> bool:
        """Whether the holder may use the key at a time by `lease_clock`."""
        return self.deadline > now and not self.lost


class BatchRow(NamedTuple):
    """A pending batch: which records it covers."""

    batch_no: int
    records: int
    first_id: str
    last_id: str
    ids: list[str] | None
    """None: every integer from first_id to last_id."""


class Claim(NamedTuple):
    """A pending batch, and the key leased for it; None: no key was free, or it waits."""

    batch: BatchRow
    lease: Lease | None
    alone: bool
    """With a lease: the holder is leased nothing else meanwhile. Without one: the batch waits because of such a batch."""


_EXPIRED, _DEAD = "VS001", "VS002"
"""Codes of the notices in which `functions/expire_leases.sql` reports how many leases and records it ended."""


async def claim_batches(
    connection: Connection,
    job_no: int,
    holder: str,
    batch_nos: Sequence[int],
    *,
    seconds: float,
    expired: Callable[[int], object] = lambda _: None,
    dead: Callable[[int], object] = lambda _: None,
) -> list[Claim]:
    """Leases a key for each of the given batches that is still pending; other batches are omitted.

    Args:
        connection: to the writer.
        job_no: the job.
        holder: who leases; the same string must renew, release and commit.
        batch_nos: batches that were delivered.
        seconds: how long each lease holds.
        expired: called with the number of expired leases of any holder; not called if there are none.
        dead: called with the number of records that became dead letters because their signers were lost, if there are any.
    """

    def heard(_: object, message: asyncpg.PostgresLogMessage) -> None:
        if message.sqlstate == _EXPIRED:
            expired(int(message.message))
        elif message.sqlstate == _DEAD:
            dead(int(message.message))

    deadline = lease_clock() + seconds * SAFETY_FACTOR
    connection.add_log_listener(heard)
    try:
        rows = await connection.fetch(query("claim_batches"), job_no, holder, list(batch_nos), seconds)
    finally:
        connection.remove_log_listener(heard)
    if not rows:
        return []
    # All leases of an answer have begun when it has its first row.
    clock = DatabaseClock(rows[0]["answered_at"], lease_clock())
    return [
        Claim(
            BatchRow(batch_no, records, first_id, last_id, ids),
            None if key_no is None else Lease(key_no, key_id, epoch, deadline, holder, clock),
            alone,
        )
        for batch_no, records, first_id, last_id, ids, key_no, key_id, epoch, alone, _ in rows
    ]


_NO_EPOCH = 0
"""No lease has this epoch."""


async def renew_leases(
    connection: Connection, holder: str, leases: Sequence[Lease], *, seconds: float
) -> list[Lease]:
    """Extends leases and moves their deadlines. Marks leases that are no longer held as lost, and returns those.

    A lease whose row is locked, for example by its own commit, stays as it is until the next renewal.
    """
    deadline = lease_clock() + seconds * SAFETY_FACTOR
    rows = await connection.fetch(
        query("renew_keys"),
        holder,
        [lease.key_no for lease in leases],
        [lease.epoch for lease in leases],
        seconds,
    )
    answered = {row["key_no"]: row["epoch"] for row in rows}
    lost = []
    for lease in leases:
        epoch = answered.get(lease.key_no, _NO_EPOCH)  # another one: this holder leased the key again since
        if epoch == lease.epoch:
            lease.deadline = deadline
        elif epoch is not None:
            lease.lost = True
            lost.append(lease)
    return lost


async def release_leases(connection: Connection, holder: str, leases: Sequence[Lease]) -> None:
    """Releases keys without a batch; they move to the tail of the LRU order."""
    await connection.execute(
        query("release_keys"), holder, [lease.key_no for lease in leases], [lease.epoch for lease in leases]
    )


@dataclass(frozen=True)
class DeadRecord:
    """A record that can't be signed, and why: one word and a sentence."""

    record_id: Any
    reason: str
    message: str


@dataclass
class SignedBatch:
    """A batch to commit."""

    batch_no: int
    lease: Lease
    record_ids: list[Any]
    rows: Rows
    """One row for each id, in the same order."""
    dead: list[DeadRecord] = field(default_factory=list)
    statement: StatementEnvelope | None = None
    """None only if no record is signed; or for a job from before version 12 of the schema."""
    read_of: SourceState | None = None
    """Of which relation, in which state, its records were read; None: not checked."""

    def note_read(self, state: SourceState | None) -> None:
        """Notes of what a part of its records was read.

        Raises:
            SourceAlteredError: the parts were read of a relation in different states.
        """
        if self.read_of is not None and state is not None and state != self.read_of:
            raise altered(state.relation)
        self.read_of = state or self.read_of


COMMITTED, FENCED, SUPERSEDED = "committed", "fenced", "superseded"


async def commit_batches(
    connection: Connection, job_no: int, holder: str, batches: Sequence[SignedBatch], *, id_type: str
) -> list[str]:
    """Commits batches in one transaction and one round trip, each under the fence of its lease.

    The rows of all batches must have one width.

    Returns:
        For each batch, in order: COMMITTED, FENCED or SUPERSEDED; see `functions/commit_batches.sql`.

    Raises:
        SourceAlteredError: the relation was altered since the records of some batch were read: nothing was committed.
    """
    states = {batch.read_of for batch in batches if batch.read_of is not None}
    state = states.pop() if states else None
    if states:
        raise altered(states.pop().relation)
    firsts = [_first_of_run(batch.record_ids) if id_type == "bigint" else None for batch in batches]
    listed = [batch.record_ids for batch, first in zip(batches, firsts, strict=True) if first is None]
    [width] = {batch.rows.width for batch in batches} or {HEAD_BYTES}
    dead = [(slot, record) for slot, batch in enumerate(batches, start=1) for record in batch.dead]
    text = query("commit_batches", id_type=id_type)
    values = arguments(
        text,
        job_no=job_no,
        holder=holder,
        batch_no=[batch.batch_no for batch in batches],
        key_no=[batch.lease.key_no for batch in batches],
        epoch=[batch.lease.epoch for batch in batches],
        signed=[len(batch.record_ids) for batch in batches],
        dead=[len(batch.dead) for batch in batches],
        first_id=firsts,
        record_id=list(chain.from_iterable(listed)),
        width=width,
        rows=b"".join([batch.rows.data for batch in batches]),
        dead_slot=[slot for slot, _ in dead],
        dead_id=[str(record.record_id) for _, record in dead],
        dead_reason=[record.reason for _, record in dead],
        dead_message=[record.message for _, record in dead],
        statement=[batch.statement and batch.statement.body for batch in batches],
        statement_signature=[batch.statement and batch.statement.signature for batch in batches],
    )
    read_of = (state.oid, *state.identity) if state else (None, None, None)
    rows = await connection.fetch(text, *values, *read_of)
    if state and batches and not rows:
        raise altered(state.relation)
    return [row["outcome"] for row in rows]


def _first_of_run(ids: list[int]) -> int | None:
    """Returns the first of consecutive ids, from which Postgres counts the others; None: each must be sent."""
    consecutive = ids and ids[-1] - ids[0] == len(ids) - 1 and ids == list(range(ids[0], ids[-1] + 1))
    return ids[0] if consecutive else None
