"""The certificates of connections to NATS, and what is wrong with a file of them."""

from __future__ import annotations

import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING

from vaultstream.errors import BusError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def tls_context(ca_file: Path | None, cert_file: Path | None, key_file: Path | None) -> ssl.SSLContext:
    """Returns a context that verifies the server's certificate and host name.

    Args:
        ca_file: the certificate of the authority, PEM; None: the authorities that the system trusts.
        cert_file: our own certificate, for a server that requires one; None: none.
        key_file: its private key; None: the key is in `cert_file`.

    Raises:
        BusError: a file is missing, can't be read or has no certificate.
    """
    with _named("VAULTSTREAM_NATS_CA_FILE", ca_file):
        context = ssl.create_default_context(cafile=ca_file)
    if cert_file is not None:
        for name, path in (
            ("VAULTSTREAM_NATS_CERT_FILE", cert_file),
            ("VAULTSTREAM_NATS_KEY_FILE", key_file),
        ):
            with _named(name, path):
                _ = path and path.read_bytes()
        with _named("VAULTSTREAM_NATS_CERT_FILE", cert_file):
            _load_own(context, cert_file, key_file)
    return context


@contextmanager
def _named(name: str, path: Path | None) -> Iterator[None]:
    """Raises what is wrong with a file, and the setting that names it."""
    try:
        yield
    except ssl.SSLError:
        raise BusError(
            f"{path} has no readable certificate.", hint=f"Set {name} to a file in PEM format."
        ) from None
    except OSError as error:
        raise BusError(
            f"{path} can't be read: {error.strerror}.", hint=f"Correct {name}, or put the file there."
        ) from None


class _EncryptedKeyError(Exception):
    pass


def _refuse_passphrase() -> str:
    """Stands for a passphrase: OpenSSL would ask for one on the terminal, and wait."""
    raise _EncryptedKeyError


def _load_own(context: ssl.SSLContext, cert_file: Path, key_file: Path | None) -> None:
    key = key_file or cert_file
    try:
        context.load_cert_chain(cert_file, key_file, _refuse_passphrase)
    except _EncryptedKeyError:
        raise BusError(
            f"The private key in {key} is encrypted.",
            hint="Set VAULTSTREAM_NATS_KEY_FILE to a file with the key as it is, mode 0600: `openssl pkey -in KEY -out FILE`.",
        ) from None
    except ssl.SSLError as error:
        if "MISMATCH" in (error.reason or ""):
            raise BusError(
                f"{key} is not the private key of the certificate in {cert_file}.",
                hint="Set VAULTSTREAM_NATS_CERT_FILE and VAULTSTREAM_NATS_KEY_FILE to files that belong together.",
            ) from None
        if b"-BEGIN CERTIFICATE-" in cert_file.read_bytes() and b"PRIVATE KEY-" not in key.read_bytes():
            raise BusError(
                f"{key} has no private key.",
                hint="Set VAULTSTREAM_NATS_KEY_FILE to the private key of VAULTSTREAM_NATS_CERT_FILE, in PEM format.",
            ) from None
        raise
