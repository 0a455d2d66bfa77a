"""What scaling remembers of a job, and its decisions, as Postgres keeps them: read once, and written over the version that was read."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import asyncpg

from vaultstream.scaling.kept import MOST_KEPT, KeptDecision
from vaultstream.scaling.prior import Prior
from vaultstream.store.database import fetch_one
from vaultstream.store.lockers import naming_lockers
from vaultstream.store.priors import JobKind, dispensable, find_kind, find_prior, learn
from vaultstream.store.sql import query
from vaultstream_operator.core.memory import STALE_SECONDS, ScalingMemory
from vaultstream_operator.ports import ConflictError

if TYPE_CHECKING:
    from vaultstream.store.database import Connection
    from vaultstream.store.jobs import Job


@dataclass(frozen=True, slots=True)
class KeptScaling:
    """The memory of one job's scaling.

    Attributes:
        memory: the current one.
        stored: the one in Postgres.
        version: of the one in Postgres; 0: there is none.
        stored_at: when it was read or written, on the monotonic clock.
        latest: the latest decision in Postgres; None: there is none.
        kind: of the job: what it shows is kept for the next one of it.
        prior: what jobs of the kind had shown when this was read; after a restart, this job may be among them.
        complete: what the whole job has shown is kept for the next one.
    """

    memory: ScalingMemory
    stored: ScalingMemory
    version: int
    stored_at: float
    latest: KeptDecision | None = None
    kind: JobKind | None = None
    prior: Prior = field(default_factory=Prior)
    complete: bool = False

    def news(self, decision: KeptDecision | None) -> KeptDecision | None:
        """Returns a decision that is to be kept, else None; so it is if none was made."""
        return decision if decision is not None and decision.is_news(self.latest) else None

    def to_store(self, memory: ScalingMemory, now: float) -> bool:
        """Returns whether this memory, after a decision, is to be stored now; it is together with news."""
        if memory == self.stored:
            return False
        return not memory.same_count(self.stored) or now - self.stored_at >= STALE_SECONDS


ESTIMATE_TIMEOUT: Final = 1.0
"""Seconds that Postgres may take for an estimate, which is then left out."""
SCALING_LOCK_WAIT: Final = "1s"
"""Longest wait for the job's row, which the login of a records worker may keep locked."""
ESTIMATE_SECONDS: Final = 30.0
"""How long an estimate is used before it is read again: a table may have been analyzed meanwhile."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """About how many rows a job's table has; None: unknown. `at`: when that was read, on the monotonic clock."""

    rows: int | None
    at: float


async def estimated(connection: Connection, job: Job, before: Estimate | None) -> Estimate | None:
    """Returns the estimate of a job's table, read again if it is old; None once all records are planned, or without a table."""
    if job.planned or job.source_oid is None:
        return None
    now = time.monotonic()
    if before is not None and now - before.at < ESTIMATE_SECONDS:
        return before
    rows = None
    async with dispensable():
        rows = await connection.fetchval(query("estimate_table"), job.source_oid, timeout=ESTIMATE_TIMEOUT)
    return Estimate(rows, now)


async def find_scaling(connection: Connection, job: Job) -> KeptScaling:
    """Returns what is stored of a job; an empty memory if nothing is."""
    row = await fetch_one(connection, query("find_scaling"), job.job_no)
    memory = ScalingMemory.parse(row["memory"])
    latest = KeptDecision.read(row["at"], row["decision"]) if row["decision"] is not None else None
    kind, prior = None, Prior()
    async with dispensable():
        kind = await find_kind(connection, job)
        prior = await find_prior(connection, kind)
    return KeptScaling(memory, memory, row["version"], time.monotonic(), latest, kind, prior)


async def write_scaling(
    connection: Connection,
    job_no: int,
    kept: KeptScaling,
    memory: ScalingMemory,
    news: KeptDecision | None,
    *,
    complete: bool,
) -> KeptScaling:
    """Stores the memory of a job, and a decision with it unless that is None; returns what is then kept.

    What the job has shown is kept for the next one of its kind, once per decision that changed the count, and when the job is
    complete: only then it is known how long that took after the last signature.

    Raises:
        ConflictError: somebody else has written, or deleted the job, since `kept` was read.
        LockedError: another transaction holds the job's row; the message names it.
    """
    at, shown = (news.at, news.shown) if news else (None, None)
    try:
        version: int | None = await _in_time(
            connection, "write_scaling", job_no, kept.version, memory.dump(), at, shown, MOST_KEPT
        )
    except asyncpg.ForeignKeyViolationError as error:  # deleted during this statement
        raise ConflictError from error
    if version is None:
        raise ConflictError
    if kept.kind is not None and (complete or not memory.same_count(kept.stored)):
        async with dispensable():
            await learn(connection, kept.kind, job_no, memory.history)
    return replace(
        kept,
        memory=memory,
        stored=memory,
        version=version,
        stored_at=time.monotonic(),
        latest=news or kept.latest,
        complete=complete,
    )


async def _in_time(connection: Connection, name: str, *arguments: object) -> int | None:
    """Returns the number that a query returns; it waits `SCALING_LOCK_WAIT` at most for locked rows, and once more to see who locks them."""

    async def attempt() -> int | None:
        async with connection.transaction():
            await connection.execute(query("limit_lock_wait"), SCALING_LOCK_WAIT)
            number: int | None = await connection.fetchval(query(name), *arguments)
            return number

    try:
        return await attempt()
    except asyncpg.LockNotAvailableError:
        async with naming_lockers(connection, ["jobs"]):
            return await attempt()
