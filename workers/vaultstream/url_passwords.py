"""URLs cut by a password."""

from __future__ import annotations

import re

from vaultstream.errors import UsageError


def require_escaped(url: str, variable: str) -> None:
    """Checks that no character of a user or a password ends the URL's first part early.

    Args:
        url: with a user and a password, or without.
        variable: the setting that has it, for the message.

    Raises:
        UsageError: there is one that must be escaped; the message shows nothing else of the password.
    """
    authority, end, rest = _split(url.partition("://")[2])
    login, at, _ = authority.rpartition("@")
    if at:
        found = "%" if re.search(r"%(?![0-9A-Fa-f]{2})", login) else None
    else:
        _, colon, port = authority.rpartition(":")
        within = rest if end != "/" else re.split(r"[?]", rest)[0]
        is_port = port.isdigit() and end == "?"
        found = end if colon and "@" in within and not is_port else None
    if found is not None:
        raise UsageError(
            f"{variable} has a character in its user or its password that must be escaped: {found}",
            hint="Write %2F for /, %3F for ?, %23 for #, %40 for @ and %25 for %.",
        )


def _split(text: str) -> tuple[str, str, str]:
    """Returns what is before the first of / ? #, that character, and what follows it."""
    if found := re.search(r"[/?#]", text):
        return text[: found.start()], found[0], text[found.end() :]
    return text, "", ""
