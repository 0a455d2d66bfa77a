"""The files of the schema agree with each other and with the code, which no single one of them can show."""

import re
from importlib import resources

import asyncpg
import pytest

from vaultstream.api import SigningJobSpec
from vaultstream.store.privileges import explain_privilege
from vaultstream.store.sql import functions, migrations

pytestmark = pytest.mark.unit

SQL = resources.files("vaultstream.store.sql")
NAMES_OF_USERS_TOO = {"logs", "statements"}
"""Tables of ours whose names a user's source may well have."""


def test_migrations_are_numbered_without_gaps_and_repetitions() -> None:
    """A version is a place in their order: two with one number would change it for whoever has run the first of them."""
    names = sorted(file.name for file in SQL.joinpath("migrations").iterdir() if file.name.endswith(".sql"))
    assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1))


def test_postgres_takes_all_fields_of_a_spec_and_no_others() -> None:
    [guard] = [text for text in functions() if "FUNCTION vaultstream.guard_jobs" in text]
    found = re.search(r"v_fields text\[\] := '\{([^}]*)\}'", guard)
    assert found
    fields = [field.alias or name for name, field in SigningJobSpec.model_fields.items()]
    assert re.sub(r"\s", "", found[1]).split(",") == fields


@pytest.mark.parametrize(
    "table",
    sorted(
        {name for text in migrations() for name in re.findall(r"CREATE TABLE vaultstream\.(\w+)", text)}
        - NAMES_OF_USERS_TOO
    ),
)
def test_what_is_refused_on_a_table_of_ours_is_answered_with_a_role(table: str) -> None:
    error = explain_privilege(denied(table), "operator")
    assert error
    assert "GRANT vaultstream_operator" in (error.hint or "")


def denied(table: str) -> Exception:
    """Postgres's answer to who may not read a table."""
    return asyncpg.InsufficientPrivilegeError(f"permission denied for table {table}")
