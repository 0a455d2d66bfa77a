"""Certificates pass the strictest checks, and only their owner can read private keys."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
from cryptography import x509

from kube.certificates import Authority

pytestmark = pytest.mark.unit


async def test_a_server_and_a_client_trust_each_other_under_strict_checks(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    server = authority.issue("server", "server", hosts=["localhost", "127.0.0.1"])
    client = authority.issue("client", "somebody", ["some-group"])

    server_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority.pair.certificate))
    server_side.load_cert_chain(server.certificate, server.key)
    server_side.verify_mode = ssl.CERT_REQUIRED
    client_side = ssl.create_default_context(cafile=str(authority.pair.certificate))
    client_side.load_cert_chain(client.certificate, client.key)
    for side in (server_side, client_side):
        side.verify_flags |= ssl.VERIFY_X509_STRICT

    async def tell_name(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        subject = dict(pair[0] for pair in writer.get_extra_info("peercert")["subject"])
        writer.write(f"{subject['commonName']} of {subject['organizationName']}".encode())
        writer.close()

    listener = await asyncio.start_server(tell_name, "127.0.0.1", 0, ssl=server_side)
    async with listener:
        port = listener.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client_side)
        assert await reader.read() == b"somebody of some-group"
        writer.close()


def test_keys_are_private_and_what_was_issued_stays(tmp_path: Path) -> None:
    pair = Authority(tmp_path).issue("user", "one")
    first = pair.certificate.read_bytes()
    assert pair.key.stat().st_mode & 0o777 == 0o600
    assert Authority(tmp_path).issue("user", "two").certificate.read_bytes() == first

    renewed = Authority(tmp_path).issue("user", "two", renew=True).certificate.read_bytes()
    assert x509.load_pem_x509_certificate(renewed).subject.rfc4514_string() == "CN=two"
