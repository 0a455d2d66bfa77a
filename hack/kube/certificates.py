"""The certificate authority of one API server, in its own directory."""

from __future__ import annotations

import datetime as dt
import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from vaultstream.local.files import make_private_dir, write_private

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_LIFETIME = dt.timedelta(days=365)
_CLOCK_SKEW = dt.timedelta(minutes=5)


@dataclass(frozen=True)
class KeyPair:
    """The PEM files of a certificate and of its private key (mode 0600)."""

    certificate: Path
    key: Path


class Authority:
    """Issues certificates that are valid for a year; issued ones are reused.

    Args:
        directory: where all of it lies; made, with a new authority in it, if need be.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = make_private_dir(directory)
        self.pair = self._pair("ca")
        if not self.pair.certificate.exists():
            key = ec.generate_private_key(ec.SECP256R1())
            name = _name("vaultstream-test-ca", ())
            self._write(
                self.pair, key, _certificate(name, key.public_key(), issuer=name, signer=key, ca=True)
            )
        loaded = serialization.load_pem_private_key(self.pair.key.read_bytes(), None)
        if not isinstance(loaded, ec.EllipticCurvePrivateKey):
            raise TypeError(f"{self.pair.key} holds no key of this authority")
        self._key = loaded
        self._certificate = x509.load_pem_x509_certificate(self.pair.certificate.read_bytes())

    def issue(
        self,
        name: str,
        common_name: str,
        organizations: Iterable[str] = (),
        *,
        hosts: Iterable[str] = (),
        renew: bool = False,
    ) -> KeyPair:
        """Returns a key pair for a server or a client.

        Args:
            name: the name of the files.
            common_name: the user's name in Kubernetes.
            organizations: the user's groups in Kubernetes.
            hosts: the DNS names and IP addresses of a server.
            renew: whether to issue it again if it exists.
        """
        pair = self._pair(name)
        if renew or not pair.certificate.exists():
            key = ec.generate_private_key(ec.SECP256R1())
            certificate = _certificate(
                _name(common_name, organizations),
                key.public_key(),
                issuer=self._certificate.subject,
                signer=self._key,
                hosts=hosts,
            )
            self._write(pair, key, certificate)
        return pair

    def _pair(self, name: str) -> KeyPair:
        return KeyPair(self._directory / f"{name}.crt", self._directory / f"{name}.key")

    def _write(self, pair: KeyPair, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        text = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()
        write_private(pair.key, text)
        write_private(pair.certificate, certificate.public_bytes(serialization.Encoding.PEM).decode())


def _name(common_name: str, organizations: Iterable[str]) -> x509.Name:
    return x509.Name(
        [
            *(x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in organizations),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _host(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _certificate(  # with everything that the strictest checks of Python and Go require, such as key identifiers
    subject: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    *,
    issuer: x509.Name,
    signer: ec.EllipticCurvePrivateKey,
    ca: bool = False,
    hosts: Iterable[str] = (),
) -> x509.Certificate:
    now = dt.datetime.now(dt.UTC)
    usage = x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )
    builder = (
        x509.CertificateBuilder(
            issuer,
            subject,
            public_key,
            x509.random_serial_number(),
            now - _CLOCK_SKEW,
            now + _LIFETIME,
        )
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    )
    if not ca:
        purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    if names := [_host(host) for host in hosts]:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(signer, hashes.SHA256())
