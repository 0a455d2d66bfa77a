"""Finds what is wrong with the logins of our roles: settings of their own, and logins of another database that may connect to this one.

Whoever has a login can make settings for it that may stop or weaken its workers. Roles and their members belong to the server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vaultstream.doctor.findings import Finding, ok, warning
from vaultstream.store.database import fetch_one
from vaultstream.store.roles import DatabaseRole
from vaultstream.store.sql import query

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vaultstream.store.database import Connection

_CHECK = "settings of logins"
_CONNECT_CHECK = "logins of other databases"
_SHOWN = 3
"""Databases that are named; of the rest, only the number is given."""
HARMLESS: Final = (
    "application_name",
    "array_nulls",
    "bytea_output",
    "datestyle",
    "default_transaction_deferrable",
    "default_transaction_isolation",
    "extra_float_digits",
    "intervalstyle",
    "jit",
    "log_min_duration_statement",
    "log_statement",
    "quote_all_identifiers",
    "standard_conforming_strings",
    "timezone",
    "transform_null_equals",
    "work_mem",
    "xmloption",
)
"""Settings of a login that neither stop its workers nor weaken what they commit. Others may, in some version of Postgres."""


async def examine_logins(connection: Connection) -> list[Finding]:
    """Checks that no member of our roles has a setting that may stop or weaken its workers."""
    found = await connection.fetch(query("list_login_settings"), list(DatabaseRole), list(HARMLESS))
    return judge_logins({row["login"]: row["settings"] for row in found})


def judge_logins(settings: Mapping[str, Sequence[str]]) -> list[Finding]:
    """Returns a finding about the names of such settings, by login."""
    if not settings:
        return [ok(_CHECK, "No user of ours has a setting that could stop or weaken its workers.")]
    shown = "; ".join(f"{login} has {', '.join(names)}" for login, names in settings.items())
    return [
        warning(
            _CHECK,
            f"Users of ours have settings that can stop their workers or weaken what they commit: {shown}. A login can make them for itself.",
            'If nobody of yours made them, the login may be in other hands: see "Someone with any of these logins" in '
            "docs/threat-model.md. They are removed by `ALTER ROLE … RESET ALL`, also for each database (`IN DATABASE …`).",
        )
    ]


async def examine_connect(connection: Connection) -> list[Finding]:
    """Checks that logins of our roles in another database of the server may not connect to this one."""
    row = await fetch_one(connection, query("list_connect"), list(DatabaseRole))
    return [judge_connect(row["anybody"], row["elsewhere"])]


def judge_connect(anybody: Sequence[str], elsewhere: Sequence[str]) -> Finding:
    """Returns the finding.

    Args:
        anybody: the groups, or PUBLIC, whose members may connect without a grant that names them.
        elsewhere: other databases of the server with a schema of ours.
    """
    if not elsewhere:
        return ok(_CONNECT_CHECK, "No other database of this server has grants to our roles.")
    more = f" and {len(elsewhere) - _SHOWN:,} more" if len(elsewhere) > _SHOWN else ""
    named = ", ".join(elsewhere[:_SHOWN]) + more
    if not anybody:
        return ok(
            _CONNECT_CHECK,
            f"Only logins that were named may connect to this database; our roles are also in {named}.",
        )
    return warning(
        _CONNECT_CHECK,
        f"Roles belong to the server, and our roles have privileges in other databases of it, too: {named}. Their logins have the "
        f"same rights here, also to wrapped keys, because {' and '.join(anybody)} may connect to this database.",
        f"Let only logins of this database connect: `REVOKE CONNECT ON DATABASE … FROM {', '.join(anybody)}`, and GRANT it to each "
        'of them by name; see "A database for each" in docs/production.md. Do so in each database.',
    )
