"""What to grant where Postgres denies access: the right that is missing, on what it is missing, in words of SQL."""

from __future__ import annotations

import re

import asyncpg

from vaultstream.errors import DatabaseError, shown

AUDITOR = "auditor"
EVERY_PART = "every part"

_DENIED = re.compile(r"permission denied for (?P<kind>\w+(?: \w+)?) (?P<name>\S+)$")
_OURS = re.compile(
    r"vaultstream|schema_version|jobs|keys|key_material|batches|leases|dead_letters|lru|signatures_\d+|\w+_(?:batch(?:es)?|keys|job|dead)"
    r"|scaling|audit_events|audited_jobs|log_entries|attestations|checkpoints|cleared_dead_letters|decisions|priors"
)
_CREATES = re.compile(
    r"\s*(?:CREATE|ALTER|DROP|COMMENT|TRUNCATE)\b|.*\bno schema has been selected to create in", re.IGNORECASE
)

_RIGHTS = {
    "schema": "USAGE ON SCHEMA",
    "database": "CREATE ON DATABASE",
    "sequence": "USAGE ON SEQUENCE",
    "function": "EXECUTE ON FUNCTION",
    "procedure": "EXECUTE ON PROCEDURE",
    "type": "USAGE ON TYPE",
    "language": "USAGE ON LANGUAGE",
    "tablespace": "CREATE ON TABLESPACE",
    "foreign server": "USAGE ON FOREIGN SERVER",
    "parameter": "SET ON PARAMETER",
}
"""By kind of object: the right that a denied access needs, and how the object is named in a GRANT. Else SELECT on a table or view."""


def explain_privilege(error: BaseException, part: str, *, creates: bool = False) -> DatabaseError | None:
    """Returns the error to show for a missing privilege, on VaultStream's schema or on what is not ours; None: it is another one.

    Args:
        error: what was raised.
        part: see `vaultstream.store.database.explain`.
        creates: whether the command creates tables: then a schema that denies access lacks CREATE.
    """
    if not isinstance(error, asyncpg.InsufficientPrivilegeError):
        return None
    denied = _DENIED.search(str(error))
    hint = "Ask the owner for the privilege."
    if denied and denied["kind"] not in {"database", "tablespace"} and _OURS.fullmatch(denied["name"]):
        hint = "Use the owner of the schema: this command does the work of every part."
        if part != EVERY_PART:
            hint = (
                f"Ask the owner of the schema to run: GRANT vaultstream_{part} TO the user of DATABASE_URL; "
                "`vaultstream migrate` grants each role its privileges."
            )
    elif denied:
        right, whose = _RIGHTS.get(denied["kind"], "SELECT ON"), "the user of DATABASE_URL"
        if denied["kind"] == "schema" and (creates or _creates(error)):
            right = "USAGE, CREATE ON SCHEMA"
        elif not creates:
            whose += ", or of VAULTSTREAM_SOURCE_DATABASE_URL if that is set"
        hint = f"Ask its owner to run: GRANT {right} {denied['name']} TO {whose}."
    return DatabaseError(f"Postgres denies access: {shown(error)}.", hint=hint)


def _creates(error: asyncpg.InsufficientPrivilegeError) -> bool:
    return bool(_CREATES.match(str(getattr(error, "query", None) or "")))
