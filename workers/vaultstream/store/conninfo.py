"""What a connection string, a service file and the variables PG* ask for, as libpq reads them.

A parameter of libpq is taken, or refused by its name: the driver would pass those that it does not know on to Postgres, which then
refuses the connection. For the string of the embedded Postgres, none of the user's variables count.
"""

from __future__ import annotations

import getpass
import logging
import os
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlencode, urlsplit

from vaultstream.errors import UsageError
from vaultstream.store.client_tls import OF_CONTEXT, SYSTEM, context_without_variables, system_context
from vaultstream.store.libpq_files import home, password_from_file, values_of_service
from vaultstream.store.libpq_parameters import (
    ALWAYS_ENCRYPTED,
    FOR_THE_DRIVER,
    NOT_OVER_SOCKETS,
    OWN_CHOICES,
    PG_VARIABLES,
    TAKEN_VALUES,
    GivenValue,
    check_parameters,
    check_together,
)
from vaultstream.store.unopened import explain_files
from vaultstream.url_passwords import require_escaped

if TYPE_CHECKING:
    from collections.abc import Mapping

OWN = "&options="
"""Ends the string of the embedded Postgres. Being empty, it also overrides PGOPTIONS for psql."""
_EMBEDDED = re.compile(r"postgresql://postgres@/[^/?#]+\?host=/[^&]+&port=\d+" + OWN)

POSTGRES_CONNECT_SECONDS = 10.0
_SHORTEST_SECONDS, _ENDLESS_SECONDS = 2.0, 3600.0


log = logging.getLogger(__name__)


@cache
def _warn(note: str) -> None:
    """Tells a note once, as libpq does at each connect: the password is missed only later, or never."""
    log.warning("%s", note)


@dataclass(frozen=True)
class ConnectionArguments:
    """Arguments for the driver. Their representation shows no password.

    Attributes:
        dsn: the connection string, with all that the driver would look for elsewhere.
        timeout: for a new connection, in seconds.
        others: further arguments by name.
        parameters: what was asked for, by the names of libpq.
        servers: where the servers are, for messages.
        note: why there is no password, though a file of passwords is there.
    """

    dsn: str = field(repr=False)
    timeout: float
    others: Mapping[str, Any] = field(repr=False)
    parameters: Mapping[str, str] = field(default_factory=dict, repr=False)
    servers: tuple[str, ...] = ()
    note: str = ""


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
    for name, variable in PG_VARIABLES.items():
        if value := environ.get(variable):
            given.setdefault(name, GivenValue(value, variable))
    hosts = given["host"].value.split(",") if "host" in given and given["host"].value else []
    sockets = bool(hosts) and all(host.startswith("/") for host in hosts)
    if sockets:  # as libpq, which encrypts nothing there
        for name in NOT_OVER_SOCKETS & given.keys():
            if given[name].where != _URL or name.startswith("ssl"):
                del given[name]
    elif hosts and "hostaddr" in given and given["hostaddr"].where != _URL:
        del given["hostaddr"]  # of other hosts
    check_parameters(given)
    check_together(given, hosts)
    return _arguments(given, hosts, {} if own else environ, sockets=sockets, own=own)


_URL = "DATABASE_URL"


def is_embedded(url: str) -> bool:
    """Whether a connection string is that of the superuser of an embedded Postgres, which has no password."""
    return _EMBEDDED.fullmatch(url) is not None


def _require_encryption(given: dict[str, GivenValue]) -> None:
    """Reads ssl=true, as JDBC writes it; libpq takes that, too, and no other value."""
    if (asked := given.get("ssl")) and asked.value == "true":
        given.setdefault("sslmode", GivenValue("require", asked.where))


def _arguments(
    given: dict[str, GivenValue], hosts: list[str], environ: Mapping[str, str], *, sockets: bool, own: bool
) -> ConnectionArguments:
    values = {name: each.value for name, each in given.items() if each.value}
    query = {name: value for name, value in values.items() if name in FOR_THE_DRIVER and name != "passfile"}
    ports = [port or "5432" for port in values.get("port", "5432").split(",")]
    if hosts:
        ports = ports if len(ports) == len(hosts) else ports * len(hosts)
        # In brackets, the driver takes an IPv6 address as a whole.
        query["host"] = ",".join(f"[{host}]" if ":" in host else host for host in hosts)
        query["port"] = ",".join(ports)
    elif "port" in values:
        query["port"] = values["port"]
    query["user"] = values.get("user") or _own_name()
    query["dbname"] = values.get("dbname") or query["user"]
    known = PG_VARIABLES.keys() | TAKEN_VALUES.keys() | FOR_THE_DRIVER | OWN_CHOICES | {"connect_timeout"}
    query |= {
        name: value for name, value in values.items() if name not in known or name == "options"
    }  # of Postgres
    mode = values.get("sslmode") or ("require" if values.get("requiressl") == "1" else None)
    others: dict[str, Any] = {
        "ssl": False if sockets else mode or "prefer",
        "direct_tls": values.get("sslnegotiation") == "direct" and not sockets,
        "target_session_attrs": values.get("target_session_attrs", "any"),
        "gsslib": values.get("gsslib", "gssapi"),
    }
    emptied = [name for name in OF_CONTEXT if name in given and name not in values]
    if not sockets and (values.get("sslrootcert") == SYSTEM or (emptied and mode in ALWAYS_ENCRYPTED)):
        try:
            others["ssl"] = (
                system_context(values)
                if values.get("sslrootcert") == SYSTEM
                else context_without_variables(str(mode), values)
            )
        except OSError as error:
            raise explain_files(error, values) or error from None
        query = {name: value for name, value in query.items() if name not in OF_CONTEXT}
    note = ""
    if "password" not in query:
        others["password"] = ""  # the driver asks no file for one
        if not own:
            servers = list(zip(hosts, ports, strict=False)) or [("localhost", ports[0])]
            known_password = password_from_file(
                environ, values.get("passfile"), servers, query["dbname"], query["user"]
            )
            note = known_password.note
            if note:
                _warn(note)
            if known_password.value:
                check_parameters({"password": GivenValue(known_password.value, "The file of passwords")})
                query["password"] = known_password.value
                del others["password"]
    return ConnectionArguments(
        f"postgresql://?{urlencode(query, quote_via=quote)}",
        _timeout(given),
        others,
        values,
        tuple(
            f"{host}/.s.PGSQL.{port}"
            if host.startswith("/")
            else f"[{host}]:{port}"
            if ":" in host
            else f"{host}:{port}"
            for host, port in zip(hosts, ports, strict=False)
        ),
        note,
    )


