"""The login by which sources are read: which one it is, and what it must not be able to do.

A view, a row security policy or a computed column runs code of its owner with the privileges of whoever reads it. So the login
must have no privilege in the schema `vaultstream`, and none on the server that is as good as one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Self

from vaultstream.credentials import DATABASE_FILE, SOURCE_DATABASE_FILE, UrlSource, current_source_url
from vaultstream.errors import UsageError, VaultStreamError
from vaultstream.store.database import fetch_one
from vaultstream.store.search_path import PATH
from vaultstream.store.sql import query

if TYPE_CHECKING:
    from vaultstream.settings import Settings
    from vaultstream.store.database import Connection

VARIABLE = "VAULTSTREAM_SOURCE_DATABASE_URL"

SESSION = {
    "search_path": PATH,
    "default_transaction_read_only": "on",
    "extra_float_digits": "1",
}
"""Settings of a source connection. Our queries name relations with their schema; by this path, no object of anybody else can
stand in for one of the functions and operators in them. Floats are returned with all their digits."""

HINT = (
    "Create a login that is a member of no role, grant it SELECT on the columns of the job's table, and set "
    f"{VARIABLE} to its URL; see docs/security.md."
)


@dataclass(frozen=True)
class SourceDatabase:
    """How to reach the sources."""

    url: UrlSource = field(repr=False)
    given: bool
    """Whether it is VAULTSTREAM_SOURCE_DATABASE_URL. If not, it is DATABASE_URL."""

    @classmethod
    def of(cls, database_url: UrlSource, source_url: UrlSource | None) -> Self:
        return cls(source_url or database_url, source_url is not None)

    @classmethod
    def by(cls, settings: Settings, database_url: UrlSource) -> Self:
        """Returns the one that the settings name, `database_url` if they name none."""
        return cls.of(database_url, current_source_url(settings))

    def explain(self, error: VaultStreamError) -> VaultStreamError:
        """Returns an error of the connection with the name of the variable at fault."""
        if not self.given:
            return error
        message, hint = (
            text
            and text.replace("DATABASE_URL", VARIABLE).replace(
                f"Correct {DATABASE_FILE} ", f"Correct {SOURCE_DATABASE_FILE} "
            )
            for text in (error.message, error.hint)
        )
        return type(error)(message or "", hint=hint)


class Place(NamedTuple):
    """Identifies a database, the schema in it, and the server."""

    database_oid: int
    schema_oid: int | None
    server: str = ""
    """When it started: a standby and a copy have the same oids, but did not start in the same microsecond."""
    standby: bool = False


@dataclass(frozen=True)
class SourceLogin:
    """What a login could do besides reading sources; see the query `source_login`."""

    login: str
    superuser: bool
    owns: bool
    powers: tuple[str, ...]
    """The roles, itself included, by which it could use the schema `vaultstream` or act on the server."""
    place: Place


async def find_source_login(connection: Connection) -> SourceLogin:
    """Returns what the login of a connection could do. Nothing else may have run on the connection before."""
    row = await fetch_one(connection, query("source_login"))
    return SourceLogin(
        login=row["login"],
        superuser=row["superuser"],
        owns=row["owns"],
        powers=tuple(row["powers"]),
        place=Place(row["database_oid"], row["schema_oid"], row["server"], row["standby"]),
    )


async def find_place(connection: Connection) -> Place:
    """Returns the place that a connection of ours leads to."""
    return (await find_source_login(connection)).place


def source_refusal(login: SourceLogin, *, given: bool) -> UsageError | None:
    """Returns why sources are not read by a login; None: they may be.

    Args:
        login: of the connection.
        given: whether it is that of VAULTSTREAM_SOURCE_DATABASE_URL; if not, it is that of DATABASE_URL.
    """
    if not login.powers:
        return None
    if not given:
        if login.superuser or login.owns:
            return None  # one user does everything
        return UsageError(
            f"{VARIABLE} is not set, and the user {login.login!r} of DATABASE_URL has privileges that code of a table's owner "
            f"must not get: those of {', '.join(login.powers)}.",
            hint=HINT,
        )
    if login.superuser:
        why = "is a superuser"
    elif login.owns:
        why = "has the privileges of the owner of the schema vaultstream"
    elif login.powers == (login.login,):
        why = "may use the schema vaultstream, files of the server or its administration"
    else:
        why = f"has the privileges of {', '.join(login.powers)}"
    return UsageError(f"{VARIABLE}: the user {login.login!r} {why}.", hint=HINT)


async def check_source_login(connection: Connection, database: SourceDatabase, *, place: Place) -> None:
    """Checks the login of a new source connection.

    Args:
        connection: on which nothing has run yet.
        database: where it leads.
        place: where our own connections lead.

    Raises:
        UsageError: sources are not read by this login, or it is on another database.
    """
    login = await find_source_login(connection)
    if login.place != place:
        where = "another database than DATABASE_URL"
        if login.place[:2] == place[:2]:
            standby = login.place.standby and not place.standby
            where = (
                "a standby, which may lag behind DATABASE_URL"
                if standby
                else "another server than DATABASE_URL"
            )
        raise UsageError(
            f"{VARIABLE} leads to {where}.",
            hint="Use the same host, port and database in both; only user and password differ.",
        )
    if error := source_refusal(login, given=database.given):
        raise error
