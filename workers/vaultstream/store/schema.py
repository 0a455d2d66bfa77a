"""The version of the database's schema: migrated by the command, checked by the workers.

The first line of a migration names the oldest program that works with the new schema. Upgrades and downgrades between such
versions need no downtime:

    -- works with programs from version 1
"""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING, NamedTuple

import asyncpg

from vaultstream.errors import DatabaseError, SchemaVersionError
from vaultstream.store import roles, sql
from vaultstream.store.lockers import Locker, find_lockers, first_in_line, hint_to_end, named

if TYPE_CHECKING:
    from vaultstream.store.database import Connection

_WORKS_WITH = re.compile(r"-- works with programs from version (\d+)\n")

LOCK_SECONDS = 2.0
"""Longest wait of a migration for a table in use: everybody else who needs the table queues behind it."""
PATIENCE_SECONDS = 120.0
"""How long a migration keeps trying."""
PAUSE_SECONDS = 1.0


class _OvertakenError(Exception):
    """Another migration has just created the schema."""


class Installed(NamedTuple):
    """The schema of a database."""

    version: int
    """0: there is no schema yet."""
    works_from: int
    """The version of the oldest program that works with it."""


def current_version() -> int:
    """Returns the schema version that this program works with."""
    return len(sql.migrations())


async def installed_version(connection: Connection) -> int:
    """Returns the schema version of the database; 0 if there is no schema yet.

    Raises:
        SchemaVersionError: there is a schema, but its version is unknown.
    """
    return (await find_schema(connection)).version


async def find_schema(connection: Connection) -> Installed:
    """Returns the schema of the database.

    Raises:
        SchemaVersionError: there is a schema, but its version is unknown.
    """
    if await connection.fetchval(sql.query("find_table"), "vaultstream.schema_version") is None:
        return Installed(0, 0)
    row = await connection.fetchrow(sql.query("installed_schema"))
    if row is None or row["version"] < 1:
        raise SchemaVersionError(
            "The table vaultstream.schema_version contains no version: it was changed by hand.",
            hint=f"Restore its rows from a backup; the version of this program's schema is {current_version()}.",
        )
    return Installed(row["version"], row["works_from"])


async def migrate(connection: Connection, *, create_roles: bool = False) -> int:
    """Migrates the database to this program's schema and grants the roles their privileges, in one transaction.

    Jobs stay, and may keep running. A newer schema that this program works with is left as it is.

    Args:
        connection: of the user that owns the schema, or will own it.
        create_roles: whether to create missing roles; see `vaultstream.store.roles`.

    Returns:
        The version that the database had before.

    Raises:
        SchemaVersionError: the schema is too new for this program; nothing was changed.
        DatabaseError: a table stayed locked, or this user may not create roles; nothing was changed.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    lockers: dict[str, Locker] = {}
    while True:
        try:
            return await _migrate(connection, create_roles=create_roles)
        except (
            _OvertakenError,
            asyncpg.LockNotAvailableError,
            asyncpg.DeadlockDetectedError,
            asyncpg.InternalServerError,
        ) as error:
            # The last is "tuple concurrently updated": a job was created or deleted while its table was granted.
            if isinstance(error, asyncpg.InternalServerError) and "concurrently" not in str(error):
                raise
            former, lockers = lockers, await find_lockers(connection)
            if time.monotonic() > deadline:
                stayed = first_in_line([lockers[each] for each in lockers if each in former])
                raise DatabaseError(
                    f"Tables of the schema were locked by others for {PATIENCE_SECONDS:.0f} s, at last by {named(stayed)}; "
                    "nothing was changed.",
                    hint="Run this again when long transactions, such as the one of `vaultstream verify`, have ended. "
                    + hint_to_end(stayed),
                ) from error
        await asyncio.sleep(PAUSE_SECONDS)


async def _migrate(connection: Connection, *, create_roles: bool) -> int:
    async with connection.transaction():
        await connection.execute(sql.query("limit_lock_wait"), f"{LOCK_SECONDS:g}s")
        before = (await find_schema(connection)).version
        if before == 0:
            try:
                await connection.execute(sql.query("create_schema"))
                await connection.execute(sql.query("create_schema_version"))
            except (asyncpg.UniqueViolationError, asyncpg.DuplicateTableError):
                raise _OvertakenError from None
        else:
            await connection.execute(sql.query("lock_migrations"))
            installed = await find_schema(connection)
            before = installed.version
            if before > current_version():
                _refuse_newer(installed)
                return before
        for version, migration in enumerate(sql.migrations()[before:], start=before + 1):
            await connection.execute(migration)
            await connection.execute(
                sql.query("add_schema_version"),
                version,
                works_from(version, migration),
            )
        for function in sql.functions():
            await connection.execute(function)
        if create_roles:
            await roles.create_roles(connection)
        await roles.grant(connection)
    return before


def works_from(version: int, migration: str) -> int:
    """Returns the version of the oldest program that works with the schema after a migration."""
    found = _WORKS_WITH.match(migration)
    return int(found[1]) if found else version


async def require_current(connection: Connection) -> None:
    """Checks that this program works with the database's schema.

    Raises:
        SchemaVersionError: the schema is older, or too new.
    """
    installed = await find_schema(connection)
    _refuse_newer(installed)
    if installed.version < current_version():
        what = (
            f"has schema version {installed.version}"
            if installed.version
            else "has no VaultStream schema yet"
        )
        raise SchemaVersionError(
            f"The database {what}; this program works with version {current_version()}.",
            hint="`vaultstream migrate` brings it up to date; jobs and signatures stay.",
        )


def _refuse_newer(installed: Installed) -> None:
    if current_version() < installed.works_from:
        raise SchemaVersionError(
            f"The database has schema version {installed.version}, made by a newer VaultStream; "
            f"this program knows up to {current_version()}.",
            hint="Upgrade this installation of vaultstream.",
        )
