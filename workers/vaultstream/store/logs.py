"""Logs in Postgres: opened by a sealer, appended to, read by whoever verifies.

A log is a tree of RFC 6962 (`vaultstream.proof.merkle`) over its entries. A job's log has its statements, dead letters,
revocations and audit events; the installation's log has plans and seals. A sealer holds a log's row locked from
`lock_log` until its transaction ends, so a log grows by one sealer at a time.

What is read here is what Postgres has. Nothing but a checkpoint that the seal key signed says that it is genuine.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from vaultstream.errors import ProofError
from vaultstream.proof.dsse import StatementEnvelope
from vaultstream.proof.merkle import HASH_SIZE, Frontier
from vaultstream.store.database import fetch_one
from vaultstream.store.sql import arguments, query

if TYPE_CHECKING:
    import asyncpg

    from vaultstream.proof.entries import LogEntry
    from vaultstream.store.database import Connection

PAGE_ENTRIES = 5_000
"""How many entries are read at once."""
PAGE_LEAVES = 100_000


class EntryKind(StrEnum):
    """What an entry is about."""

    STATEMENT = "statement"
    DEAD_LETTER = "dead-letter"
    REVOCATION = "revocation"
    AUDIT_EVENT = "audit-event"
    PLAN = "plan"
    SEAL = "seal"
    UNKNOWN = "unknown"
    """Postgres has another text here: its owner can write anything."""


_KINDS = {kind.value: kind for kind in EntryKind}


@dataclass(frozen=True)
class Log:
    """A log as it was when it was read."""

    log_no: int
    origin: str
    job_no: int | None
    """None: of an installation, or of a tenant."""
    tenant: str | None
    tree: Frontier

    @property
    def size(self) -> int:
        return self.tree.size


@dataclass(frozen=True, kw_only=True)
class NewEntry:
    """An entry to append."""

    kind: EntryKind
    leaf: bytes
    body: str | None = None
    """The entry's text; None for a statement, which Postgres has."""
    batch_no: int | None = None
    subject: str = ""
    """The record of a dead letter, the key of a revocation, the number of an audit event: no two entries share it."""


@dataclass(frozen=True)
class StoredEntry:
    """An entry as Postgres has it. Whether `leaf` is the hash of `data` is for the reader to verify."""

    log_no: int
    index: int
    kind: EntryKind
    job_no: int
    batch_no: int | None
    subject: str
    body: str | None
    signature: bytes | None
    """Of a statement."""
    leaf: bytes

    @property
    def data(self) -> bytes | None:
        """The bytes whose hash is the leaf: of a statement its envelope. None: they were deleted or removed.

        Raises:
            ProofError: the body is not that of a statement.
        """
        if self.body is None:
            return None
        if self.kind is EntryKind.STATEMENT:
            return StatementEnvelope(self.body, self.signature or b"").data
        return self.body.encode()


@dataclass(frozen=True)
class KnownJob:
    """A job that a log is about and Postgres has."""

    token: str
    name: str
    deleted_at: datetime | None


@dataclass(frozen=True)
class StoredCheckpoint:
    """A signed checkpoint. Its signature is not verified."""

    size: int
    note: bytes
    made_at: datetime


@dataclass(frozen=True)
class StoredSeal:
    """The newest seal of a job, with the signed checkpoints that it is under. None of it is verified."""

    log_no: int
    """Of the installation's log."""
    index: int
    body: str
    """Of `vaultstream.proof.seal.SealEntry`."""
    checkpoint: bytes
    """The first checkpoint of the installation's log that has the seal."""
    job_checkpoint: bytes
    """Of the job's log, with the size that the seal names."""