def _own_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        raise UsageError(
            "DATABASE_URL names no user, and the user of this process has no name.",
            hint="Use the form postgresql://user@host:5432/database.",
        ) from None


def _timeout(given: Mapping[str, GivenValue]) -> float:
    asked = given.get("connect_timeout")
    if asked is None or not asked.value:
        return POSTGRES_CONNECT_SECONDS
    seconds = int(asked.value)
    return max(_SHORTEST_SECONDS, float(seconds)) if seconds > 0 else _ENDLESS_SECONDS


def _of_url(url: str) -> dict[str, GivenValue]:
    url = url.strip()
    scheme = url.partition("://")[0]
    if scheme not in {"postgresql", "postgres"} or "://" not in url:
        raise UsageError(
            "DATABASE_URL can't be read as a connection string: it does not begin with postgresql:// or postgres://.",
            hint="Use the form postgresql://user@host:5432/database, with the password after the user (user:password).",
        )
    require_escaped(url, _URL)
    try:
        parts = urlsplit(url, allow_fragments=False)  # libpq knows none
    except ValueError:
        raise UsageError(
            "DATABASE_URL can't be read as a connection string: its host is malformed.",
            hint="Use the form postgresql://user@host:5432/database; an IPv6 address stands in brackets.",
        ) from None
    found: dict[str, str] = {}
    login, _, servers = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    hosts = [_host_and_port(server) for server in servers.split(",")] if servers else []
    found |= {"user": _unquote(user), "password": _unquote(password), "dbname": _unquote(parts.path[1:])}
    if hosts:
        found |= {
            "host": ",".join(host for host, _ in hosts),
            "port": ",".join(port or "5432" for _, port in hosts) if any(port for _, port in hosts) else "",
        }
    query = {_unquote(name): _unquote(value) for name, value in _pairs(parts.query)}
    # As in libpq, the query counts more than what stands before it.
    given = {name: value for name, value in found.items() if value} | query
    if "database" in given:
        given.setdefault("dbname", given.pop("database"))
    return {name: GivenValue(value, _URL) for name, value in given.items()}


def _unquote(text: str) -> str:
    return unquote(text, errors="surrogateescape")


def _pairs(query: str) -> list[tuple[str, str]]:
    """Splits a query as libpq does, for which a plus sign is no space."""
    return [(pair.partition("=")[0], pair.partition("=")[2]) for pair in query.split("&") if pair]


def _host_and_port(server: str) -> tuple[str, str]:
    if bracketed := re.fullmatch(r"\[([^\]]*)\](?::(\d*))?", server):
        return _unquote(bracketed[1]), bracketed[2] or ""
    host, _, port = server.partition(":")
    return _unquote(host), port


def _add_service(given: dict[str, GivenValue], environ: Mapping[str, str]) -> None:
    """Adds what the service file says of the service that the string or PGSERVICE names."""
    named = given.pop("service", None) or GivenValue(environ.get("PGSERVICE", ""), "PGSERVICE")
    at = given.pop("servicefile", None) or GivenValue(environ.get("PGSERVICEFILE", ""), "PGSERVICEFILE")
    if not named.value:
        return
    usual = home(environ, ".pg_service.conf")
    files = [Path(at.value)] if at.value else [usual] if usual else []
    if folder := environ.get("PGSYSCONFDIR"):
        files.append(Path(folder) / "pg_service.conf")
    for file in files:
        values = values_of_service(file, named.value, named.where)
        if values is not None:
            where = f"{file}, service {named.value}"
            for name, value in values.items():
                given.setdefault(name, GivenValue(value, where))
            return
    raise UsageError(
        f"{named.where}: there is no service {named.value!r} in {' or '.join(map(str, files)) or 'a home directory'}.",
        hint="Correct its name, or set PGSERVICEFILE to the file that has it.",
    )
