"""The database roles of VaultStream's parts: what each may do stands in `sql/roles/`, and is granted by the migration.

A role that is not there is passed over: where one user does everything, as on a laptop, there are none.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import asyncpg

from vaultstream.errors import DatabaseError
from vaultstream.store import sql

if TYPE_CHECKING:
    from vaultstream.store.database import Connection


class DatabaseRole(StrEnum):
    """A role in Postgres. Users are made members of it, or it is a user itself."""

    OPERATOR = "vaultstream_operator"
    KEYS = "vaultstream_keys"
    RECORDS = "vaultstream_records"
    SIGNING = "vaultstream_signing"
    AUDITOR = "vaultstream_auditor"
    """Only reads: for verify, export and status."""

    @property
    def part(self) -> str:
        return self.value.removeprefix("vaultstream_")


async def existing_roles(connection: Connection) -> list[DatabaseRole]:
    """Returns those of the roles that the server has."""
    rows = await connection.fetch(sql.query("list_roles"), list(DatabaseRole))
    there = {row["rolname"] for row in rows}
    return [role for role in DatabaseRole if role in there]


async def create_roles(connection: Connection) -> list[DatabaseRole]:
    """Makes the roles that are missing, as ones that nobody can log in with; returns those.

    Raises:
        DatabaseError: this user may make no roles.
    """
    there = await existing_roles(connection)
    made = []
    for role in DatabaseRole:
        if role in there:
            continue
        try:
            async with connection.transaction():
                await connection.execute(sql.query("create_role", role=role))
        except asyncpg.DuplicateObjectError:
            continue  # by a migration of another database of this server, just now
        except asyncpg.InsufficientPrivilegeError:
            raise DatabaseError(
                f"This user may not make the role {role}.",
                hint=f"Let someone with the right CREATEROLE run: CREATE ROLE {role} NOLOGIN; then migrate again.",
            ) from None
        made.append(role)
    return made


async def grant(connection: Connection) -> list[DatabaseRole]:
    """Grants each role that is there what its part needs and takes from it what it does not; returns those roles.

    To be called in a transaction, so that nobody meets a role between the two.
    """
    await connection.execute(sql.query("revoke_public_functions"))
    roles = await existing_roles(connection)
    for role in roles:
        await connection.execute(sql.role("revoke").format(role=role))
        await connection.execute(sql.role(role.part))
    return roles
