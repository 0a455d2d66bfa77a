"""Connections to Postgres, and the meaning of its errors."""

from __future__ import annotations

import asyncio
import json
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import asyncpg

from vaultstream.credentials import UrlSource, url_now, where_to_correct
from vaultstream.errors import (
    DOCTOR,
    DatabaseError,
    LockedError,
    SourceError,
    SourceReadError,
    UsageError,
    VaultStreamError,
    shown,
)
from vaultstream.store import keepalive
from vaultstream.store.client_tls import explain_encryption
from vaultstream.store.conninfo import ConnectionArguments, connection_arguments
from vaultstream.store.holder import APPLICATION
from vaultstream.store.keepalive import WatchedConnection
from vaultstream.store.kept_pool import KeptPool
from vaultstream.store.pooler import explain_pooler, open_connection
from vaultstream.store.privileges import AUDITOR, explain_privilege
from vaultstream.store.search_path import pin_search_path
from vaultstream.store.serving import (
    TAKES_NO_WRITES,
    WRITES_HINT,
    NoWritesError,
    ServingPool,
    require_writes,
)
from vaultstream.store.unopened import explain_unopened

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

Connection = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy
"""A connection opened by `connect`, or one acquired from a pool."""
Pool = asyncpg.Pool

STATEMENT_TIMEOUT_SECONDS = 120.0
STATEMENTS_KEPT = 100
"""Prepared statements of a connection, as by the driver's default."""

_AWAY = (
    asyncpg.PostgresConnectionError,  # 08: the connection broke
    asyncpg.InsufficientResourcesError,  # 53: disk full, out of memory, too many connections
    asyncpg.OperatorInterventionError,  # 57: shut down, starting up, canceled
    asyncpg.PostgresSystemError,  # 58: its disk or its system fails
    asyncpg.TransactionRollbackError,  # 40: serialization failure, deadlock
    asyncpg.LockNotAvailableError,
    LockedError,
    asyncpg.ReadOnlySQLTransactionError,  # a standby: another server is the writer now
    NoWritesError,
    asyncpg.InterfaceError,  # the driver's error for a closed connection
    asyncpg.InternalClientError,  # the driver's error for a connection that broke during an operation
    asyncpg.InvalidAuthorizationSpecificationError,  # 28: the password may be changing, and is read again at each connect
    ConnectionError,
    OSError,
    TimeoutError,
    ssl.SSLError,
)

_CONNECT_ERRORS = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # also that no host is what target_session_attrs asks for
    OSError,
    ValueError,
)

_NOT_READY = (
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedColumnError,
    asyncpg.InsufficientPrivilegeError,
    asyncpg.InvalidSchemaNameError,
    asyncpg.UndefinedFunctionError,
)


def is_transient(error: BaseException) -> bool:
    """Whether a later attempt can succeed without a fix: the request itself was valid."""
    if isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError):
        return False  # a value that the driver can't encode: a later attempt would fail too
    return isinstance(error, _AWAY)


def is_passing(error: BaseException) -> bool:
    """Whether who reads again and again goes on: a service does not answer, or others keep a lock. Other errors of ours were explained."""
    return isinstance(error, LockedError) or (not isinstance(error, VaultStreamError) and is_transient(error))


def is_misconfigured(error: BaseException) -> bool:
    """Whether somebody has to fix something first, such as a missing table or privilege. Work waits meanwhile."""
    return isinstance(error, (*_NOT_READY, SourceError)) and not isinstance(error, SourceReadError)


CORRECT_URL = "Correct them in the environment, in .env or with --database-url."
"""The hint of a refused login that no mounted Secret has."""

