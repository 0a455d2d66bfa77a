"""The files that libpq reads beside a connection string: services, and passwords."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from vaultstream.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_FIELDS = 5  # of a line of a file of passwords: host, port, database, user, password
_DEFAULT_SOCKETS = ("/run/postgresql", "/var/run/postgresql", "/tmp")  # noqa: S108 - where libpq was built to look


@dataclass(frozen=True)
class KnownPassword:
    """What a file of passwords has for a login.

    Attributes:
        value: the password; None: the file has none.
        note: why the file was not read, for a message; "" if it was, or if there is none.
    """

    value: str | None = field(repr=False)
    note: str = ""


def home(environ: Mapping[str, str], name: str) -> Path | None:
    """Returns the path of a file in the home directory, or None for a user without one."""
    try:
        return Path(environ.get("HOME") or Path.home()) / name
    except RuntimeError:
        return None


def values_of_service(file: Path, service: str, where: str) -> dict[str, str] | None:
    """Returns the values that a service file has for a service, by the parameter's name, or None if it has no such service.

    Args:
        file: the path. One that is not there has no service.
        service: its name.
        where: what named the service, for messages.

    Raises:
        UsageError: the file can't be read; the message has the line.
    """
    if not os.path.isfile(file):  # noqa: PTH113 - `is_file` raises where a directory on the way is closed
        return None
    found: dict[str, str] | None = None
    for number, raw in _lines(file, f"{where}: the service file {file} can't be read"):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("["):
            if found is not None:
                break
            found = {} if line.startswith(f"[{service}]") else None
        elif found is not None:
            name, equals, value = line.partition("=")
            if not equals:
                raise UsageError(
                    f"{where}: the service file {file} can't be read: line {number} has no equals sign.",
                    hint="Write one parameter per line, as in host=db.example.com.",
                )
            if name.strip() in {"service", "servicefile"}:
                raise UsageError(
                    f"{where}: line {number} of the service file {file} names another service, which libpq does not take.",
                    hint="Write the parameters themselves.",
                )
            found.setdefault(name.strip(), value.strip())
    return found


def password_from_file(
    environ: Mapping[str, str],
    given: str | None,
    servers: Iterable[tuple[str, str]],
    database: str,
    user: str,
) -> KnownPassword:
    """Returns the password of the first of some servers that a file of passwords has one for.

    Args:
        environ: the variables, of which HOME leads to the usual file.
        given: the path that the user named, or None.
        servers: the host or the directory of the socket, and the port, of each.
        database: its name.
        user: the name of the login.

    Raises:
        UsageError: the password is not UTF-8.
    """
    file = Path(given) if given else home(environ, ".pgpass")
    try:
        mode = file.stat().st_mode if file else None
    except OSError:
        mode = None
    if file is None or mode is None:
        return KnownPassword(None, f"the file of passwords {given} can't be read" if given else "")
    if not stat.S_ISREG(mode):
        return KnownPassword(None, f"the file of passwords {file} is not a plain file")
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        return KnownPassword(
            None, f"the file of passwords {file} was ignored because others may access it: chmod 600 it"
        )
    if not os.access(file, os.R_OK):
        return KnownPassword(None, f"the file of passwords {file} can't be read")
    lines = [_fields(line) for _, line in _lines(file, f"The file of passwords {file} can't be read")]
    for host, port in servers:
        asked = ("localhost" if host in _DEFAULT_SOCKETS else host, port, database, user)
        for fields in lines:
            if len(fields) == _FIELDS and all(
                pattern in ("*", value) for pattern, value in zip(fields, asked, strict=False)
            ):
                return KnownPassword(fields[-1])
    return KnownPassword(None)


def _lines(file: Path, what: str) -> list[tuple[int, str]]:
    try:
        text = file.read_bytes().decode(errors="surrogateescape")
    except OSError as error:
        raise UsageError(f"{what}: {error.strerror}.") from None
    return list(enumerate(re.split(r"\r?\n", text.removeprefix("\ufeff")), 1))


def _fields(line: str) -> list[str]:
    """Splits a line at its colons. A backslash escapes a colon and itself."""
    if not line or line.startswith("#"):
        return []
    parts = re.findall(r"((?:\\.|[^:\\]|\\$)*)(?::|$)", line)[: _FIELDS - 1]
    rest = line[sum(len(part) + 1 for part in parts) :]
    return [re.sub(r"\\(.)", r"\1", part) for part in [*parts, rest]]
