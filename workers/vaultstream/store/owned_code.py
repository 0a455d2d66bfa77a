"""Functions and views outside the schema `vaultstream` by which others get the rights of its owner.

A restore that gives the owner of the schema what belonged to the owners of tables makes such: their code runs as him then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from vaultstream.errors import UsageError
from vaultstream.store.roles import DatabaseRole
from vaultstream.store.sql import query

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vaultstream.store.database import Connection

OWNED_CODE_HINT: Final = (
    "Give each back to whom it belonged (`ALTER FUNCTION … OWNER TO …`, `ALTER VIEW … OWNER TO …`), or revoke it from all others: "
    "`REVOKE ALL ON FUNCTION … FROM PUBLIC`. After a restore that took owners away, restore again as docs/operations.md says."
)
_SHOWN = 3
"""How many are named; of the rest, only the number is given."""


class OwnedCode(NamedTuple):
    """A function or a view that belongs to the owner of the schema and that others may use."""

    kind: str
    """`function`, `procedure`, `view` or `materialized view`."""
    name: str
    """Ready for SQL, with its schema."""
    owner: str
    """Of it, and of the schema `vaultstream`."""


async def find_owned_code(connection: Connection, source_oid: int | None = None) -> list[OwnedCode]:
    """Returns all of them; none where the owner of the schema is the only one who may connect.

    Args:
        connection: under any login.
        source_oid: a relation that is to be read, so that it counts without a grant.
    """
    rows = await connection.fetch(query("list_owned_code"), source_oid, list(DatabaseRole))
    return [OwnedCode(row["kind"], row["name"], row["owner"]) for row in rows]


async def refuse_owned_code(connection: Connection, source_oid: int) -> None:
    """Checks that nothing of the kind is there before a relation is accepted.

    Raises:
        UsageError: it names what is there.
    """
    if found := await find_owned_code(connection, source_oid):
        raise UsageError(owned_code_text(found), hint=OWNED_CODE_HINT)


def owned_code_text(found: Sequence[OwnedCode]) -> str:
    """Returns the sentences about what was found, at least one."""
    names = ", ".join(f"the {each.kind} {each.name}" for each in found[:_SHOWN])
    more = f" and {len(found) - _SHOWN:,} more" if len(found) > _SHOWN else ""
    return (
        f"{names[0].upper()}{names[1:]}{more} outside the schema vaultstream belong{'s' if len(found) == 1 else ''} to its owner "
        f"{found[0].owner!r}, and others may use {'it' if len(found) == 1 else 'them'}: what they run there has his rights, "
        "also to wrapped keys."
    )