_SENTENCES: list[tuple[tuple[type[BaseException], ...], str, str | None]] = [
    (
        (asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError),
        "Postgres refuses the user or the password of DATABASE_URL.",
        CORRECT_URL,
    ),
    (
        (asyncpg.InvalidCatalogNameError,),
        "The database of DATABASE_URL does not exist: {error}.",
        "Create it, or correct DATABASE_URL.",
    ),
    (
        (asyncpg.DiskFullError,),
        "The disk of Postgres is full: {error}.",
        "Free some space on it; the job then resumes where it stopped.",
    ),
    (
        (asyncpg.TooManyConnectionsError,),
        "Postgres has no free connection.",
        "Raise its max_connections, or run fewer signers.",
    ),
    (
        (asyncpg.ReadOnlySQLTransactionError,),
        f"{TAKES_NO_WRITES}: {{error}}.",
        WRITES_HINT,
    ),
    (
        (asyncpg.TargetServerAttributeNotMatched,),
        "No host of DATABASE_URL is what its target_session_attrs asks for: {error}.",
        "During a failover this passes: run the command again. Else correct target_session_attrs or the hosts.",
    ),
    (
        (asyncpg.CannotConnectNowError,),
        "Postgres takes no connections yet: {error}.",
        "It is starting, stopping or recovering: run the command again once it is done.",
    ),
    (
        (asyncpg.QueryCanceledError,),
        "Postgres canceled a statement: {error}.",
        "Run the command again. If it is canceled again, raise statement_timeout, or find what held it up.",
    ),
    (
        (asyncpg.TransactionRollbackError, asyncpg.LockNotAvailableError),
        "Postgres rolled a transaction back: {error}.",
        "Run the command again.",
    ),
    (
        (
            asyncpg.InsufficientResourcesError,
            asyncpg.OperatorInterventionError,
            asyncpg.PostgresSystemError,
            asyncpg.PostgresConnectionError,
        ),
        "Postgres can't serve now: {error}.",
        f"See the log of the server; {DOCTOR}",
    ),
]


def explain(error: BaseException, *, part: str = AUDITOR) -> VaultStreamError:
    """Returns the error to show to people for an error of Postgres or of the connection to it.

    Args:
        error: what was raised.
        part: the part of VaultStream whose role the user needs, as the hint for a missing privilege names it: an auditor is
            never told to take the rights of a worker. EVERY_PART: the command does the work of all parts.
    """
    if isinstance(error, VaultStreamError):
        return error
    if explained := explain_encryption(error) or explain_pooler(error) or explain_privilege(error, part):
        return explained
    if isinstance(error, asyncpg.ClientConfigurationError | ValueError):
        return UsageError(
            "DATABASE_URL can't be read as a connection string.",
            hint="Use the form postgresql://user@host:5432/database, with the password after the user (user:password).",
        )
    for kinds, message, hint in _SENTENCES:
        if isinstance(error, kinds):
            if hint is CORRECT_URL:
                hint = where_to_correct("DATABASE_URL", otherwise=hint)  # noqa: PLW2901 - known only here
            return DatabaseError(message.format(error=shown(error).rstrip(".")), hint=hint)
    if isinstance(error, asyncpg.PostgresError) and not is_transient(error):
        return VaultStreamError(f"Postgres returned an error: {shown(error).rstrip('.')}.")
    why = shown(error)
    if isinstance(error, asyncpg.InternalClientError):  # its text is meant for the driver's developers
        why = "the connection broke during a query"
    return DatabaseError(
        f"Postgres does not answer: {why}.",
        hint=f"Check DATABASE_URL and that Postgres is running; {DOCTOR}",
    )


async def fetch_one(connection: Connection, sql: str, *arguments: object) -> asyncpg.Record:
    """Returns the row of a query that always has exactly one."""
    row = await connection.fetchrow(sql, *arguments)
    if row is None:
        raise asyncpg.NoDataFoundError("a query that always returns one row returned none")
    return row


class _PooledConnection(WatchedConnection):
    """Is returned to its pool without a reset, which would cost a round trip."""

    def get_reset_query(self) -> str:
        return ""


