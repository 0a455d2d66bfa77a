"""What an error of Postgres or NATS means for a job. Pure: an error in, a reason and a clause out."""

from __future__ import annotations

import asyncpg

from vaultstream.errors import (
    BusError,
    DatabaseError,
    LockedError,
    SchemaVersionError,
    SourceError,
    VaultStreamError,
    redact,
    shortened,
)
from vaultstream.store.database import CORRECT_URL, explain, is_misconfigured, is_transient
from vaultstream_operator.api.reasons import JobReason

_PROBLEMS: list[tuple[tuple[type[Exception], ...], JobReason, bool]] = [
    ((BusError,), JobReason.NATS_UNREACHABLE, True),
    ((SchemaVersionError,), JobReason.SCHEMA_NOT_READY, False),
    ((SourceError,), JobReason.TABLE_UNUSABLE, False),
    # A name that can't be one of a table, such as one with a NUL character.
    (
        (asyncpg.CharacterNotInRepertoireError, asyncpg.UntranslatableCharacterError),
        JobReason.TABLE_UNUSABLE,
        False,
    ),
    ((asyncpg.InsufficientPrivilegeError,), JobReason.DATABASE_REFUSES, False),
]

_CORRECT = "Correct the credentials or the privileges of its user."
_REFUSED = (asyncpg.InvalidAuthorizationSpecificationError,)  # and its subclass, a wrong password


def classify(error: Exception) -> tuple[JobReason, str, bool]:
    """Returns what an error means for a job: the reason, a clause with the problem, and whether it passes by itself.

    Raises:
        Exception: the error itself, if it is a bug.
    """
    if isinstance(error, LockedError):
        return JobReason.DATABASE_REFUSES, _clause(error), True
    cause = (
        error.__context__ if isinstance(error, DatabaseError) else error
    )  # the error of the driver, if there is one
    if isinstance(cause, _REFUSED):
        # Not passing: an old password of a Secret that was changed is told from a wrong one only by the next attempts.
        explained = explain(cause)
        advice = _CORRECT if explained.hint == CORRECT_URL else explained.hint or ""
        return JobReason.DATABASE_REFUSES, f"{explained.message} {advice}".strip(), False
    for kinds, reason, passing in _PROBLEMS:
        if isinstance(cause, kinds):
            clause = _clause(cause)
            return reason, f"{clause} {_CORRECT}" if reason is JobReason.DATABASE_REFUSES else clause, passing
    if cause is not None and is_transient(cause):
        return JobReason.POSTGRES_UNREACHABLE, _clause(cause), True
    if cause is not None and is_misconfigured(cause):
        return JobReason.SCHEMA_NOT_READY, _clause(cause), False
    if not isinstance(error, VaultStreamError | asyncpg.PostgresError):
        raise error
    return JobReason.DATABASE_REFUSES, f"{_clause(error)} {_CORRECT}", False


def _clause(error: BaseException) -> str:
    if isinstance(error, VaultStreamError):
        return f"{error.message} {error.hint or ''}".strip()
    return f"{shortened(redact(str(error))).strip().rstrip('.') or 'no answer in time'}."