async def lock_log(
    connection: Connection, origin: str, *, job_no: int | None = None, tenant: str | None = None
) -> Log:
    """Returns a log, locked until the end of the transaction. It is made if there is none with that origin.

    Args:
        connection: to the writer, in a transaction.
        origin: of the log.
        job_no: whose log it is; None: an installation's or a tenant's.
        tenant: that the job belongs to.

    Raises:
        asyncpg.InvalidParameterValueError: the log with that origin is of another job or tenant.
        asyncpg.LockNotAvailableError: another transaction has held the log for too long.
        asyncpg.ConfigurationLimitExceededError: the tenant has too many logs of seals.
    """
    text = query("lock_log")
    row = await fetch_one(connection, text, *arguments(text, origin=origin, job_no=job_no, tenant=tenant))
    return Log(row["log_no"], origin, job_no, tenant, _frontier(origin, row["size"], row["frontier"]))


async def append_entries(connection: Connection, log: Log, job_no: int, entries: Sequence[NewEntry]) -> Log:
    """Appends entries about a job to a log that `lock_log` or this function has returned; returns it with them.

    Raises:
        asyncpg.UniqueViolationError: the log has one of them already.
        asyncpg.InvalidParameterValueError: they are no entries of this log, or the log has grown.
    """
    if not entries:
        return log
    tree = log.tree.extend(entry.leaf for entry in entries)
    text = query("append_entries")
    values = arguments(
        text,
        log_no=log.log_no,
        size=log.size,
        job_no=job_no,
        kind=[entry.kind.value for entry in entries],
        batch_no=[entry.batch_no for entry in entries],
        subject=[entry.subject for entry in entries],
        body=[entry.body for entry in entries],
        leaf=[entry.leaf for entry in entries],
        frontier=b"".join(tree.subtrees),
    )
    await connection.execute(text, *values)
    return replace(log, tree=tree)


async def add_checkpoint(connection: Connection, log: Log, note: bytes) -> None:
    """Stores a signed checkpoint of a log as it stands.

    Raises:
        asyncpg.InvalidParameterValueError: the log has another size.
    """
    text = query("add_checkpoint")
    await connection.execute(text, *arguments(text, log_no=log.log_no, size=log.size, note=note.decode()))


async def find_log(connection: Connection, origin: str) -> Log | None:
    """Returns the log with that origin; None if there is none."""
    return _log(await connection.fetchrow(query("find_log"), origin))


async def find_job_log(connection: Connection, job_no: int) -> Log | None:
    """Returns the newest log of a job; None if it has none. A deleted job keeps its logs."""
    return _log(await connection.fetchrow(query("find_job_log"), job_no))


async def get_log(connection: Connection, log_no: int) -> Log | None:
    """Returns the log with that number, such as that of a `StoredSeal`."""
    return _log(await connection.fetchrow(query("get_log"), log_no))


async def newest_checkpoint(
    connection: Connection, log: Log, *, size: int | None = None
) -> StoredCheckpoint | None:
    """Returns the newest checkpoint of a log, or the newest with that size; None if there is none."""
    row = await connection.fetchrow(query("newest_checkpoint"), log.log_no, size)
    return None if row is None else StoredCheckpoint(row["size"], row["note"].encode(), row["made_at"])


async def leaf_hashes(
    connection: Connection, log: Log, *, first: int = 0, last: int | None = None
) -> list[bytes]:
    """Returns the hashes of the leaves of a log from `first` up to `last`, which is not included; None: its size.

    Raises:
        ProofError: a leaf is missing.
    """
    end = log.size if last is None else last
    leaves: list[bytes] = []
    for start in range(first, end, PAGE_LEAVES):
        stop = min(start + PAGE_LEAVES, end)
        rows = await connection.fetch(query("list_leaves"), log.log_no, start, stop)
        if len(rows) != stop - start:
            raise ProofError(
                f"The log {log.origin!r} has {len(rows)} of its entries {start} to {stop - 1}.",
                hint="Entries were removed from vaultstream.log_entries.",
            )
        leaves += [row["leaf"] for row in rows]
    return leaves


