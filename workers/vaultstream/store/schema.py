"""The version of the database's schema: brought up to date by the command, checked by the workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaultstream.errors import SchemaVersionError
from vaultstream.store import sql

if TYPE_CHECKING:
    from vaultstream.store.database import Connection

_MIGRATION_LOCK = 0x5641554C54  # "VAULT": one migration at a time on a database


def current_version() -> int:
    """Returns the schema version that this program works with."""
    return len(sql.migrations())


async def installed_version(connection: Connection) -> int:
    """Returns the schema version of the database; 0 where there is none yet.

    Raises:
        SchemaVersionError: there is a schema, and no telling of which version.
    """
    if await connection.fetchval("SELECT to_regclass('vaultstream.schema_version')") is None:
        return 0
    version = await connection.fetchval("SELECT max(version) FROM vaultstream.schema_version")
    if not version or version < 1:
        raise SchemaVersionError(
            "The table vaultstream.schema_version is there and names no version: something has changed it by hand.",
            hint="Put its rows back from a backup; for a schema of this program that is the version "
            f"{current_version()}.",
        )
    return int(version)


async def migrate(connection: Connection) -> int:
    """Brings the database to this program's schema, in one transaction; jobs in it stay.

    Returns:
        The version that the database had before.

    Raises:
        SchemaVersionError: the database is of a newer version; nothing was changed.
    """
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _MIGRATION_LOCK)
        before = await installed_version(connection)
        _refuse_newer(before)
        if before == 0:
            await connection.execute("CREATE SCHEMA IF NOT EXISTS vaultstream")
            await connection.execute(
                "CREATE TABLE vaultstream.schema_version "
                "(version int PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"
            )
        for version, migration in enumerate(sql.migrations()[before:], start=before + 1):
            await connection.execute(migration)
            await connection.execute("INSERT INTO vaultstream.schema_version (version) VALUES ($1)", version)
        for function in sql.functions():
            await connection.execute(function)
    return before


async def require_current(connection: Connection) -> None:
    """Checks that the database has this program's schema.

    Raises:
        SchemaVersionError: it is older or newer, with what to do.
    """
    installed = await installed_version(connection)
    _refuse_newer(installed)
    if installed < current_version():
        what = f"has schema version {installed}" if installed else "has no VaultStream schema yet"
        raise SchemaVersionError(
            f"The database {what}; this program works with version {current_version()}.",
            hint="`vaultstream migrate` brings it up to date; jobs and signatures stay.",
        )


def _refuse_newer(installed: int) -> None:
    if installed > current_version():
        raise SchemaVersionError(
            f"The database has schema version {installed}, made by a newer VaultStream; "
            f"this program knows up to {current_version()}.",
            hint="Upgrade this installation of vaultstream.",
        )
