"""Why a connection to Postgres could not be opened, in words that name the parameter, the file or the address at fault."""

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING

import asyncpg

from vaultstream.errors import DOCTOR, DatabaseError, UsageError, VaultStreamError, explain_tls, shown
from vaultstream.store.client_tls import CERTIFICATE_HINT, CLIENT_HINT, SYSTEM
from vaultstream.store.pooler import explain_pooler

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vaultstream.store.conninfo import ConnectionArguments

_REFUSED_AT_START = (
    asyncpg.UndefinedObjectError,
    asyncpg.InvalidParameterValueError,
    asyncpg.PostgresSyntaxError,
    asyncpg.CantChangeRuntimeParamError,
)


def explain_unopened(error: BaseException, arguments: ConnectionArguments) -> VaultStreamError | None:
    """Returns the error to show if the cause is in what a connection was asked for; None: it is another one.

    Args:
        error: by which the connection failed: errors of the system and of OpenSSL name no file.
        arguments: what was asked for.
    """
    if isinstance(error, _REFUSED_AT_START):
        return UsageError(
            f"DATABASE_URL has a parameter that Postgres does not take: {shown(error).rstrip('.')}.",
            hint="Remove it: neither libpq nor Postgres knows it. Some drivers have parameters of their own.",
        )
    if isinstance(error, UnicodeError):
        return UsageError(
            f"DATABASE_URL has a host whose name is no name of a host: {', '.join(arguments.servers)[:300]}.",
            hint="Use the form postgresql://user@host:5432/database.",
        )
    if explained := explain_pooler(error):
        return explained
    if isinstance(error, asyncpg.InternalServerError | asyncpg.FeatureNotSupportedError):
        return DatabaseError(
            f"Postgres, or a pooler in front of it, refuses the connection: {shown(error).rstrip('.')}.",
            hint=f"Correct DATABASE_URL, or what stands between; {DOCTOR}",
        )
    return (
        explain_files(error, arguments.parameters)
        or _of_login(error, arguments)
        or _of_address(error, arguments)
    )


def explain_files(error: BaseException, given: Mapping[str, str]) -> VaultStreamError | None:
    """Returns what is wrong with the files of certificates and keys, if that is the cause.

    Args:
        error: by which the connection failed.
        given: the parameters of libpq by name.
    """
    if isinstance(error, FileNotFoundError | PermissionError):
        for name in ("sslrootcert", "sslcert", "sslkey", "sslcrl"):
            path = given.get(name)
            if path and path != SYSTEM and not os.access(path, os.R_OK):
                hint = (
                    CERTIFICATE_HINT
                    if name == "sslrootcert"
                    else f"Correct {name} in DATABASE_URL, or PG{name.upper()}."
                )
                return UsageError(f"{name}: the file {path} can't be read.", hint=hint)
    if not isinstance(error, ssl.SSLError) or isinstance(error, ssl.SSLCertVerificationError):
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for name in ("sslrootcert", "sslcrl"):
        path = given.get(name)
        try:
            if path and path != SYSTEM:
                context.load_verify_locations(path)
        except OSError:
            what = "certificate" if name == "sslrootcert" else "list of revoked certificates"
            return UsageError(f"{name}: the file {path} has no {what} in PEM.", hint=CERTIFICATE_HINT)
    if certificate := given.get("sslcert"):
        key = given.get("sslkey")
        try:
            context.load_cert_chain(certificate, key, lambda: given.get("sslpassword", ""))
        except (OSError, ValueError):
            return UsageError(
                f"sslcert, sslkey: the certificate {certificate} can't be used with the key {key or 'in it'}: they do not "
                "belong together, or sslpassword is not the password of the key.",
                hint=CLIENT_HINT,
            )
    return None


def _of_login(error: BaseException, arguments: ConnectionArguments) -> VaultStreamError | None:
    text = str(error)
    if isinstance(error, asyncpg.InvalidAuthorizationSpecificationError) and "pg_hba.conf" in text:
        if "no encryption" in text and arguments.parameters.get("sslmode") == "disable":
            return None  # TLS may be all that it lacks
        return DatabaseError(
            f"Postgres admits no such connection: {shown(error).rstrip('.')}.",
            hint="Add a line for it to pg_hba.conf of the server, or correct the user, the database or sslmode in DATABASE_URL.",
        )
    nothing = arguments.others.get("password") == ""
    if isinstance(error, asyncpg.InvalidPasswordError) and nothing and "sslcert" not in arguments.parameters:
        why = f": {arguments.note}" if arguments.note else ""
        return DatabaseError(
            f"Postgres asks for a password, and DATABASE_URL has none{why}.",
            hint="Write it after the user (user:password), into PGPASSWORD, or into ~/.pgpass with mode 0600.",
        )
    return None


def _of_address(error: BaseException, arguments: ConnectionArguments) -> VaultStreamError | None:
    if isinstance(error, asyncpg.ConnectionDoesNotExistError | ConnectionResetError):
        if arguments.parameters.get("sslcert"):
            return DatabaseError(
                "Postgres ended the connection while it began; it may not know the authority that issued the client certificate.",
                hint=CLIENT_HINT,
            )
        if arguments.others.get("direct_tls"):
            return DatabaseError(
                "Postgres ended the connection while it began; before version 17 it does not take sslnegotiation=direct.",
                hint="Remove sslnegotiation.",
            )
    encrypts = arguments.parameters.get("sslmode", "prefer") not in {"prefer", "allow", "disable"}
    if "rejected SSL upgrade" in str(error) and not encrypts:  # Postgres answers one byte: yes or no
        return DatabaseError(
            f"What answers at {', '.join(arguments.servers)[:300]} is not Postgres.",
            hint="Correct the host and the port of DATABASE_URL; the port of Postgres is usually 5432.",
        )
    ours = isinstance(error, OSError | TimeoutError) and not isinstance(error, ssl.SSLError)
    if ours and arguments.servers and not explain_tls(error) and "SSL upgrade" not in str(error):
        why = str(error).partition("] ")[2] or str(error) or "no answer in time"
        return DatabaseError(
            f"Postgres does not answer at {', '.join(arguments.servers)[:300]}: {why}.",
            hint=f"Check DATABASE_URL and that Postgres is running; {DOCTOR}",
        )
    return None
