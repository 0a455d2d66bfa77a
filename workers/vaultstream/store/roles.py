"""The database roles of VaultStream's parts. Their privileges are in `sql/roles/`; the migration grants them.

A missing role is skipped: where one user does everything, as on a laptop, there are no roles.
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
    """A role in Postgres. Users are members of it, or it is a user itself."""

    OPERATOR = "vaultstream_operator"
    KEYS = "vaultstream_keys"
    RECORDS = "vaultstream_records"
    SIGNING = "vaultstream_signing"
    AUDITOR = "vaultstream_auditor"
    """Read-only: for verify, export and status."""

    @property
    def part(self) -> str:
        return self.value.removeprefix("vaultstream_")


async def require_every_part(connection: Connection) -> None:
    """Checks that a login may do the work of all parts, before any of it is done.

    Raises:
        asyncpg.InsufficientPrivilegeError: it may not.
    """
    await connection.execute(sql.query("try_every_part"))


async def existing_roles(connection: Connection) -> list[DatabaseRole]:
    """Returns the roles that exist on the server."""
    rows = await connection.fetch(sql.query("list_roles"), list(DatabaseRole))
    there = {row["rolname"] for row in rows}
    return [role for role in DatabaseRole if role in there]


async def create_roles(connection: Connection) -> list[DatabaseRole]:
    """Creates the missing roles, without login, and returns them.

    Raises:
        DatabaseError: this user may not create roles.
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
            continue  # a migration of another database of this server has just created it
        except asyncpg.InsufficientPrivilegeError:
            raise DatabaseError(
                f"This user may not create the role {role}.",
                hint=f"Ask a user with CREATEROLE to run: CREATE ROLE {role} NOLOGIN; then migrate again.",
            ) from None
        made.append(role)
    return made


async def grant(connection: Connection) -> list[DatabaseRole]:
    """Gives each existing role exactly the privileges of its part; returns those roles.

    Call it in a transaction: privileges are revoked first and then granted.
    """
    await connection.execute(sql.query("revoke_public_functions"))
    roles = await existing_roles(connection)
    for role in roles:
        await connection.execute(sql.role("revoke").format(role=role))
        await connection.execute(sql.role(role.part))
    return roles
