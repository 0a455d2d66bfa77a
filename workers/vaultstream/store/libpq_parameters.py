"""The parameters of libpq: which are taken, with which values, and which are refused."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vaultstream.errors import UsageError
from vaultstream.plurals import counted
from vaultstream.store.client_tls import OF_CONTEXT, SYSTEM

if TYPE_CHECKING:
    from collections.abc import Mapping

ALWAYS_ENCRYPTED = ("require", "verify-ca", "verify-full")

PG_VARIABLES = {
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

FOR_THE_DRIVER = {
    "user",
    "password",
    "passfile",
    *OF_CONTEXT,
    "krbsrvname",
}
OWN_CHOICES = {
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
TAKEN_VALUES: dict[str, tuple[str, ...]] = {
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
    "ssl_min_protocol_version": ("", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"),
    "ssl_max_protocol_version": ("", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"),
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
NOT_OVER_SOCKETS = {
    "hostaddr",
    "channel_binding",
    "require_auth",
    "gssencmode",
    "requirepeer",
    *(name for name in PG_VARIABLES if name.startswith(("ssl", "requiressl"))),
}
"""What variables may ask of every connection, and has no meaning for one through a Unix socket."""

_INSTEAD = {
    "ssl": "Write sslmode=verify-full, sslmode=require or sslmode=disable.",
    "hostaddr": "Put the address in the place of the host.",
    "channel_binding": "Use sslmode=verify-full with sslrootcert, which also shows that the server is the right one.",
    "load_balance_hosts": "Hosts are tried in the order of the string.",
}


@dataclass(frozen=True)
class GivenValue:
    """A value, and where it comes from, for messages."""

    value: str = field(repr=False)
    where: str


def check_parameters(given: Mapping[str, GivenValue]) -> None:
    """Checks each parameter by itself.

    Args:
        given: the values by the parameter's name.

    Raises:
        UsageError: one can't be satisfied; the message has its name and where it comes from.
    """
    for name, each in given.items():
        if re.search("[\0\ud800-\udfff]", each.value) or not name:
            what = name or "a parameter without a name"
            raise UsageError(
                f"{each.where}: {what} can't be used: it has a NUL byte, is not UTF-8 or is empty."
            )
        for number in each.value.split(",") if name == "port" else ():
            if number and not (number.isdigit() and 0 < int(number) < 65_536):  # noqa: PLR2004 - of TCP
                raise UsageError(f"{each.where}: the port must be a number from 1 to 65535.")
        if name == "connect_timeout" and not re.fullmatch(r"\s*-?\d{1,9}\s*|", each.value):
            raise UsageError(f"{each.where}: connect_timeout must be a whole number of seconds.")
        allowed = TAKEN_VALUES.get(name)
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


def check_together(given: Mapping[str, GivenValue], hosts: list[str]) -> None:
    """Checks what several parameters ask for together.

    Args:
        given: the values by the parameter's name.
        hosts: the names of the hosts.

    Raises:
        UsageError: they can't be satisfied together.
    """
    _require_full_verification(given)
    if not all(hosts):
        raise UsageError(
            f"{given['host'].where}: a host is empty.", hint="Name each host, separated by commas."
        )
    port = given.get("port")
    ports = port.value.split(",") if port else []
    if port and len(ports) not in {1, len(hosts)}:
        raise UsageError(
            f"{port.where}: there are {len(ports)} ports for {counted(len(hosts), 'host')}.",
            hint="Give one port for all hosts, or one for each, in the same order.",
        )
    lowest, highest = given.get("ssl_min_protocol_version"), given.get("ssl_max_protocol_version")
    if lowest and highest and highest.value and lowest.value > highest.value:
        raise UsageError(
            f"{lowest.where}: ssl_min_protocol_version is above ssl_max_protocol_version, so that no version is left.",
            hint="Remove one of them.",
        )
    direct = given.get("sslnegotiation")
    if direct and direct.value == "direct" and not _always_encrypted(given):
        raise UsageError(
            f"{direct.where}: sslnegotiation=direct needs a connection that is encrypted in any case.",
            hint="Write sslmode=require, verify-ca or verify-full, too; sslmode=verify-full shows that the server is the right one.",
        )


def _always_encrypted(given: Mapping[str, GivenValue]) -> bool:
    values = {name: each.value for name, each in given.items()}
    if mode := values.get("sslmode"):
        return mode in ALWAYS_ENCRYPTED
    return (
        values.get("sslrootcert") == SYSTEM or values.get("requiressl") == "1"
    )  # as if it were verify-full, require


def _require_full_verification(given: Mapping[str, GivenValue]) -> None:
    mode, root = given.get("sslmode"), given.get("sslrootcert")
    if root and root.value == SYSTEM and mode and mode.value not in {"", "verify-full"}:
        raise UsageError(
            f"{mode.where}: sslmode can't be {mode.value!r} with sslrootcert=system, which asks for a certificate of the host's name.",
            hint="Write sslmode=verify-full, or name the file of an authority's certificate in sslrootcert.",
        )
