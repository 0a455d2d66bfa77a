"""What an error means: wait, fix, or count it against the batch."""

from __future__ import annotations

import re

import asyncpg
import pytest

from vaultstream.errors import DatabaseError, ExitCode, UnknownJobError
from vaultstream.exits import explained
from vaultstream.store.database import explain, is_misconfigured, is_transient
from vaultstream.store.privileges import EVERY_PART

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.ConnectionDoesNotExistError("gone"),
        asyncpg.DeadlockDetectedError("deadlock"),
        asyncpg.DiskFullError("full"),
        asyncpg.AdminShutdownError("down"),
        asyncpg.CannotConnectNowError("starting"),
        asyncpg.ReadOnlySQLTransactionError("standby"),
        asyncpg.InterfaceError("connection is closed"),
        ConnectionResetError(),
        TimeoutError(),
    ],
)
def test_an_unreachable_service_is_waited_for(error: Exception) -> None:
    assert is_transient(error)
    assert not is_misconfigured(error)


@pytest.mark.parametrize("error", [asyncpg.UndefinedTableError("x"), asyncpg.InsufficientPrivilegeError("x")])
def test_a_problem_that_a_person_must_fix_counts_against_no_batch(error: Exception) -> None:
    assert is_misconfigured(error)
    assert not is_transient(error)


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.DivisionByZeroError("x"),
        asyncpg.CheckViolationError("x"),
        ValueError("x"),
        # what the driver raises for a value that it can't encode: trying again would never end
        type("DriverDataError", (asyncpg.InterfaceError, ValueError), {})("x"),
    ],
)
def test_an_error_caused_by_the_batch_counts_against_it(error: Exception) -> None:
    assert not is_transient(error)
    assert not is_misconfigured(error)


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.InvalidPasswordError("x"),
        asyncpg.InvalidCatalogNameError("x"),
        asyncpg.DiskFullError("x"),
        asyncpg.TooManyConnectionsError("x"),
        asyncpg.InsufficientPrivilegeError("x"),
        OSError("postgresql://me:hidden-word@host/db refused"),
    ],
)
def test_each_error_is_explained_with_a_next_step_and_no_secret(error: Exception) -> None:
    told = explain(error)
    assert isinstance(told, DatabaseError)
    assert told.message.endswith(".")
    assert told.hint
    assert "hidden-word" not in told.message


@pytest.mark.parametrize("error", [asyncpg.ClientConfigurationError("x"), ValueError("hidden-word")])
def test_a_connection_string_that_can_not_be_read_is_bad_input(error: Exception) -> None:
    told = explain(error)
    assert told.exit_code == ExitCode.USAGE
    assert "postgresql://" in str(told.hint)
    assert "hidden-word" not in told.message


def test_an_error_of_ours_stays_as_it_is() -> None:
    error = UnknownJobError("x")
    assert explain(error) is error


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        ("permission denied for table key_material", "GRANT vaultstream_auditor TO"),
        ("permission denied for schema vaultstream", "GRANT vaultstream_auditor TO"),
        ("permission denied for function commit_batches", "GRANT vaultstream_auditor TO"),
        ("permission denied for table signatures_17", "GRANT vaultstream_auditor TO"),
        ("permission denied for table receipts", "GRANT SELECT ON receipts TO"),
        ("permission denied for schema shop", "GRANT USAGE ON SCHEMA shop TO"),
        ("permission denied for database team", "GRANT CREATE ON DATABASE team TO"),
        ("permission denied for database vaultstream", "GRANT CREATE ON DATABASE vaultstream TO"),
        ("permission denied for sequence numbers", "GRANT USAGE ON SEQUENCE numbers TO"),
        ("permission denied for function price", "GRANT EXECUTE ON FUNCTION price TO"),
        ("permission denied for view receipts", "GRANT SELECT ON receipts TO"),
    ],
)
def test_a_missing_privilege_is_reported_with_the_grant_that_is_needed(error: str, hint: str) -> None:
    told = explain(asyncpg.InsufficientPrivilegeError(error))
    assert error in told.message
    assert hint in str(told.hint)


@pytest.mark.parametrize("part", ["auditor", "keys", "records", "signing", "operator"])
def test_each_part_is_told_its_own_role(part: str) -> None:
    error = asyncpg.InsufficientPrivilegeError("permission denied for table jobs")
    hint = str(explain(error, part=part).hint)
    assert re.findall(r"vaultstream_\w+", hint) == [f"vaultstream_{part}"]
    assert explained(error, part=part).hint == hint  # type: ignore[union-attr]


def test_a_command_that_does_all_the_work_is_told_no_single_role() -> None:
    error = asyncpg.InsufficientPrivilegeError("permission denied for table jobs")
    assert "owner of the schema" in str(explain(error, part=EVERY_PART).hint)
    assert "vaultstream_" not in str(explain(error, part=EVERY_PART).hint)


def test_a_login_refused_without_encryption_is_reported() -> None:
    said = 'no pg_hba.conf entry for host "10.0.0.1", user "me", database "db", no encryption'
    told = explain(asyncpg.InvalidAuthorizationSpecificationError(said))
    assert "only encrypted" in told.message
    assert "sslmode=verify-full" in str(told.hint)


def test_a_schema_in_which_a_table_can_not_be_created_lacks_create() -> None:
    error = asyncpg.InsufficientPrivilegeError("permission denied for schema public")
    error.query = "CREATE TABLE public.receipts (id bigint)"
    assert "GRANT USAGE, CREATE ON SCHEMA public TO" in str(explain(error).hint)