async def read_entries(
    connection: Connection, log: Log, *, first: int = 0, last: int | None = None
) -> AsyncIterator[StoredEntry]:
    """Yields the entries of a log from `first` up to `last`, which is not included; None: its size. One that is missing is left out."""
    end = log.size if last is None else last
    for start in range(first, end, PAGE_ENTRIES):
        rows = await connection.fetch(
            query("list_entries"), log.log_no, start, min(start + PAGE_ENTRIES, end)
        )
        for row in rows:
            yield _entry(row)


async def find_statement(connection: Connection, log: Log, job_no: int, batch_no: int) -> int | None:
    """Returns the index of the entry with the statement of a batch; None if the log has none."""
    row = await connection.fetchrow(query("find_statement"), log.log_no, job_no, batch_no)
    return None if row is None else int(row["index"])


async def newest_plan(connection: Connection, job_no: int, *, log: Log | None = None) -> StoredEntry | None:
    """Returns what Postgres has as the plan of a job, in that log if one is given. `store.entry_facts.find_plan` believes no column."""
    return await _newest_about(connection, job_no, EntryKind.PLAN, log)


async def suspected(
    connection: Connection, log: Log, entry_type: type[LogEntry], job_token: str, *, after: int = -1
) -> list[StoredEntry]:
    """Returns the entries of a log that are of a type and about a job, or are gone, or another than was entered.

    Args:
        connection: to Postgres.
        log: of plans and seals.
        entry_type: the type.
        job_token: the job's, as a string of JSON.
        after: the index behind which they are.
    """
    texts = f'"jobToken":{job_token}', f'"type":"{entry_type.kind}"'
    rows = await connection.fetch(query("suspected_entries"), log.log_no, *texts, after)
    return [_entry(row) for row in rows]


async def newest_called_seal(connection: Connection, job_no: int, *, log: Log) -> StoredEntry | None:
    """Returns what Postgres has as the newest seal of a job in a log. `store.entry_facts.find_seal` believes no column."""
    return await _newest_about(connection, job_no, EntryKind.SEAL, log)


async def newest_seal(connection: Connection, job_no: int) -> StoredSeal | None:
    """Returns the newest seal of a job with its checkpoints; None if it has none. The operator may read it, too."""
    text = query("newest_seal")
    row = await connection.fetchrow(text, *arguments(text, job_no=job_no))
    return (
        None
        if row is None
        else StoredSeal(
            row["log_no"],
            row["index"],
            row["body"],
            row["checkpoint"].encode(),
            row["job_checkpoint"].encode(),
        )
    )


async def jobs_by_token(connection: Connection, tokens: Sequence[str]) -> list[KnownJob]:
    """Returns those of the jobs with these tokens that Postgres has, deleted ones too."""
    rows = await connection.fetch(query("jobs_by_token"), tokens)
    return [KnownJob(row["token"], row["name"], row["deleted_at"]) for row in rows]


async def _newest_about(
    connection: Connection, job_no: int, kind: EntryKind, log: Log | None
) -> StoredEntry | None:
    row = await connection.fetchrow(query("newest_entry_about"), job_no, kind.value, log and log.log_no)
    return None if row is None else _entry(row)


def _log(row: asyncpg.Record | None) -> Log | None:
    return (
        None
        if row is None
        else Log(
            row["log_no"],
            row["origin"],
            row["job_no"],
            row["tenant"],
            _frontier(row["origin"], row["size"], row["frontier"]),
        )
    )


def _entry(row: asyncpg.Record) -> StoredEntry:
    log_no, index, kind, *rest = row
    return StoredEntry(log_no, index, _KINDS.get(kind, EntryKind.UNKNOWN), *rest)


def _frontier(origin: str, size: int, subtrees: bytes) -> Frontier:
    hashes = (subtrees[at : at + HASH_SIZE] for at in range(0, len(subtrees), HASH_SIZE))
    try:
        return Frontier(size, tuple(hashes))
    except ValueError as error:
        raise ProofError(f"The log {origin!r} is no tree, as Postgres has it.", hint=str(error)) from None
