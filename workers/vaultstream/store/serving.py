"""Which connections to Postgres can still serve, and a pool that keeps only those.

After a failover, an address may lead to another server while a connection stays with the one that takes no writes any more.
Such a connection works in all other respects, so nothing else would ever close it.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import asyncpg
from asyncpg.pool import PoolAcquireContext

from vaultstream.errors import DatabaseError

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

TAKES_NO_WRITES = "Postgres takes no writes"
WRITES_HINT = (
    "If DATABASE_URL leads to a standby, point it to the primary, or name all hosts in it and add target_session_attrs=read-write. "
    "If default_transaction_read_only is on, as some providers set it when a disk is full, free some space and reset it."
)

_ENDED = ("08", "57P", "25P03", "25P04", "25P05")
"""SQLSTATEs of a connection that broke or that the server ends: 57P is shut down, crashed, starting, dropped, idle for too long."""
_UNFIT = ("25006", "25P02", "26000", "42P05")
"""SQLSTATEs by which a connection that stays open is of no use: it takes no writes, is left in a failed transaction, or leads to
another session of the server than before, as behind a pooler."""


class NoWritesError(DatabaseError):
    """A new connection leads to a server, or to a session, that takes no writes. A later connection can lead to another one."""


def ends_connection(error: object) -> bool:
    """Whether an error says that its connection can't serve, so that it must be closed and opened again."""
    if isinstance(error, NoWritesError):
        return True
    if not isinstance(error, asyncpg.PostgresError):
        return False
    return str(error.sqlstate or "").startswith((*_ENDED, *_UNFIT))


def no_writes(connection: Any) -> str | None:
    """Returns why a connection takes no writes; None: it takes them, or its server is older than version 14 and does not say.

    It asks nothing: Postgres reports these settings with its answers.
    """
    reported = connection.get_settings()
    if getattr(reported, "in_hot_standby", "off") == "on":
        return f"{TAKES_NO_WRITES}: it is a standby."
    if getattr(reported, "default_transaction_read_only", "off") == "on":
        return f"{TAKES_NO_WRITES}: default_transaction_read_only is on."
    return None


def require_writes(connection: Any) -> None:
    """Checks that a connection takes writes.

    Raises:
        NoWritesError: it takes none.
    """
    if why := no_writes(connection):
        raise NoWritesError(why, hint=WRITES_HINT)


def is_open(connection: asyncpg.Connection | PoolConnectionProxy) -> bool:
    """Whether it can be used. One that was closed meanwhile was taken back by the driver, and answers nothing any more."""
    try:
        return not connection.is_closed()
    except asyncpg.InterfaceError:
        return False


class ServingPool(asyncpg.Pool):
    """A pool that closes its connections once one of them can't serve: the others lead to the same server."""

    def acquire(self, *, timeout: float | None = None) -> PoolAcquireContext:
        """Returns a context of one connection; an error that leaves it may end the connection, see `ends_connection`."""
        return _ServingContext(self, timeout)


class _ServingContext(PoolAcquireContext):
    async def __aexit__(self, *raised: object) -> None:
        try:
            if self.connection is not None and ends_connection(raised[1]):
                await replace_connections(self.pool, self.connection)
        finally:
            await super().__aexit__(*raised)


async def replace_connections(pool: asyncpg.Pool, connection: PoolConnectionProxy) -> None:
    """Closes a connection of a pool; each of the others is closed before it is used again. It waits for no server."""
    end_now(connection)
    await pool.expire_connections()


def end_now(connection: PoolConnectionProxy) -> None:
    """Closes a connection without a word to its server, which may be gone. The driver has its place back at once."""
    with suppress(asyncpg.InterfaceError):  # it has it already
        connection.terminate()
