"""TLS to Postgres: trust in the system's authorities, and what is wrong with certificates, in words."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg

from vaultstream.errors import (
    DatabaseError,
    UsageError,
    VaultStreamError,
    explain_own_certificate,
    explain_tls,
    shortened,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

SYSTEM = "system"
"""The sslrootcert that stands for all authorities which the system trusts. It asks for sslmode=verify-full."""
OF_CONTEXT = (
    "sslcert",
    "sslkey",
    "sslrootcert",
    "sslcrl",
    "sslpassword",
    "ssl_min_protocol_version",
    "ssl_max_protocol_version",
)
"""The parameters that `system_context` takes in."""

CERTIFICATE_HINT = (
    "Set sslrootcert in DATABASE_URL, or PGSSLROOTCERT, to the certificate of the authority that signed the server's "
    "certificate, and use a host name that the server's certificate contains."
)
CLIENT_HINT = (
    "Set sslcert and sslkey in DATABASE_URL, or PGSSLCERT and PGSSLKEY, to a certificate that the server's authority has issued "
    "for this user, and its private key; sslpassword is that of an encrypted key."
)


def system_context(values: Mapping[str, str]) -> ssl.SSLContext:
    """Returns the TLS settings of a connection whose server must have a certificate that the system trusts, for its host's name.

    Args:
        values: the parameters of libpq by name.

    Raises:
        OSError: a file can't be read, or is no certificate or key (ssl.SSLError).
    """
    context = ssl.create_default_context()
    _add_files(context, values)
    return context


def context_without_variables(mode: str, values: Mapping[str, str]) -> ssl.SSLContext:
    """Returns the TLS settings of a connection for which no variable counts: the driver reads them wherever a parameter is empty.

    Args:
        mode: the sslmode: require, verify-ca or verify-full.
        values: the parameters of libpq by name.

    Raises:
        OSError: a file can't be read, or is no certificate or key (ssl.SSLError).
        UsageError: the server's certificate must be verified, and there is no certificate of an authority.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = mode == "verify-full"
    if root := values.get("sslrootcert") or _usual("root.crt"):
        context.load_verify_locations(root)
    elif mode == "require":
        context.verify_mode = ssl.CERT_NONE
    else:
        raise UsageError(
            f"DATABASE_URL requires a verified certificate (sslmode={mode}), and its sslrootcert is empty.",
            hint=CERTIFICATE_HINT,
        )
    _add_files(context, values)
    return context


def _usual(name: str) -> str | None:
    """Returns the path of a file where libpq looks for it unless it is told another, if the file is there."""
    try:
        path = Path("~/.postgresql").expanduser() / name
    except RuntimeError:  # no home directory
        return None
    there = os.path.exists(path)  # noqa: PTH110 - `Path.exists` raises where a directory on the way is closed
    return str(path) if there else None


def _add_files(context: ssl.SSLContext, values: Mapping[str, str]) -> None:
    for name, bound in (
        ("minimum_version", "ssl_min_protocol_version"),
        ("maximum_version", "ssl_max_protocol_version"),
    ):
        if value := values.get(bound):
            setattr(context, name, ssl.TLSVersion[value.replace(".", "_")])
    if crl := values.get("sslcrl"):
        context.load_verify_locations(crl)
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    if certificate := values.get("sslcert") or _usual("postgresql.crt"):
        key = values.get("sslkey") or str(Path("~/.postgresql/postgresql.key").expanduser())
        context.load_cert_chain(certificate, key, lambda: values.get("sslpassword", ""))


def explain_encryption(error: BaseException) -> VaultStreamError | None:
    """Returns the error to show for a problem with TLS; None: the error has another cause."""
    if why := explain_own_certificate(error):
        return DatabaseError(f"Postgres {why}.", hint=CLIENT_HINT)
    if why := explain_tls(error):
        return DatabaseError(f"Postgres can't be trusted: {why}.", hint=CERTIFICATE_HINT)
    text = str(error)
    if isinstance(error, asyncpg.ClientConfigurationError) and "certificate" in text:
        why = shortened(text.partition("\n")[0]).rstrip(".")
        return UsageError(f"DATABASE_URL requires a verified certificate: {why}.", hint=CERTIFICATE_HINT)
    if isinstance(error, ConnectionError) and "rejected SSL upgrade" in text:
        return DatabaseError(
            "Postgres offers no TLS, which DATABASE_URL requires.",
            hint="Turn on ssl in postgresql.conf, or connect without TLS: sslmode=disable in DATABASE_URL.",
        )
    if isinstance(error, asyncpg.InvalidAuthorizationSpecificationError):
        return _explain_refusal(text)
    return None


def _explain_refusal(text: str) -> DatabaseError | None:
    """Returns the error to show if Postgres refuses a user for want of TLS or of a certificate."""
    if "no encryption" in text:
        return DatabaseError(
            "Postgres accepts only encrypted connections of this user.",
            hint="Add sslmode=verify-full and sslrootcert to DATABASE_URL.",
        )
    if "client certificate" in text or "certificate authentication failed" in text:
        asks = "asks for a client certificate" if "requires" in text else "refuses the client certificate"
        return DatabaseError(f"Postgres {asks} of the user of DATABASE_URL.", hint=CLIENT_HINT)
    return None
