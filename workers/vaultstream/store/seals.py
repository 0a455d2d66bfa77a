"""What a sealer reads from Postgres: planned batches, and what happened to a job and is in no log yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vaultstream.proof.seal import RangesDigest, SealedKey
from vaultstream.store.database import fetch_one
from vaultstream.store.dead_letters import DeadLetter
from vaultstream.store.sql import arguments, query

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime

    from vaultstream.store.database import Connection
    from vaultstream.store.logs import Log

ROWS_AT_ONCE = 5_000
"""How many rows are read at once."""
_PREFETCH = 100
"""Rows of batches, which may be long."""


@dataclass(frozen=True)
class UnloggedStatement:
    """A statement of a batch. Its signature is not verified."""

    batch_no: int
    body: str
    signature: bytes


@dataclass(frozen=True)
class UnloggedRevocation:
    """A key that was revoked."""

    key_id: str
    public_key: bytes
    revoked_at: datetime


@dataclass(frozen=True)
class LastPlanned:
    """The last planned batch that was read."""

    batch_no: int
    last_id: str


async def add_planned(
    connection: Connection, job_no: int, ranges: RangesDigest, *, after: int = 0, through: int | None = None
) -> LastPlanned | None:
    """Adds a job's planned batches to a digest, as Postgres has them; returns the last one, None if there is none."""
    last = None
    async with connection.transaction(isolation="read_committed"):
        rows = connection.cursor(query("planned_lines"), job_no, after, through, prefetch=_PREFETCH)
        async for row in rows:
            ranges.add_line(row["line"], records=row["records"])
            last = LastPlanned(row["batch_no"], row["last_id"])
    return last


async def planned_totals(connection: Connection, job_no: int) -> tuple[int, int]:
    """Returns the numbers of a job's planned batches and of their records."""
    row = await fetch_one(connection, query("planned_totals"), job_no)
    return row["batches"], row["records"]


async def settled_through(connection: Connection, job_no: int) -> int:
    """Returns the number of a batch up to which no batch gets a statement or a dead letter any more."""
    return int(await connection.fetchval(query("settled_through"), job_no))


async def unlogged_statements(
    connection: Connection, job_no: int, log: Log, *, after: int
) -> AsyncIterator[list[UnloggedStatement]]:
    """Yields, by pages, the statements of batches after a number that a log does not have."""
    last = 0
    while True:
        rows = await connection.fetch(
            query("unlogged_statements"), job_no, log.log_no, after, last, ROWS_AT_ONCE
        )
        if rows:
            last = rows[-1]["batch_no"]
            yield [UnloggedStatement(*row) for row in rows]
        if len(rows) < ROWS_AT_ONCE:
            return


async def unlogged_dead_letters(
    connection: Connection, job_no: int, log: Log, *, after: int
) -> list[DeadLetter]:
    """Returns the next dead letters of batches after a number that a log does not have, at most `ROWS_AT_ONCE`."""
    rows = await connection.fetch(query("unlogged_dead_letters"), job_no, log.log_no, after, ROWS_AT_ONCE)
    return [DeadLetter(**dict(row)) for row in rows]


async def unlogged_revocations(connection: Connection, job_no: int, log: Log) -> list[UnloggedRevocation]:
    """Returns the revoked keys of a job whose revocation a log does not have."""
    rows = await connection.fetch(query("unlogged_revocations"), job_no, log.log_no)
    return [UnloggedRevocation(row["key_id"], row["public_key"], row["ended_at"]) for row in rows]


async def sealed_keys(connection: Connection, job_no: int) -> list[SealedKey]:
    """Returns the public halves of all keys of a job."""
    rows = await connection.fetch(query("sealed_keys"), job_no)
    return [SealedKey(**dict(row)) for row in rows]


async def ring_is_made(connection: Connection, job_no: int, count: int) -> bool:
    """Returns whether a job has the keys of its ring, of which there are to be `count`."""
    return bool(await connection.fetchval(query("ring_is_made"), job_no, count))


async def signed_without_statement(connection: Connection, job_no: int) -> int:
    """Returns how many records of a job from before statements were signed in batches without one."""
    return int(await connection.fetchval(query("signed_without_statement"), job_no))


async def refuse_job(connection: Connection, job_no: int, message: str) -> bool:
    """Ends a job, which could be completed otherwise, as Failed; returns whether it did."""
    text = query("refuse_job")
    return bool(await connection.fetchval(text, *arguments(text, job_no=job_no, message=message)))
