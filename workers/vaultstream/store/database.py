"""Connections to Postgres, and what its errors mean to us."""

from __future__ import annotations

import asyncio
import json
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asyncpg

from vaultstream.errors import DOCTOR, DatabaseError, UsageError, VaultStreamError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

Connection = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy
"""A connection of our own, or one lent by a pool."""
Pool = asyncpg.Pool

CONNECT_TIMEOUT_SECONDS = 10.0
STATEMENT_TIMEOUT_SECONDS = 120.0

_AWAY = (
    asyncpg.PostgresConnectionError,  # 08: the connection broke
    asyncpg.InsufficientResourcesError,  # 53: disk full, out of memory, too many connections
    asyncpg.OperatorInterventionError,  # 57: shut down, starting up, cancelled
    asyncpg.PostgresSystemError,  # 58: its disk or its system fails
    asyncpg.TransactionRollbackError,  # 40: serialization failure, deadlock
    asyncpg.LockNotAvailableError,
    asyncpg.ReadOnlySQLTransactionError,  # a standby: the writer has moved
    asyncpg.InterfaceError,  # the driver's word for a connection that is closed
    asyncpg.InternalClientError,  # and for one that was cut in the middle of an operation
    ConnectionError,
    OSError,
    TimeoutError,
    ssl.SSLError,
)

_NOT_READY = (
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedColumnError,
    asyncpg.InsufficientPrivilegeError,
    asyncpg.InvalidSchemaNameError,
    asyncpg.UndefinedFunctionError,
)


def is_transient(error: BaseException) -> bool:
    """Whether trying again later can help with no one at fault: nothing was wrong with what was asked."""
    if isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError):
        return False  # a value that the driver can't send: no later attempt would do better
    return isinstance(error, _AWAY)


def is_misconfigured(error: BaseException) -> bool:
    """Whether a person has to mend something first: a table gone, a right missing. Work waits for it meanwhile."""
    return isinstance(error, _NOT_READY)


_SENTENCES: list[tuple[tuple[type[BaseException], ...], str, str | None]] = [
    (
        (asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError),
        "Postgres refuses the user or the password of DATABASE_URL.",
        "Correct them in the environment, in .env or with --database-url.",
    ),
    (
        (asyncpg.InvalidCatalogNameError,),
        "Postgres has no such database: {error}.",
        "Create it, or correct DATABASE_URL.",
    ),
    (
        (asyncpg.DiskFullError,),
        "Postgres has no space left: {error}.",
        "Free some space on its disk; the job goes on where it was.",
    ),
    (
        (asyncpg.TooManyConnectionsError,),
        "Postgres has no connection left.",
        "Raise its max_connections, or run fewer signers.",
    ),
    (
        (asyncpg.InsufficientPrivilegeError,),
        "Postgres does not allow it: {error}.",
        "Grant the role what it needs.",
    ),
]


def explain(error: BaseException) -> VaultStreamError:
    """Returns what a person should read of an error that Postgres or the way to it raised."""
    if isinstance(error, VaultStreamError):
        return error
    if isinstance(error, asyncpg.ClientConfigurationError | ValueError):
        return UsageError(
            "DATABASE_URL can't be read as a connection string.",
            hint="Its form is postgresql://user:password@host:5432/database.",
        )
    for kinds, message, hint in _SENTENCES:
        if isinstance(error, kinds):
            return DatabaseError(message.format(error=error), hint=hint)
    if isinstance(error, asyncpg.PostgresError) and not is_transient(error):
        return VaultStreamError(f"Postgres says: {error}.")
    return DatabaseError(
        f"Postgres does not answer: {str(error) or type(error).__name__}.",
        hint=f"Check DATABASE_URL and that Postgres runs; {DOCTOR}",
    )


async def fetch_one(connection: Connection, sql: str, *arguments: object) -> asyncpg.Record:
    """Returns the one row of a query that always has one."""
    row = await connection.fetchrow(sql, *arguments)
    if row is None:
        raise asyncpg.NoDataFoundError("a query that gives one row gave none")
    return row


async def _prepare(connection: Connection) -> None:
    await connection.set_type_codec("jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")


@asynccontextmanager
async def connect(url: str, *, role: str = "command") -> AsyncIterator[asyncpg.Connection]:
    """Opens one connection and closes it.

    Args:
        url: the connection string.
        role: which part of VaultStream asks; Postgres shows it as `application_name`.

    Raises:
        DatabaseError: Postgres can't be reached or refuses, in words for people.
        UsageError: the connection string is none.
    """
    try:
        connection = await asyncpg.connect(
            url, timeout=CONNECT_TIMEOUT_SECONDS, server_settings=_server_settings(role)
        )
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, ValueError) as error:
        raise explain(error) from None
    try:
        await _prepare(connection)
        yield connection
    finally:
        await _close(connection)


@asynccontextmanager
async def open_pool(url: str, *, role: str, size: int) -> AsyncIterator[Pool]:
    """Opens a pool of up to `size` connections, and closes it.

    Raises:
        DatabaseError: Postgres can't be reached or refuses, in words for people.
        UsageError: the connection string is none.
    """
    try:
        pool = await asyncpg.create_pool(
            url,
            min_size=1,
            max_size=size,
            timeout=CONNECT_TIMEOUT_SECONDS,
            command_timeout=STATEMENT_TIMEOUT_SECONDS,
            max_inactive_connection_lifetime=0,
            init=_prepare,
            server_settings=_server_settings(role),
        )
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, ValueError) as error:
        raise explain(error) from None
    try:
        yield pool
    finally:
        try:
            await asyncio.wait_for(pool.close(), timeout=5)
        except (TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            pool.terminate()


def _server_settings(role: str) -> dict[str, str]:
    return {"application_name": f"vaultstream-{role}", "jit": "off", "timezone": "UTC"}


async def _close(connection: asyncpg.Connection) -> None:
    try:
        await connection.close(timeout=5)
    except (TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        connection.terminate()
