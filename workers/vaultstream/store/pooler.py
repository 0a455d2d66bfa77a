"""Connections through a pooler such as PgBouncer, which gives each client a session of the server for as long as it is connected.

A pooler takes few settings with the start of a connection, so the others are set after it. One that gives out a session for each
transaction is refused: leases, locks and prepared statements belong to a session.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import asyncpg

from vaultstream.errors import DatabaseError, shown
from vaultstream.store.sql import query

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vaultstream.store.keepalive import WatchedConnection

SHARED_SECONDS = 5.0
"""How long a session that another one may hold is waited for."""

_AT_START = {"application_name", "timezone", "standard_conforming_strings"}
"""Settings that PgBouncer takes with the start of a connection."""

POOLER_HINT = (
    "Let DATABASE_URL lead to Postgres itself, or to a pool in session mode (pool_mode=session) with enough connections: "
    "a signer uses four, other workers at most four."
)

_WORDS_OF_POOLERS = {
    "no such database:": "Add the database to the pooler's configuration, or correct its name in DATABASE_URL.",
    "max_client_conn": "Raise its max_client_conn, or run fewer signers.",
    "query_wait_timeout": "Raise its pool_size: a signer keeps four connections, other workers at most four.",
    "server_login_retry": "See its log: it can't log in to Postgres.",
    "MaxClientsInSessionMode": "Raise its pool_size: a signer keeps four connections, other workers at most four.",
}
"""What PgBouncer and Supavisor say, and what to do then."""
_KINDS_OF_POOLERS = (
    asyncpg.ProtocolViolationError,
    asyncpg.InternalServerError,
    asyncpg.TooManyConnectionsError,
    asyncpg.InvalidCatalogNameError,
)

_known: set[str] = set()
"""Strings of connections that lead to a pooler in session mode."""
_direct: set[str] = set()
"""Those of connections that lead to Postgres itself."""


def is_of_pooler(error: BaseException) -> bool:
    """Whether a refused connection was refused by a pooler: Postgres itself takes every setting, or names it otherwise."""
    return (isinstance(error, asyncpg.ProtocolViolationError) and "startup parameter" in str(error)) or (
        isinstance(error, asyncpg.FeatureNotSupportedError) and "Proxy" in str(error)  # RDS Proxy
    )


def explain_pooler(error: BaseException) -> DatabaseError | None:
    """Returns the error to show for an answer that only a pooler gives; None: it is another one."""
    if is_of_pooler(error):
        return DatabaseError(
            f"DATABASE_URL leads to a connection pooler such as PgBouncer, which refuses the connection: {shown(error).rstrip('.')}.",
            hint=POOLER_HINT,
        )
    if isinstance(error, _KINDS_OF_POOLERS) and (
        about := next((word for word in _WORDS_OF_POOLERS if word in str(error)), None)
    ):
        return DatabaseError(
            f"DATABASE_URL leads to a connection pooler such as PgBouncer, which refuses the connection: {shown(error).rstrip('.')}.",
            hint=_WORDS_OF_POOLERS[about],
        )
    if isinstance(error, asyncpg.InvalidSQLStatementNameError | asyncpg.DuplicatePreparedStatementError):
        return DatabaseError(
            "DATABASE_URL leads to a connection pooler that shares sessions between transactions: "
            f"{shown(error)}.",
            hint=POOLER_HINT,
        )
    return None


async def open_connection(
    dsn: str, *, server_settings: Mapping[str, str], **others: Any
) -> WatchedConnection:
    """Opens a connection with settings of its session, also through a pooler.

    Arguments and errors are those of `asyncpg.connect`.

    Raises:
        DatabaseError: a pooler gives out sessions for single transactions.
    """
    if dsn not in _known:
        try:
            direct: WatchedConnection = await asyncpg.connect(
                dsn, server_settings=dict(server_settings), **others
            )
        except (asyncpg.ProtocolViolationError, asyncpg.FeatureNotSupportedError) as error:
            if not is_of_pooler(error):
                raise
        else:
            if dsn in _direct or await _is_direct(direct):
                _direct.add(dsn)
                return direct
            direct.terminate()
    early = {name: value for name, value in server_settings.items() if name in _AT_START}
    late = {name: value for name, value in server_settings.items() if name not in _AT_START}
    connection: WatchedConnection = await asyncpg.connect(dsn, server_settings=early, **others)
    try:
        if dsn not in _known:
            another = await asyncpg.connect(dsn, server_settings=early, **others)
            try:
                shared = await shares_sessions(connection, another)
            finally:
                another.terminate()
            _require_own_session(shared=shared)
            _known.add(dsn)
        await connection.adopt(await connection.fetchval(query("own_pid")), _statements(late))
    except BaseException:
        connection.terminate()
        raise
    return connection


async def _is_direct(connection: asyncpg.Connection) -> bool:
    """Whether a connection leads to Postgres itself. A pooler makes up the process that it names at the start, for it can change.

    So one is found that takes all settings of a connection and drops them (`ignore_startup_parameters` of PgBouncer).
    """
    try:
        return bool(connection.get_server_pid() == await connection.fetchval(query("own_pid")))
    except (asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError):
        return False
    except BaseException:
        connection.terminate()
        raise


async def shares_sessions(first: asyncpg.Connection, another: asyncpg.Connection) -> bool:
    """Returns whether a pooler gives the session of one connection to another one that is in a transaction."""
    try:
        async with asyncio.timeout(SHARED_SECONDS):
            mine = await first.fetchval(query("own_pid"))
            await another.execute(query("begin_holding"))
            theirs = await another.fetchval(query("own_pid"))
    except TimeoutError:
        return False  # there is no second session: each client keeps its own
    except (asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError):
        return True
    except asyncpg.PostgresError as error:
        if "statement pooling" in str(error):
            return True
        raise
    try:
        async with asyncio.timeout(SHARED_SECONDS):
            return bool(mine == theirs or mine != await first.fetchval(query("own_pid")))
    except (TimeoutError, asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError):
        return True


def _require_own_session(*, shared: bool) -> None:
    if shared:
        raise DatabaseError(
            "DATABASE_URL leads to a connection pooler in transaction mode, or in statement mode.",
            hint=POOLER_HINT,
        )


def _statements(settings: Mapping[str, str]) -> str:
    return "".join(
        query("set_in_session", name=_literal(name), value=_literal(value)).rstrip().rstrip(";") + ";\n"
        for name, value in settings.items()
    )


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
