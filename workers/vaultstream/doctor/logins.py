"""Finds settings that a login of our roles has as its own and that may stop or weaken its workers: whoever has the login can make them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vaultstream.doctor.findings import Finding, ok, warning
from vaultstream.store.roles import DatabaseRole
from vaultstream.store.sql import query

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vaultstream.store.database import Connection

_CHECK = "settings of logins"
HARMLESS: Final = (
    "application_name",
    "array_nulls",
    "bytea_output",
    "datestyle",
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
