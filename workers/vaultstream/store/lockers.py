"""Who holds a lock that others wait for: the error of a wait that was too long names the session to end."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncpg

from vaultstream.errors import LockedError
from vaultstream.store.sql import query

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from vaultstream.store.database import Connection

LOCK_WAIT = "10s"
"""How long a change waits for each lock, as the functions of the schema do."""


@dataclass(frozen=True)
class Locker:
    """A session, or a prepared transaction, that holds a lock."""

    pid: int | None
    """Of the session; None: the transaction is prepared, and has none."""
    login: str
    prepared: str | None = None
    """The name of a prepared transaction."""
    waits: bool = False
    """Whether it waits for another one itself."""

    def __str__(self) -> str:
        if self.prepared is not None:
            return f"the prepared transaction {self.prepared!r} of the user {self.login}"
        return f"process {self.pid} of the user {self.login}"

    @property
    def end(self) -> str:
        """How an administrator ends it."""
        if self.prepared is not None:
            quoted = self.prepared.replace("'", "''")
            return f"ROLLBACK PREPARED '{quoted}'"
        return f"pg_terminate_backend({self.pid})"


def named(lockers: Sequence[Locker]) -> str:
    """Returns the sessions as words."""
    return ", ".join(map(str, lockers)) or "a session that has ended since"


def hint_to_end(lockers: Sequence[Locker]) -> str:
    """Returns how an administrator ends these sessions, for whoever ran a command."""
    return f"Repeat the command. If it fails again, {who_ends(lockers)}"


def who_ends(lockers: Sequence[Locker]) -> str:
    """Returns the end of a sentence, which says who ends these sessions and how."""
    ends = "; ".join(locker.end for locker in lockers)
    return (
        f"let an administrator of Postgres run {ends or 'pg_terminate_backend(PID)'}. "
        "If the user is an intruder's, ALTER ROLE … NOLOGIN comes first."
    )


async def find_lockers(
    connection: Connection, rows_of: Sequence[str] = (), tables: Sequence[str] | None = None
) -> dict[str, Locker]:
    """Returns the sessions that hold locks of rows of some of our tables, or of any kind on others, by their transaction.

    `tables`: on which locks of any kind count; None: on all.
    """
    rows = await connection.fetch(query("list_lockers"), list(rows_of), tables)
    return {
        row["transaction"]: Locker(row["pid"], row["login"], row["prepared"], row["waits"]) for row in rows
    }


def first_in_line(lockers: Sequence[Locker]) -> list[Locker]:
    """Returns those that wait for nobody: the others hold locks, too, but end when they get what they wait for."""
    return [locker for locker in lockers if not locker.waits] or list(lockers)


@asynccontextmanager
async def naming_lockers(
    connection: Connection, tables: Sequence[str], *, dropped: Sequence[str] = ()
) -> AsyncIterator[None]:
    """Makes the error of a statement that gave up waiting for a lock name the sessions that hold it.

    Named are the transactions that held locks from before the statement until it gave up.

    Args:
        connection: on which the statement runs, outside of a transaction.
        tables: the tables of our schema whose rows it locks.
        dropped: the tables that it drops: everyone who reads one holds it up.

    Raises:
        LockedError: the statement gave up.
    """
    before = await find_lockers(connection, tables, dropped)
    try:
        yield
    except asyncpg.LockNotAvailableError as error:
        now = await find_lockers(connection, tables, dropped)
        stayed = [locker for transaction, locker in now.items() if transaction in before]
        lockers = first_in_line(stayed or [*now.values()])
        raise LockedError(
            f"Nothing was changed, because an open transaction holds locks that are needed: {named(lockers)}.",
            hint=hint_to_end(lockers),
        ) from error


@asynccontextmanager
async def changing(connection: Connection, tables: Sequence[str]) -> AsyncIterator[None]:
    """A transaction, READ COMMITTED, that waits for rows of these tables for as long as a deletion does, and no longer.

    Raises:
        LockedError: another transaction holds them; the message names it.
    """
    async with naming_lockers(connection, tables), connection.transaction(isolation="read_committed"):
        await connection.execute(query("limit_lock_wait"), LOCK_WAIT)
        yield


async def advisory_lockers(connection: Connection, key: int, second: int | None = None) -> list[Locker]:
    """Returns the sessions that hold one of our advisory locks, which any login of the database may."""
    rows = await connection.fetch(query("list_advisory_lockers"), key, second)
    return [Locker(row["pid"], row["login"], row["prepared"]) for row in rows]
