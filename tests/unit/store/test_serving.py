"""Which errors say that their connection can't serve, and how each is explained."""

from __future__ import annotations

from types import SimpleNamespace

import asyncpg
import pytest

from vaultstream.errors import DatabaseError, ExitCode
from vaultstream.exits import explained
from vaultstream.store.database import explain, is_transient
from vaultstream.store.serving import NoWritesError, ends_connection, no_writes, require_writes

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.ReadOnlySQLTransactionError("cannot execute UPDATE in a read-only transaction"),
        asyncpg.AdminShutdownError("terminating connection"),
        asyncpg.CrashShutdownError("x"),
        asyncpg.CannotConnectNowError("the database system is starting up"),
        asyncpg.DatabaseDroppedError("x"),
        asyncpg.IdleSessionTimeoutError("x"),
        asyncpg.IdleInTransactionSessionTimeoutError("x"),
        asyncpg.InFailedSQLTransactionError("x"),
        asyncpg.InvalidSQLStatementNameError("x"),
        asyncpg.DuplicatePreparedStatementError("x"),
        asyncpg.ProtocolViolationError("server conn crashed?"),
        asyncpg.ConnectionDoesNotExistError("x"),
        NoWritesError("Postgres takes no writes."),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_connection_that_can_not_serve_is_ended(error: Exception) -> None:
    assert ends_connection(error)


@pytest.mark.parametrize(
    "error",
    [
        None,
        asyncpg.DeadlockDetectedError("x"),
        asyncpg.UniqueViolationError("x"),
        asyncpg.QueryCanceledError("x"),
        asyncpg.DiskFullError("x"),
        TimeoutError(),
        ValueError("25006"),
    ],
)
def test_any_other_error_ends_no_connection(error: Exception | None) -> None:
    assert not ends_connection(error)


@pytest.mark.parametrize("reported", ["in_hot_standby", "default_transaction_read_only"])
def test_a_connection_that_takes_no_writes_is_known_without_a_question(reported: str) -> None:
    connection = SimpleNamespace(get_settings=lambda: SimpleNamespace(**{reported: "on"}))
    assert no_writes(connection)
    with pytest.raises(NoWritesError) as raised:
        require_writes(connection)
    assert is_transient(raised.value)
    assert raised.value.exit_code == ExitCode.SERVICE
    assert raised.value.hint
    for settings in ({reported: "off"}, {}):
        require_writes(SimpleNamespace(get_settings=lambda told=settings: SimpleNamespace(**told)))


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.ReadOnlySQLTransactionError("cannot execute UPDATE in a read-only transaction"),
        asyncpg.TargetServerAttributeNotMatched("None of the hosts match 'read-write'"),
        asyncpg.CannotConnectNowError("the database system is starting up"),
        asyncpg.QueryCanceledError("canceling statement due to statement timeout"),
        asyncpg.DeadlockDetectedError("deadlock detected"),
        asyncpg.LockNotAvailableError("x"),
        asyncpg.OutOfMemoryError("x"),
        asyncpg.AdminShutdownError("terminating connection"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_server_that_answers_is_not_reported_as_one_that_does_not(error: Exception) -> None:
    told = explain(error)
    assert isinstance(told, DatabaseError)
    assert "does not answer" not in told.message
    assert str(error) in told.message
    assert told.hint
    assert explained(error) is not None
