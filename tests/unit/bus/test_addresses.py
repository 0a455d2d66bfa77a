"""Where NATS is and how it keeps streams, as the settings say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from vaultstream.bus.address import BusAddress, BusLogin, bus_address
from vaultstream.errors import UsageError, redact
from vaultstream.settings import load_settings

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("given", ["1", "3", "5"])
def test_the_requested_replicas_are_passed_on_to_the_workers_that_create_streams(
    monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setenv("VAULTSTREAM_NATS_REPLICAS", given)
    assert bus_address(load_settings(), "nats://a:4222").replicas == int(given)


@pytest.mark.parametrize("given", ["0", "2", "4", "7", "three"])
def test_an_unsupported_number_of_replicas_is_refused(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("VAULTSTREAM_NATS_REPLICAS", given)
    with pytest.raises(UsageError, match="VAULTSTREAM_NATS_REPLICAS"):
        load_settings()


@pytest.mark.parametrize("url", ["nats://a:1,nats://b:2", "nats://a:1, nats://b:2", "nats://a:1,nats://b:2,"])
def test_a_url_may_name_several_servers(url: str) -> None:
    assert BusAddress(url, "keys", "").urls == ["nats://a:1", "nats://b:2"]


def test_the_first_of_several_servers_says_who_we_are_and_whether_it_is_encrypted() -> None:
    address = BusAddress("tls://signer:secret@a:1,tls://signer:secret@b:2", "keys", "")
    assert address.user_name == "signer"
    assert address.encrypted


@pytest.mark.parametrize(
    "url",
    [
        "nats://a:1,tls://b:2",
        "tls://a:1,nats://b:2",
        "TLS://a:1, nats://b:2",
        "a:1,tls://b:2",
        "tls://a,tls://b,ws://c",
    ],
)
def test_a_list_that_mixes_tls_and_plain_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="with TLS and servers without"):
        BusAddress(url, "keys", "")
    with pytest.raises(UsageError, match="with TLS and servers without"):
        BusAddress(url, "keys", "", ca_file=Path("ca.pem"))


@pytest.mark.parametrize("url", ["", ",", " , "])
def test_a_list_without_a_server_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="names no server"):
        BusAddress(url, "keys", "")


@pytest.mark.parametrize(
    "url",
    [
        "tls://[bad",
        "nats://a:1,nats://b:port",
        "nats://a:99999",
        "nats://",
        "nats://a:0",
        '"nats://a:1"',
        "nats://a:1 nats://b:2",
        "nats://me:pass,word@a:1",
    ],
)
def test_a_malformed_url_is_refused_with_the_form_that_is_taken(url: str) -> None:
    with pytest.raises(UsageError, match="VAULTSTREAM_NATS_URL has a malformed") as raised:
        BusAddress(url, "keys", "")
    assert "nats://HOST:4222" in str(raised.value.hint)


@pytest.mark.parametrize("url", ["TLS://a:1", "tls://a:1,tls://b:2"])
def test_all_tls_is_encrypted_however_it_is_written(url: str) -> None:
    assert BusAddress(url, "keys", "").encrypted
    assert not BusAddress(url.lower().replace("tls", "nats"), "keys", "").encrypted


@pytest.mark.parametrize("character", "/?#%")
def test_a_password_that_must_be_escaped_is_named(character: str) -> None:
    with pytest.raises(UsageError, match=r"VAULTSTREAM_NATS_URL .* escaped") as raised:
        BusAddress(f"nats://me:hid{character}word@a:4222", "keys", "")
    assert "hid" not in str(raised.value)


def test_certificates_are_not_dropped_over_plain_websockets() -> None:
    with pytest.raises(UsageError, match="ws://"):
        BusAddress("ws://a:80", "keys", "", ca_file=Path("ca.pem"))
    with pytest.raises(UsageError, match="WebSockets"):
        BusAddress("ws://a:80,nats://b:4222", "keys", "")


@pytest.mark.parametrize("url", ["http://a:8222", "postgresql://a:5432"])
def test_a_url_of_another_service_is_refused_by_its_scheme(url: str) -> None:
    with pytest.raises(UsageError, match=f"begins with {url.partition(':')[0]}://"):
        BusAddress(url, "keys", "")


def test_a_login_is_that_of_the_servers_own_url_unescaped() -> None:
    address = BusAddress("nats://joe:p%40ss%2Fw%25@a,nats://eve:other@b:2,c:3", "keys", "unused")
    assert address.login("a", 4222) == BusLogin("joe", "p@ss/w%")
    assert address.login("b", 2) == BusLogin("eve", "other")
    assert address.login("c", 3) == address.login("told-by-the-cluster", 4222) == BusLogin("joe", "p@ss/w%")
    assert BusAddress("a:1", "keys", "word").login("a", 1) == BusLogin("keys", "word")
    sockets = BusAddress("wss://joe:x@a,wss://eve:y@b", "keys", "unused")
    assert sockets.login("b", None) == sockets.login("b", 443) == BusLogin("eve", "y")


def test_a_user_without_a_password_is_a_token_which_no_message_shows() -> None:
    address = BusAddress("tls://t%40ken@a:1", "keys", "")
    assert address.login("a", 1) == BusLogin(token="t@ken")
    assert "t@ken" not in address.user_name
    assert "ken" not in address.servers
    assert redact("at tls://t%40ken@a:1, with") == "at tls://***@a:1, with"
    with_password = replace(address, password="word")
    assert with_password.login("a", 1) == BusLogin("t@ken", "word")


def test_a_key_without_its_certificate_is_refused() -> None:
    with pytest.raises(UsageError, match="VAULTSTREAM_NATS_CERT_FILE is not"):
        bus_address(load_settings(nats_key_file=Path("client.key")), "tls://a:1")
