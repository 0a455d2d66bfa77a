"""What a connection string, a service file and the variables PG* ask for, as libpq reads them.

A parameter of libpq is taken, or refused by its name: the driver would pass those that it does not know on to Postgres, which then
refuses the connection. For the string of the embedded Postgres, none of the user's variables count.
"""

from __future__ import annotations

import configparser
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlencode, urlsplit

from vaultstream.errors import UsageError
from vaultstream.store.client_tls import OF_CONTEXT, SYSTEM, system_context
from vaultstream.url_passwords import require_escaped

if TYPE_CHECKING:
    from collections.abc import Mapping

OWN = "&options="
"""Ends the string of the embedded Postgres. Being empty, it also overrides PGOPTIONS for psql."""
_EMBEDDED = re.compile(r"postgresql://postgres@/[^/?#]+\?host=/[^&]+&port=\d+" + OWN)

POSTGRES_CONNECT_SECONDS = 10.0
_SHORTEST_SECONDS, _ENDLESS_SECONDS = 2.0, 3600.0

_VARIABLES = {
    "host": "PGHOST",
    "hostaddr": "PGHOSTADDR",
    "port": "PGPORT",
    "dbname": "PGDATABASE",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "passfile": "PGPASSFILE",
    "require_auth": "PGREQUIREAUTH",
    "channel_binding": "PGCHANNELBINDING",
    "options": "PGOPTIONS",
    "sslmode": "PGSSLMODE",
    "requiressl": "PGREQUIRESSL",
    "sslnegotiation": "PGSSLNEGOTIATION",
    "sslcompression": "PGSSLCOMPRESSION",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "sslcertmode": "PGSSLCERTMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcrl": "PGSSLCRL",
    "sslcrldir": "PGSSLCRLDIR",
    "sslsni": "PGSSLSNI",
    "requirepeer": "PGREQUIREPEER",
    "ssl_min_protocol_version": "PGSSLMINPROTOCOLVERSION",
    "ssl_max_protocol_version": "PGSSLMAXPROTOCOLVERSION",
    "gssencmode": "PGGSSENCMODE",
    "krbsrvname": "PGKRBSRVNAME",
    "gsslib": "PGGSSLIB",
    "gssdelegation": "PGGSSDELEGATION",
    "connect_timeout": "PGCONNECT_TIMEOUT",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
    "load_balance_hosts": "PGLOADBALANCEHOSTS",
    "min_protocol_version": "PGMINPROTOCOLVERSION",
    "max_protocol_version": "PGMAXPROTOCOLVERSION",
}
"""The variables that give a parameter where the string does not."""

_FOR_THE_DRIVER = {
    "user",
    "password",
    "passfile",
    *OF_CONTEXT,
    "krbsrvname",
}
_OVERRIDDEN = {
    "application_name",  # names each connection after its worker
    "fallback_application_name",
    "client_encoding",  # always UTF-8
    "keepalives",  # see `vaultstream.store.keepalive`
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
    "sslcompression",  # libpq itself ignores it
}
"""What VaultStream chooses itself for each connection."""

_NO = ("", "0", "off", "false", "no")
_CHOICES: dict[str, tuple[str, ...]] = {
    "ssl": ("true",),
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "target_session_attrs": (
        "any",
        "read-write",
        "read-only",
        "primary",
        "standby",
        "prefer-standby",
    ),
    "sslnegotiation": ("postgres", "direct"),
    "gsslib": ("gssapi", "sspi"),
    "ssl_min_protocol_version": ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"),
    "ssl_max_protocol_version": ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"),
    # Of those that follow, no other value can be satisfied.
    "hostaddr": ("",),
    "channel_binding": ("", "disable", "prefer"),
    "require_auth": ("",),
    "gssencmode": ("", "disable", "prefer"),
    "gssdelegation": _NO,
    "sslcertmode": ("", "allow"),
    "sslcrldir": ("",),
    "sslsni": ("", "1"),
    "sslkeylogfile": ("",),
    "requirepeer": ("",),
    "requiressl": ("", "0", "1"),
    "load_balance_hosts": ("", "disable"),
    "min_protocol_version": ("", "3.0"),
    "max_protocol_version": ("", "3.0", "3.2", "latest"),
    "replication": _NO,
    "scram_client_key": ("",),
    "scram_server_key": ("",),
    "oauth_issuer": ("",),
    "oauth_client_id": ("",),
    "oauth_client_secret": ("",),
    "oauth_scope": ("",),
}
_NOT_OVER_SOCKETS = {
    "hostaddr",
    "channel_binding",
    "require_auth",
    "gssencmode",
    "requirepeer",
    *(name for name in _VARIABLES if name.startswith(("ssl", "requiressl"))),
}
"""What variables may ask of every connection, and has no meaning for one through a Unix socket."""

