"""Checks the login by which records are read: it must have no other privilege, because their table may run its owner's code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaultstream.doctor.findings import Finding, failed, failed_by, judge_transit, ok, warning
from vaultstream.errors import VaultStreamError
from vaultstream.store.database import connect
from vaultstream.store.owned_code import OWNED_CODE_HINT, find_owned_code, owned_code_text
from vaultstream.store.source_login import (
    HINT,
    SESSION,
    VARIABLE,
    SourceDatabase,
    SourceLogin,
    check_source_login,
    find_source_login,
    source_refusal,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vaultstream.store.database import Connection
    from vaultstream.store.owned_code import OwnedCode

_CHECK = "source login"
_CODE_CHECK = "code of the owner"


async def examine_source_login(
    ours: Connection, database: SourceDatabase, *, embedded: bool
) -> list[Finding]:
    """Checks the login and who can read its connection, over a connection of its own.

    Args:
        ours: a connection of ours.
        database: where the sources are.
        embedded: whether Postgres is the embedded one, which has one user.
    """
    own = await find_source_login(ours)
    transit: list[Finding] = []
    try:
        async with connect(database.url, role="doctor", settings=SESSION) as connection:
            login = await find_source_login(connection)
            if database.given:
                transit = judge_transit("Source login", connection.plain_peer)
                await check_source_login(connection, database, place=own.place)
    except VaultStreamError as error:
        return [*transit, failed_by(_CHECK, error)]
    return [*transit, judge_source_login(login, given=database.given, embedded=embedded)]


def judge_source_login(login: SourceLogin, *, given: bool, embedded: bool) -> Finding:
    """Returns the finding about a login that answers."""
    if error := source_refusal(login, given=given):
        return warning(
            _CHECK, f"{error.message} A worker or command that reads records refuses it.", error.hint
        )
    if given or not login.powers:
        return ok(
            _CHECK,
            f"Records are read by {login.login!r}, in read-only transactions; it has no privilege in the schema vaultstream.",
        )
    same = f"Records are read by {login.login!r}, the user of everything else, in read-only transactions"
    if embedded:
        return ok(_CHECK, f"{same}.")
    return warning(
        _CHECK, f"{same}: code of a table's owner could read wrapped keys. {VARIABLE} is not set.", HINT
    )


async def examine_owned_code(connection: Connection) -> list[Finding]:
    """Checks that nobody gets the rights of the schema's owner by a function or a view outside the schema."""
    return [judge_owned_code(await find_owned_code(connection))]


def judge_owned_code(found: Sequence[OwnedCode]) -> Finding:
    """Returns the finding about such functions and views."""
    if not found:
        return ok(
            _CODE_CHECK, "No function or view outside the schema vaultstream gives others its owner's rights."
        )
    return failed(_CODE_CHECK, owned_code_text(found), OWNED_CODE_HINT)
