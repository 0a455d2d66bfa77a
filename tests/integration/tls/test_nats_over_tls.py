"""NATS over TLS: the server is verified before anything is sent to it, and errors say what is wrong."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from kube.certificates import Authority
from support.guarded import GuardedNats, answers, guarded_nats
from support.other_nats import other_nats
from vaultstream.bus.address import BusAddress, bus_address
from vaultstream.bus.certificates import tls_context
from vaultstream.bus.connection import connect_bus
from vaultstream.errors import BusError
from vaultstream.local.ports import choose_port
from vaultstream.local.services import Services
from vaultstream.settings import load_settings

pytestmark = pytest.mark.integration


async def test_a_known_authority_is_trusted(nats: GuardedNats) -> None:
    async with connect_bus(nats.address("admin"), role="test") as bus:
        assert bus.client.is_connected
        assert bus.client._transport._io_writer.get_extra_info("ssl_object").version() == "TLSv1.3"


async def test_a_url_of_tls_is_verified_by_what_the_system_trusts(
    nats: GuardedNats, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = replace(nats.address("admin"), url=nats.url.replace("nats://", "tls://"), ca_file=None)
    assert "an unknown authority" in await answers(address, "test")
    monkeypatch.setenv("SSL_CERT_FILE", str(nats.ca_file))
    assert await answers(address, "test") == ""


async def test_an_unknown_authority_is_reported(nats: GuardedNats, stranger: Authority) -> None:
    told = await answers(replace(nats.address("admin"), ca_file=stranger.pair.certificate), "test")
    assert "NATS can't be trusted: its certificate was issued by an unknown authority" in told
    assert "VAULTSTREAM_NATS_CA_FILE" in told


async def test_a_certificate_for_another_host_is_reported(nats: GuardedNats) -> None:
    address = replace(nats.address("admin"), url=nats.url.replace("localhost", "127.0.0.1"))
    told = await answers(address, "test")
    assert "its certificate is for another host" in told
    assert "VAULTSTREAM_NATS_URL" in told


async def test_a_missing_or_invalid_certificate_file_is_named(nats: GuardedNats, tmp_path: Path) -> None:
    missing, garbage = tmp_path / "missing.crt", tmp_path / "garbage.crt"
    await asyncio.to_thread(garbage.write_text, "not a certificate")
    told = await answers(replace(nats.address("admin"), ca_file=missing), "test")
    assert f"{missing} can't be read: No such file or directory." in told
    assert "VAULTSTREAM_NATS_CA_FILE" in told
    assert f"{garbage} has no readable certificate." in await answers(
        replace(nats.address("admin"), ca_file=garbage), "test"
    )


async def test_a_server_without_tls_gets_no_password(services: Services, nats: GuardedNats) -> None:
    address = BusAddress(services.nats_url, services.nats_user, services.nats_password, ca_file=nats.ca_file)
    assert "NATS does not offer TLS, which this connection requires." in await answers(address, "test")


async def test_a_server_that_hides_tls_in_its_greeting_gets_no_password(nats: GuardedNats) -> None:
    heard = bytearray()

    async def pretend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id":"x","version":"2.11.0","max_payload":1048576,"headers":true}\r\n')
        while data := await reader.read(1024):
            heard.extend(data)
        writer.close()

    async with await asyncio.start_server(pretend, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        address = replace(nats.address("admin"), url=f"nats://localhost:{port}")
        assert "does not offer TLS" in await answers(address, "test")
    assert heard == b""


async def test_a_client_without_tls_settings_verifies_the_server_too(nats: GuardedNats) -> None:
    told = await answers(replace(nats.address("admin"), ca_file=None), "test")
    assert "an unknown authority" in told


async def test_a_wrong_password_is_reported_as_such(nats: GuardedNats) -> None:
    assert "refuses the user or the password" in await answers(
        replace(nats.address("keys"), password="wr0ng"), "keys"
    )


async def test_a_server_that_requires_a_certificate_gets_ours(
    authority: Authority, stranger: Authority, tmp_path: Path
) -> None:
    pair = authority.issue("mutual", "mutual", hosts=["localhost"])
    client = authority.issue("client", "client")
    async with guarded_nats(
        tmp_path / "home", pair=pair, ca_file=authority.pair.certificate, wants_clients=True
    ) as nats:
        settings = load_settings(
            nats_url=nats.url,
            nats_user="admin",
            nats_password=nats.passwords["admin"],
            nats_ca_file=nats.ca_file,
            nats_cert_file=client.certificate,
            nats_key_file=client.key,
        )
        assert await answers(bus_address(settings, nats.url), "test") == ""
        ours = bus_address(settings, nats.url)
        assert "NATS asks for a client certificate." in await answers(nats.address("admin"), "test")
        theirs = stranger.issue("client", "client")
        refused = await answers(replace(ours, cert_file=theirs.certificate, key_file=theirs.key), "test")
        assert "NATS refuses the client certificate" in refused
        assert "VAULTSTREAM_NATS_CERT_FILE" in refused


def test_what_is_wrong_with_a_client_certificate_is_said_and_no_passphrase_is_asked_for(
    authority: Authority, tmp_path: Path
) -> None:
    client, other = authority.issue("client", "client"), authority.issue("other", "other")
    encrypted, missing = tmp_path / "encrypted.key", tmp_path / "missing.key"
    key = serialization.load_pem_private_key(client.key.read_bytes(), None)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
    encrypted.write_bytes(key.private_bytes(*form, serialization.BestAvailableEncryption(b"secret")))
    for key_file, told in (
        (other.key, f"{other.key} is not the private key of the certificate in {client.certificate}."),
        (encrypted, f"The private key in {encrypted} is encrypted."),
        (missing, f"{missing} can't be read: No such file or directory."),
        (None, f"{client.certificate} has no private key."),
    ):
        with pytest.raises(BusError) as raised:
            tls_context(None, client.certificate, key_file)
        assert raised.value.message == told
        assert "VAULTSTREAM_NATS_KEY_FILE" in str(raised.value.hint)


async def test_a_server_that_begins_with_tls_or_is_behind_websockets_is_verified_too(
    authority: Authority, stranger: Authority, tmp_path: Path
) -> None:
    pair, web = authority.issue("nats", "nats", hosts=["localhost"]), choose_port()
    tls = {"cert_file": str(pair.certificate), "key_file": str(pair.key)}
    websocket = {"host": "127.0.0.1", "port": web, "tls": tls}
    first = {**tls, "handshake_first": True, "timeout": 1.0}
    async with other_nats(tmp_path / "nats", tls=first, websocket=websocket) as port:
        for url in (f"tls://localhost:{port}", f"wss://localhost:{web}"):
            address = BusAddress(url, "me", "", ca_file=authority.pair.certificate)
            assert await answers(address, "test") == ""
            told = await answers(replace(address, ca_file=stranger.pair.certificate), "test")
            assert "an unknown authority" in told
        for url in (f"ws://localhost:{web}", f"wss://localhost:{port}"):
            assert "NATS" in await answers(BusAddress(url, "me", ""), "test")


def test_the_command_says_what_is_wrong_and_no_secret(
    nats: GuardedNats, stranger: Authority, tmp_path: Path
) -> None:
    environment = {
        "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
        **nats.environment("auditor"),
        "VAULTSTREAM_NATS_CA_FILE": str(stranger.pair.certificate),
    }
    done = subprocess.run(
        [sys.executable, "-m", "vaultstream_cli", "debug", "streams"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 5, done.stderr
    assert "an unknown authority" in done.stderr
    assert nats.passwords["auditor"] not in done.stderr
    trusted = subprocess.run(
        [sys.executable, "-m", "vaultstream_cli", "debug", "streams"],
        env={**environment, **nats.environment("auditor")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert trusted.returncode == 0, trusted.stderr