_INSTEAD = {
    "ssl": "Write sslmode=verify-full, sslmode=require or sslmode=disable.",
    "hostaddr": "Put the address in the place of the host.",
    "channel_binding": "Use sslmode=verify-full with sslrootcert, which also shows that the server is the right one.",
    "load_balance_hosts": "Hosts are tried in the order of the string.",
}


@dataclass(frozen=True)
class ConnectionArguments:
    """Arguments for the driver. Their representation shows no password.

    Attributes:
        dsn: the connection string, with all that the driver would look for elsewhere.
        timeout: for a new connection, in seconds.
        others: further arguments by name.
    """

    dsn: str = field(repr=False)
    timeout: float
    others: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True)
class _Given:
    """A value, and where it comes from, for messages."""

    value: str = field(repr=False)
    where: str


def connection_arguments(url: str, environ: Mapping[str, str] | None = None) -> ConnectionArguments:
    """Returns the arguments for a connection.

    Args:
        url: the connection string: a URI that begins with postgresql:// or postgres://.
        environ: the variables; None: those of this process.

    Raises:
        UsageError: the string can't be read, or a parameter can't be satisfied; the message has its name.
    """
    own = is_embedded(url)
    environ = {} if own else os.environ if environ is None else environ
    given = _of_url(url)
    _require_encryption(given)
    _add_service(given, environ)
    _require_encryption(given)
    for name, variable in _VARIABLES.items():
        if value := environ.get(variable):
            given.setdefault(name, _Given(value, variable))
    hosts = given["host"].value.split(",") if "host" in given and given["host"].value else []
    sockets = bool(hosts) and all(host.startswith("/") for host in hosts)
    if sockets:  # as libpq, which encrypts nothing there
        for name in _NOT_OVER_SOCKETS & given.keys():
            if given[name].where != _URL or name.startswith("ssl"):
                del given[name]
    elif hosts and "hostaddr" in given and given["hostaddr"].where != _URL:
        del given["hostaddr"]  # of other hosts
    _check(given)
    _require_full_verification(given)
    return _arguments(given, hosts, sockets=sockets, own=own)


_URL = "DATABASE_URL"


def is_embedded(url: str) -> bool:
    """Whether a connection string is that of the superuser of an embedded Postgres, which has no password."""
    return _EMBEDDED.fullmatch(url) is not None


def _require_encryption(given: dict[str, _Given]) -> None:
    """Reads ssl=true, as JDBC writes it; libpq takes that, too, and no other value."""
    if (asked := given.get("ssl")) and asked.value == "true":
        given.setdefault("sslmode", _Given("require", asked.where))


def _arguments(
    given: dict[str, _Given], hosts: list[str], *, sockets: bool, own: bool
) -> ConnectionArguments:
    values = {name: each.value for name, each in given.items() if each.value}
    query = {name: value for name, value in values.items() if name in _FOR_THE_DRIVER}
    if hosts:
        ports = values.get("port", "5432").split(",")
        query["host"] = ",".join(hosts)
        query["port"] = ",".join(ports if len(ports) == len(hosts) else ports * len(hosts))
    elif "port" in values:
        query["port"] = values["port"]
    if "dbname" in values:
        query["dbname"] = values["dbname"]
    known = _VARIABLES.keys() | _CHOICES.keys() | _FOR_THE_DRIVER | _OVERRIDDEN | {"connect_timeout"}
    query |= {
        name: value for name, value in values.items() if name not in known or name == "options"
    }  # of Postgres
    mode = values.get("sslmode") or ("require" if values.get("requiressl") == "1" else None)
    others: dict[str, Any] = {
        "ssl": False if sockets else mode or "prefer",
        "direct_tls": values.get("sslnegotiation") == "direct",
        "target_session_attrs": values.get("target_session_attrs", "any"),
        "gsslib": values.get("gsslib", "gssapi"),
    }
    if values.get("sslrootcert") == SYSTEM and not sockets:
        others["ssl"] = system_context(values)
        query = {name: value for name, value in query.items() if name not in OF_CONTEXT}
    if own:
        others["password"] = ""  # asks no file for one
    return ConnectionArguments(f"postgresql://?{urlencode(query, quote_via=quote)}", _timeout(given), others)


def _require_full_verification(given: Mapping[str, _Given]) -> None:
    mode, root = given.get("sslmode"), given.get("sslrootcert")
    if root and root.value == SYSTEM and mode and mode.value not in {"", "verify-full"}:
        raise UsageError(
            f"{mode.where}: sslmode can't be {mode.value!r} with sslrootcert=system, which asks for a certificate of the host's name.",
            hint="Write sslmode=verify-full, or name the file of an authority's certificate in sslrootcert.",
        )


