"""A connection that leaves this host without TLS is known by what it is, not by what its URL asks for."""

from __future__ import annotations

from typing import Any

import pytest

from vaultstream.transit import plain_peer

pytestmark = pytest.mark.unit


def peer(address: Any, *, tls: bool = False) -> str | None:
    known = {"peername": address, "ssl_object": object() if tls else None}
    return plain_peer(known.get)


@pytest.mark.parametrize(
    "address",
    [
        "",
        b"",
        "/run/postgresql/.s.PGSQL.5432",
        None,
        ("127.0.0.1", 5432),
        ("127.8.9.1", 4222),
        ("::1", 5432, 0, 0),
        ("::ffff:127.0.0.1", 5432, 0, 0),
    ],
)
def test_what_stays_on_this_host_needs_no_encryption(address: Any) -> None:
    assert peer(address) is None


@pytest.mark.parametrize(
    ("address", "named"),
    [
        (("10.1.2.3", 5432), "10.1.2.3"),
        (("fd00::7", 5432, 0, 0), "fd00::7"),
        (("fe80::1%eth0", 5432, 0, 2), "fe80::1"),
        (("::ffff:192.0.2.1", 5432, 0, 0), "192.0.2.1"),
    ],
)
def test_what_leaves_this_host_does(address: Any, named: str) -> None:
    assert peer(address) == named
    assert peer(address, tls=True) is None
