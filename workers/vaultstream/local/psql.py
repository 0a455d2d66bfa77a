"""The command line of psql, without a password in it."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from vaultstream.errors import MissingExtraError, UsageError
from vaultstream.local.programs import postgres_programs
from vaultstream.store.conninfo import is_embedded

if TYPE_CHECKING:
    from collections.abc import Sequence


_OF_PSQL = {"PGCLIENTENCODING", "PGDATESTYLE", "PGTZ"}
"""Variables that concern what psql shows, not where it connects."""


def bundled_psql() -> str:
    """Returns the path of the psql that comes with the embedded Postgres, or else of the system's psql."""
    try:
        bundled = postgres_programs() / "psql"
    except MissingExtraError:
        bundled = None
    return str(bundled) if bundled and bundled.exists() else shutil.which("psql") or "psql"


def psql_command(url: str, arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Returns the arguments after the program's name, and the environment to run it with.

    The password is passed in the environment, which only the same user can read; every user can read a command line.

    Raises:
        UsageError: the string has a secret for which psql has no variable.
    """
    parts = urlsplit(url, allow_fragments=False)
    query = parse_qsl(
        parts.query.replace("+", "%2B"), keep_blank_values=True
    )  # as libpq, for which + is no space
    if any(name == "sslpassword" for name, _ in query):
        raise UsageError(
            "psql can't be given the sslpassword of DATABASE_URL without showing it to other users.",
            hint="Name a key without a password in sslkey, or write all parameters into a service file and name it: service=NAME.",
        )
    password = unquote(parts.password) if parts.password else None
    password = next((value for name, value in query if name == "password"), password)
    user, at, host = parts.netloc.rpartition("@")
    public = urlunsplit(
        parts._replace(
            netloc=f"{user.partition(':')[0]}{at}{host}",
            query=urlencode([(name, value) for name, value in query if name != "password"], quote_via=quote),
        )
    )
    if not parts.netloc:  # urlunsplit omits the slashes if there is no host
        public = public.replace(f"{parts.scheme}:/", f"{parts.scheme}:///", 1)
    given = {"PGPASSWORD": password} if password else {}
    # The embedded server has nothing to do with the servers that the user's variables of libpq are for.
    kept = {
        name: value
        for name, value in os.environ.items()
        if not is_embedded(url) or not name.startswith("PG") or name in _OF_PSQL
    }
    return ["--dbname", public, *arguments], {**kept, **given}