def _timeout(given: Mapping[str, _Given]) -> float:
    asked = given.get("connect_timeout")
    if asked is None or not asked.value:
        return POSTGRES_CONNECT_SECONDS
    seconds = int(asked.value)
    return max(_SHORTEST_SECONDS, float(seconds)) if seconds > 0 else _ENDLESS_SECONDS


def _check(given: Mapping[str, _Given]) -> None:
    for name, each in given.items():
        for number in each.value.split(",") if name == "port" else ():
            if number and not (number.isdigit() and 0 < int(number) < 65_536):  # noqa: PLR2004 - of TCP
                raise UsageError(f"{each.where}: the port must be a number from 1 to 65535.")
        if name == "connect_timeout" and not re.fullmatch(r"-?\d{1,9}|", each.value):
            raise UsageError(f"{each.where}: connect_timeout must be a whole number of seconds.")
        allowed = _CHOICES.get(name)
        if allowed is None or each.value in allowed:
            continue
        possible = [value for value in allowed if value]
        if not possible:
            raise UsageError(
                f"{each.where}: {name} is not supported.", hint=_INSTEAD.get(name, f"Remove {name}.")
            )
        raise UsageError(
            f"{each.where}: {name} can't be {each.value!r}; VaultStream takes {', '.join(possible)}.",
            hint=_INSTEAD.get(name, f"Use one of these, or remove {name}."),
        )


def _of_url(url: str) -> dict[str, _Given]:
    scheme = url.partition("://")[0]
    if scheme not in {"postgresql", "postgres"} or "://" not in url:
        raise UsageError(
            "DATABASE_URL can't be read as a connection string: it does not begin with postgresql:// or postgres://.",
            hint="Use the form postgresql://user@host:5432/database, with the password after the user (user:password).",
        )
    require_escaped(url, _URL)
    try:
        parts = urlsplit(url)
    except ValueError:
        raise UsageError(
            "DATABASE_URL can't be read as a connection string: its host is malformed.",
            hint="Use the form postgresql://user@host:5432/database; an IPv6 address stands in brackets.",
        ) from None
    found: dict[str, str] = {}
    login, _, servers = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    hosts = [_host_and_port(server) for server in servers.split(",")] if servers else []
    found |= {"user": unquote(user), "password": unquote(password), "dbname": unquote(parts.path[1:])}
    if hosts:
        found |= {
            "host": ",".join(host for host, _ in hosts),
            "port": ",".join(port or "5432" for _, port in hosts) if any(port for _, port in hosts) else "",
        }
    query = {unquote(name): unquote(value) for name, value in _pairs(parts.query)}
    if "database" in query:
        query.setdefault("dbname", query.pop("database"))
    named = {name: value for name, value in found.items() if value}
    return {name: _Given(value, _URL) for name, value in {**query, **named}.items()}


def _pairs(query: str) -> list[tuple[str, str]]:
    """Splits a query as libpq does, for which a plus sign is no space."""
    return [(pair.partition("=")[0], pair.partition("=")[2]) for pair in query.split("&") if pair]


def _host_and_port(server: str) -> tuple[str, str]:
    if bracketed := re.fullmatch(r"\[([^\]]*)\](?::(\d*))?", server):
        return bracketed[1], bracketed[2] or ""
    host, _, port = server.partition(":")
    return unquote(host), port


def _add_service(given: dict[str, _Given], environ: Mapping[str, str]) -> None:
    """Adds what the service file says of the service that the string or PGSERVICE names."""
    named = given.pop("service", None) or _Given(environ.get("PGSERVICE", ""), "PGSERVICE")
    at = given.pop("servicefile", None) or _Given(environ.get("PGSERVICEFILE", ""), "PGSERVICEFILE")
    if not named.value:
        return
    files = [Path(at.value)] if at.value else [Path("~/.pg_service.conf").expanduser()]
    if folder := environ.get("PGSYSCONFDIR"):
        files.append(Path(folder) / "pg_service.conf")
    for file in files:
        parser = configparser.RawConfigParser(delimiters=("=",), comment_prefixes=("#",), strict=False)
        try:
            parser.read(file, encoding="utf-8")
        except (configparser.Error, OSError, UnicodeDecodeError):
            raise UsageError(f"{named.where}: the service file {file} can't be read.") from None
        if parser.has_section(named.value):
            where = f"{file}, service {named.value}"
            for name, value in parser.items(named.value):
                given.setdefault(name, _Given(value, where))
            return
    raise UsageError(
        f"{named.where}: there is no service {named.value!r} in {' or '.join(map(str, files))}.",
        hint="Correct its name, or set PGSERVICEFILE to the file that has it.",
    )