def decode_json(text: str) -> Any:
    """Returns a value of type jsonb. One that is beyond the limits of Python (digits, depth) is None, and hides no other row.

    Args:
        text: as Postgres writes it.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


async def _prepare(connection: Connection) -> None:
    await pin_search_path(connection)
    await connection.set_type_codec("jsonb", encoder=json.dumps, decoder=decode_json, schema="pg_catalog")


@asynccontextmanager
async def connect(
    url: UrlSource, *, role: str = "command", cache: bool = True, settings: Mapping[str, str] | None = None
) -> AsyncIterator[WatchedConnection]:
    """Opens one connection and closes it.

    Args:
        url: the connection string.
        role: which part of VaultStream connects; Postgres shows it in `application_name`.
        cache: keep prepared statements; see `open_pool`.
        settings: further settings of the session.

    Raises:
        DatabaseError: Postgres is unreachable or refuses the connection.
        UsageError: the connection string is malformed.
    """
    try:
        arguments = connection_arguments(url_now(url))
        connection = await open_connection(
            arguments.dsn,
            **_others(arguments, settings),
            timeout=arguments.timeout,
            statement_cache_size=STATEMENTS_KEPT if cache else 0,
            connection_class=WatchedConnection,
            server_settings={**_server_settings(role), **(settings or {})},
        )
    except _CONNECT_ERRORS as error:
        raise _explain_unopened(error, url) from None
    try:
        await _prepare(connection)
        yield connection
    finally:
        await _close(connection)


PLANS_ONCE: Mapping[str, str] = {"plan_cache_mode": "force_generic_plan"}
"""For the sessions of a signer: claims and commits find rows by their keys, whatever the arguments are. Otherwise Postgres plans parts of
them each time. Not for others: a plan that was made while the tables were empty would stay, and read all rows for each of a job."""


@asynccontextmanager
async def open_pool(
    url: UrlSource,
    *,
    role: str,
    size: int,
    reset: bool = True,
    kept: bool = False,
    cache: bool = True,
    settings: Mapping[str, str] | None = None,
    check: Callable[[Connection], Awaitable[None]] | None = None,
    writes: bool = False,
) -> AsyncIterator[Pool]:
    """Opens a pool of up to `size` connections, and closes it.

    Args:
        url: the connection string, or what returns it at each connect: a password may change.
        role: which part of VaultStream connects; Postgres shows it in `application_name`.
        size: maximum number of connections.
        reset: reset the session of a connection when it is released. Not needed where nobody changes a session (no
            settings, no locks beyond a transaction).
        kept: keep released connections at hand, without a reset: what a worker does with its many short uses.
        cache: keep prepared statements. Code that others run in a session could replace them.
        settings: further settings of each session.
        check: runs first on each new connection; what it raises closes the connection.
        writes: refuse connections that take no writes, as those to a standby.

    Raises:
        DatabaseError: Postgres is unreachable or refuses the connection.
        UsageError: the connection string is malformed.
    """

    async def init(connection: Connection) -> None:
        if writes:
            require_writes(connection)
        await _prepare(connection)
        if check is not None:
            await check(connection)

    async def open_one(*_: object, **options: Any) -> WatchedConnection:
        now = connection_arguments(url_now(url))
        connection: WatchedConnection = await open_connection(now.dsn, **_others(now, settings), **options)
        return connection

    try:
        timeout = connection_arguments(url_now(url)).timeout
        pool = await (KeptPool if kept else ServingPool)(
            connect=open_one,
            min_size=1,
            max_size=size,
            max_queries=50_000,
            loop=None,
            record_class=asyncpg.Record,
            timeout=timeout,
            command_timeout=STATEMENT_TIMEOUT_SECONDS,
            max_inactive_connection_lifetime=0,
            statement_cache_size=STATEMENTS_KEPT if cache else 0,
            connection_class=WatchedConnection if reset and not kept else _PooledConnection,
            init=init,
            server_settings={**_server_settings(role), **(settings or {})},
        )
    except _CONNECT_ERRORS as error:
        raise _explain_unopened(error, url) from None
    try:
        yield pool
    finally:
        try:
            await asyncio.wait_for(pool.close(), timeout=5)
        except (TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            pool.terminate()


def _explain_unopened(error: BaseException, url: UrlSource) -> VaultStreamError:
    try:
        arguments = connection_arguments(url_now(url))
    except (OSError, VaultStreamError):
        return explain(error)
    return explain_unopened(error, arguments) or explain(error)


def _others(arguments: ConnectionArguments, settings: Mapping[str, str] | None) -> dict[str, Any]:
    """Returns the driver's arguments. The driver takes a session that we make read-only for one of a server that takes no writes."""
    others = dict(arguments.others)
    if (settings or {}).get("default_transaction_read_only") == "on" and others[
        "target_session_attrs"
    ] == "read-write":
        others["target_session_attrs"] = "primary"
    return others


def _server_settings(role: str) -> dict[str, str]:
    """The settings of a session. Those of a database or a login that would change what a statement means are overridden."""
    return {
        "application_name": f"{APPLICATION}{role}",
        "jit": "off",
        "timezone": "UTC",
        "standard_conforming_strings": "on",
        "transform_null_equals": "off",
        "default_transaction_isolation": "read committed",
        "default_transaction_deferrable": "off",
        **keepalive.server_settings(),
    }


async def _close(connection: asyncpg.Connection) -> None:
    try:
        await connection.close(timeout=5)
    except (TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        connection.terminate()
