"""Timestamps of RFC 3161: an authority's word that a checkpoint existed at a time, whatever the clocks of this installation say.

What is kept is the authority's answer as it came, which `openssl ts -verify` checks:

    openssl ts -verify -in checkpoint.tsr -data checkpoint.stamped -CAfile ca.pem
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Self

from cryptography import x509
from rfc3161_client import (
    HashAlgorithm,
    TimestampRequestBuilder,
    VerificationError,
    VerifierBuilder,
    decode_timestamp_response,
)

from vaultstream.errors import ServiceError, TimestampError, UsageError, shown
from vaultstream.sealing.posting import Address, post

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from vaultstream.settings import Settings

_QUERY, _REPLY = "application/timestamp-query", "application/timestamp-reply"
_OK = 200
_GRANTED = {0, 1}
"""With a token; 1: not quite as it was asked for, which the verifier refuses."""
_LATER = "The checkpoint will be stamped again later."


@dataclass(frozen=True, slots=True)
class SealTimestamp:
    """A timestamp that was verified."""

    at: datetime
    response: bytes
    """The authority's answer, in DER."""


@dataclass(frozen=True, slots=True)
class TimestampAuthority:
    """An authority, and the certificates that are trusted for it."""

    address: Address
    """It may be unencrypted: what is sent is a hash, and the answer is signed."""
    trusted: tuple[x509.Certificate, ...]

    @classmethod
    def load(cls, url: str, ca_file: Path) -> Self:
        """Returns the authority at a URL.

        Args:
            url: where it answers.
            ca_file: certificates in PEM: that of its root, and those between if the answers do not have them.

        Raises:
            UsageError: the URL or the file can't be used.
        """
        return cls(Address(url), load_trusted(ca_file))

    @classmethod
    def of(cls, settings: Settings) -> Self | None:
        """Returns the authority of the settings; None: there is none.

        Raises:
            UsageError: the URL or the file of certificates can't be used, or one is missing.
        """
        url, ca_file = settings.timestamp_url, settings.timestamp_ca_file
        if url is None:
            return None
        if ca_file is not None:
            return cls.load(url, ca_file)
        if settings.timestamp_ca is None:
            raise UsageError(
                "VAULTSTREAM_TIMESTAMP_CA_FILE is not set, and VAULTSTREAM_TIMESTAMP_URL is.",
                hint="Set it to a file with the certificate of the authority's root, in PEM: else no timestamp can be verified.",
            )
        return cls(Address(url), _parsed(settings.timestamp_ca.encode(), "VAULTSTREAM_TIMESTAMP_CA"))

    async def stamp(self, data: bytes) -> SealTimestamp:
        """Returns a timestamp of the data.

        Raises:
            TimestampError: the authority gives none, or none that is valid.
        """
        request = TimestampRequestBuilder().data(data).hash_algorithm(HashAlgorithm.SHA256).build()
        try:
            reply = await post(self.address, request.as_bytes(), _QUERY)
        except ServiceError as error:
            raise TimestampError(f"No timestamp was obtained. {error.message}", hint=_LATER) from None
        if (reply.status, reply.kind) != (_OK, _REPLY):
            raise TimestampError(
                f"The authority {self.address.host!r} answered with the status {reply.status} of HTTP, and no timestamp.",
                hint="Compare VAULTSTREAM_TIMESTAMP_URL with the address that the authority publishes.",
            )
        return _verified(reply.body, data, self.trusted, VerifierBuilder.from_request(request))


def load_trusted(ca_file: Path) -> tuple[x509.Certificate, ...]:
    """Returns the certificates of a file in PEM.

    Raises:
        UsageError: it can't be read, or has none.
    """
    try:
        return _parsed(ca_file.read_bytes(), str(ca_file))
    except OSError as error:
        raise UsageError(
            f"The certificates of the timestamp authority can't be read from {ca_file}: {error.strerror}.",
            hint="Set VAULTSTREAM_TIMESTAMP_CA_FILE to a file of certificates in PEM.",
        ) from None


def _parsed(data: bytes, where: str) -> tuple[x509.Certificate, ...]:
    try:
        return tuple(x509.load_pem_x509_certificates(data))
    except ValueError as error:
        raise UsageError(
            f"{where} has no certificates of a timestamp authority: {shown(error)}.",
            hint="They are in PEM, and begin with the line -----BEGIN CERTIFICATE-----.",
        ) from None


def verify_timestamp(response: bytes, data: bytes, trusted: tuple[x509.Certificate, ...]) -> SealTimestamp:
    """Verifies a timestamp of the data that was kept.

    Raises:
        TimestampError: it is not valid.
    """
    return _verified(response, data, trusted, VerifierBuilder())


def _verified(
    response: bytes, data: bytes, trusted: tuple[x509.Certificate, ...], builder: VerifierBuilder
) -> SealTimestamp:
    for certificate in trusted:
        builder = builder.add_root_certificate(certificate)
    try:
        decoded = decode_timestamp_response(response)
        if decoded.status not in _GRANTED:
            reasons = "; ".join(decoded.status_string) or f"status {decoded.status}"
            raise TimestampError(
                f"The authority refuses a timestamp: {shown(ValueError(reasons))}.", hint=_LATER
            )
        builder.build().verify(decoded, sha256(data).digest())
        return SealTimestamp(decoded.tst_info.gen_time, response)
    except (VerificationError, ValueError) as error:
        raise TimestampError(
            f"The timestamp is not valid: {shown(error)}.",
            hint="Compare the certificates of VAULTSTREAM_TIMESTAMP_CA_FILE with those that the authority publishes.",
        ) from None
