"""Logins and certificates of NATS that change under a connection: it goes on with those that the files have."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kube.certificates import Authority
from support.rotating import ACCOUNT, OPERATOR_KEY, USER_KEY, Nkey, changing_nats, creds_text
from support.waiting import eventually
from vaultstream.bus.address import BusAddress
from vaultstream.bus.connection import Bus, connect_bus
from vaultstream.credentials import CredentialFiles
from vaultstream.errors import BusError

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.integration


def address(url: str, files: Path, **fields: Path) -> BusAddress:
    return BusAddress(url, "old-user", "old-password", files=CredentialFiles(files), **fields)  # type: ignore[arg-type]


def user(name: str, password: str) -> dict[str, object]:
    return {"authorization": {"users": [{"user": name, "password": password}]}}


async def away(bus: Bus) -> bool:
    return not bus.client.is_connected


async def back(bus: Bus) -> bool:
    return bus.client.is_connected


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "credentials"
    folder.mkdir()
    return folder


async def test_a_changed_password_of_nats_is_used_without_a_restart(
    files: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAULTSTREAM_CREDENTIALS_SECRET", "signing-records")
    (files / "nats-password").write_text("one\n")
    (files / "nats-user").write_text("records")
    async with (
        changing_nats(tmp_path / "nats", **user("records", "one")) as nats,
        connect_bus(address(nats.url, files), role="test") as bus,
    ):
        subscription = await bus.client.subscribe("news")
        await nats.change(**user("records", "two"))
        await eventually(lambda: away(bus))

        async def told() -> bool:
            return any("NATS refuses" in record.getMessage() for record in caplog.records)

        with caplog.at_level(logging.WARNING):
            await eventually(told)
        [record] = [each for each in caplog.records if "NATS refuses" in each.getMessage()]
        assert "nats-user and nats-password in the Secret signing-records" in str(record.__dict__["hint"])
        assert not bus.client.is_closed
        (files / "nats-password").write_text("two\n")
        await eventually(lambda: back(bus))
        await bus.client.publish("news", b"x")
        assert (await subscription.next_msg(timeout=5)).data == b"x"


async def test_an_nkey_logs_in_and_can_be_changed(files: Path, tmp_path: Path) -> None:
    one, two = Nkey(USER_KEY), Nkey(USER_KEY)
    (files / "nats-nkey").write_text(one.seed)
    async with (
        changing_nats(tmp_path / "nats", authorization={"users": [{"nkey": one.public}]}) as nats,
        connect_bus(address(nats.url, files), role="test") as bus,
    ):
        await nats.change(authorization={"users": [{"nkey": two.public}]})
        await eventually(lambda: away(bus))
        (files / "nats-nkey").write_text(two.seed)
        await eventually(lambda: back(bus))


async def test_a_file_of_credentials_logs_in_and_can_be_changed(files: Path, tmp_path: Path) -> None:
    operator, account = Nkey(OPERATOR_KEY), Nkey(ACCOUNT)

    def creds() -> tuple[str, str]:
        key = Nkey(USER_KEY)
        return key.public, creds_text(account.jwt(key.public, "user", subs=-1, data=-1, payload=-1), key.seed)

    def config(*revoked: str) -> dict[str, object]:
        limits = {"subs": -1, "data": -1, "payload": -1, "conn": -1, "leaf": -1, "imports": -1, "exports": -1}
        more = {"revocations": dict.fromkeys(revoked, 1_900_000_000)} if revoked else {}
        jwt = operator.jwt(account.public, "account", limits={**limits, "wildcards": True}, **more)
        return {
            "operator": operator.jwt(operator.public, "operator"),
            "resolver": "MEMORY",
            "jetstream": False,  # it would need a system account
            "resolver_preload": {account.public: jwt},
        }

    (first, text), (_, other) = creds(), creds()
    (files / "nats-creds").write_text(text)
    async with (
        changing_nats(tmp_path / "nats", **config()) as nats,
        connect_bus(address(nats.url, files), role="test") as bus,
    ):
        await nats.stop()
        await nats.start(**config(first))
        await eventually(lambda: away(bus))
        (files / "nats-creds").write_text(other)
        await eventually(lambda: back(bus))


async def test_a_changed_authority_and_client_certificate_are_used_without_a_restart(
    files: Path, tmp_path: Path
) -> None:
    before, after = Authority(tmp_path / "before"), Authority(tmp_path / "after")
    ca_file = tmp_path / "ca.crt"

    def trusted(authority: Authority, name: str) -> dict[str, object]:
        pair = authority.issue(f"nats-{name}", "nats", hosts=["localhost"])
        certificate = {"cert_file": str(pair.certificate), "key_file": str(pair.key), "verify": True}
        return {
            "tls": {**certificate, "ca_file": str(authority.pair.certificate)},
            **user("old-user", "old-password"),
        }

    def mount(authority: Authority, name: str) -> None:
        pair = authority.issue(f"client-{name}", "client", hosts=["client"])
        (files / "tls.crt").write_bytes(pair.certificate.read_bytes())
        (files / "tls.key").write_bytes(pair.key.read_bytes())
        ca_file.write_bytes(authority.pair.certificate.read_bytes())

    mount(before, "before")
    async with (
        changing_nats(tmp_path / "nats", scheme="tls", **trusted(before, "before")) as nats,
        connect_bus(address(nats.url, files, ca_file=ca_file), role="test") as bus,
    ):
        await nats.stop()
        await eventually(lambda: away(bus))
        mount(after, "after")
        await nats.start(**trusted(after, "after"))
        await eventually(lambda: back(bus))


@pytest.mark.parametrize("half_edited", ["tls://a,nats://b", ",", "tls://[bad"])
async def test_connecting_goes_on_while_the_url_is_half_edited(
    half_edited: str, files: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    authority = Authority(tmp_path / "authority")
    pair = authority.issue("nats", "nats", hosts=["localhost"])
    config = {
        "tls": {"cert_file": str(pair.certificate), "key_file": str(pair.key)},
        **user("old-user", "old-password"),
    }
    async with changing_nats(tmp_path / "nats", scheme="tls", **config) as nats:
        (files / "nats-url").write_text(nats.url)
        address_now = address(nats.url, files, ca_file=authority.pair.certificate)
        async with connect_bus(address_now, role="test") as bus:
            (files / "nats-url").write_text(half_edited)
            await nats.stop()
            await nats.start(**config)

            async def told() -> bool:
                return any("VAULTSTREAM_NATS_URL" in record.getMessage() for record in caplog.records)

            await eventually(told)
            (files / "nats-url").write_text(nats.url)
            await eventually(lambda: back(bus))


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("nats-nkey", lambda: "SUNOKEY"),
        ("nats-nkey", lambda: Nkey(ACCOUNT).seed),
        ("nats-nkey", lambda: Nkey(USER_KEY).seed[:-1] + "="),
        ("nats-creds", lambda: creds_text("", Nkey(USER_KEY).seed)),
    ],
)
async def test_a_key_that_is_none_is_refused_without_being_shown(
    name: str, make: Callable[[], str], files: Path, tmp_path: Path
) -> None:
    text = make()
    (files / name).write_text(text)
    async with changing_nats(
        tmp_path / "nats", authorization={"users": [{"nkey": Nkey(USER_KEY).public}]}
    ) as nats:
        with pytest.raises(BusError, match=r"NATS have no user JWT|not the seed of a user") as caught:
            async with connect_bus(address(nats.url, files), role="test", attempts=1):
                pass
    assert text.strip() not in f"{caught.value} {caught.value.hint}"
