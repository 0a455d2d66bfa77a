"""Where NATS is and how it keeps streams, as the settings say."""

from __future__ import annotations

import pytest

from vaultstream.bus.connection import BusAddress, bus_address
from vaultstream.errors import UsageError
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
