"""Connections that find out when the other end has gone without a word: a host without power, a network that was cut.

Else both would wait for each other for hours, as TCP does: we for an answer, Postgres with what our session holds.
"""

from __future__ import annotations

import socket
from typing import Any

import asyncpg

IDLE_SECONDS = 10
"""Without a word from the other end for so long, it is asked whether it is there."""
INTERVAL_SECONDS = 5
"""Between two such questions."""
PROBES = 3
"""So many without an answer, and the connection is over."""


def _gone_milliseconds() -> int:
    return 1000 * (IDLE_SECONDS + INTERVAL_SECONDS * PROBES)


def server_settings() -> dict[str, str]:
    """Returns the settings with which Postgres watches its end of our connections. No effect on a Unix socket."""
    return {
        "tcp_keepalives_idle": str(IDLE_SECONDS),
        "tcp_keepalives_interval": str(INTERVAL_SECONDS),
        "tcp_keepalives_count": str(PROBES),
        "tcp_user_timeout": str(_gone_milliseconds()),
    }


class WatchedConnection(asyncpg.Connection):
    """A connection that watches whether Postgres is there."""

    def __init__(self, protocol: Any, transport: Any, *rest: Any) -> None:
        super().__init__(protocol, transport, *rest)
        if (own := transport.get_extra_info("socket")) is not None:
            _watch(own)


def _watch(own: socket.socket) -> None:
    if own.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    own.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", IDLE_SECONDS),
        ("TCP_KEEPALIVE", IDLE_SECONDS),  # its name on macOS
        ("TCP_KEEPINTVL", INTERVAL_SECONDS),
        ("TCP_KEEPCNT", PROBES),
        ("TCP_USER_TIMEOUT", _gone_milliseconds()),  # what is not acknowledged counts as a question too
    ):
        if (option := getattr(socket, name, None)) is not None:
            own.setsockopt(socket.IPPROTO_TCP, option, value)
