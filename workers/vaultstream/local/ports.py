"""Ports for servers of one machine, chosen where the kernel never puts a client.

The kernel gives an outgoing connection a port of its ephemeral range. While a server is down, a client that tries to reach
its port on the same machine can be given that very port: TCP then connects the client to itself, and the port is taken when
the server comes back. A port outside the range can't be lost that way.
"""

from __future__ import annotations

import secrets
import socket
from pathlib import Path

from vaultstream.errors import LocalServiceError

HOST = "127.0.0.1"
_RANGE_FILE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LEAST, _MOST = 10_000, 65_535
"""Below 10,000 are the ports of most well-known programs."""
_ATTEMPTS = 100


def choose_port(wanted: int | None = None) -> int:
    """Returns the port `wanted` if it is free on this machine, else a free one outside the ephemeral range.

    Raises:
        LocalServiceError: no port is free.
    """
    candidates = ports_for_servers(*_ephemeral_range())
    chosen = (secrets.choice(candidates) for _ in range(_ATTEMPTS if candidates else 0))
    for port in (*([wanted] if wanted else ()), *chosen, 0):
        if free := _bound(port):
            return free
    raise LocalServiceError(
        f"No port is free on {HOST}.", hint="Stop some of the programs that listen on this machine."
    )


def is_free(port: int) -> bool:
    """Returns whether a server can listen on this port of this machine."""
    return _bound(port) is not None


def _bound(port: int) -> int | None:
    """Returns the port that a server gets which asks for this one (0: any); None if it is taken."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers do
        try:
            probe.bind((HOST, port))
        except OSError:
            return None
        return int(probe.getsockname()[1])


def ports_for_servers(lowest: int, highest: int) -> range:
    """Returns the ports that an ephemeral range from `lowest` to `highest` leaves: those below it or, if none, those above."""
    return range(_LEAST, lowest) or range(highest + 1, _MOST + 1)


def _ephemeral_range() -> tuple[int, int]:
    """Returns the first and the last port of the kernel's range; off Linux, what most systems have."""
    try:
        lowest, highest = map(int, _RANGE_FILE.read_text(encoding="utf-8").split())
    except (OSError, ValueError):
        return 32_768, _MOST
    return lowest, highest
