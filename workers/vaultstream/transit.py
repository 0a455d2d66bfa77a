"""What may be read between this host and a service."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

PLAIN = "The connection to {peer} is not encrypted: whoever is on the way reads and changes what it carries."

ENCRYPT = {
    "Postgres": "Add sslmode=verify-full and sslrootcert to DATABASE_URL.",
    "Source login": "Add sslmode=verify-full and sslrootcert to VAULTSTREAM_SOURCE_DATABASE_URL.",
    "NATS": "Set VAULTSTREAM_NATS_CA_FILE, or use URLs that begin with tls://.",
}
"""How to encrypt the connection to each service."""


def plain_peer(get_extra_info: Callable[[str], Any]) -> str | None:
    """Returns the address of the other end of a connection that leaves this host without TLS; None for any other.

    Args:
        get_extra_info: of the connection's transport. It knows what the connection is, not what a URL asks for: `prefer`
            falls back, and a host name may stand for any address.
    """
    if get_extra_info("ssl_object") is not None:
        return None
    peer = get_extra_info("peername")
    if not isinstance(peer, tuple):
        return None  # a Unix socket
    address = ip_address(peer[0].partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return None if (mapped or address).is_loopback else str(mapped or address)
