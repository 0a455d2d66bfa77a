"""Connections that detect a peer that disappeared silently: a host without power, a cut network.

Without this, both ends would wait for hours, as TCP does: we for an answer, Postgres with the locks of our session.
"""

from __future__ import annotations

import socket
from typing import Any

import asyncpg

from vaultstream.transit import plain_peer

IDLE_SECONDS = 10
"""Idle time before the first keepalive probe."""
INTERVAL_SECONDS = 5
"""Time between two probes."""
PROBES = 3
"""Unanswered probes after which the connection is closed."""


def _gone_milliseconds() -> int:
    return 1000 * (IDLE_SECONDS + INTERVAL_SECONDS * PROBES)


def server_settings() -> dict[str, str]:
    """Returns the settings that make Postgres probe our end in the same way. They have no effect on a Unix socket."""
    return {
        "tcp_keepalives_idle": str(IDLE_SECONDS),
        "tcp_keepalives_interval": str(INTERVAL_SECONDS),
        "tcp_keepalives_count": str(PROBES),
        "tcp_user_timeout": str(_gone_milliseconds()),
    }


class WatchedConnection(asyncpg.Connection):
    """A connection that probes whether Postgres is still there.

    Attributes:
        plain_peer: address of Postgres if the connection leaves this host without TLS, else None.
        users_search_path: the search path that the session began with; None: it still has it.
    """

    plain_peer: str | None
    users_search_path: str | None

    def __init__(self, protocol: Any, transport: Any, *rest: Any) -> None:
        super().__init__(protocol, transport, *rest)
        self.plain_peer = plain_peer(transport.get_extra_info)
        self.users_search_path = None
        self._backend_pid: int | None = None
        self._settings = ""
        if (own := transport.get_extra_info("socket")) is not None:
            _watch(own)

    async def adopt(self, pid: int, settings: str) -> None:
        """Takes over a session of the server that a pooler has given to this connection.

        Args:
            pid: of the session's process.
            settings: statements that set what a pooler does not take with the start of a connection.
        """
        self._backend_pid, self._settings = pid, settings
        await self.execute(settings)

    def keep_search_path(self, users: str, ours: str) -> None:
        """Notes that the session has our search path in place of the user's, and keeps it when the connection is reset."""
        self.users_search_path = users
        self._settings = f"SET search_path = {ours};\n{self._settings}".removesuffix(";\n")

    def keep_setting(self, name: str, value: str) -> None:
        """Notes that the session has a setting of ours, and keeps it when the connection is reset."""
        self._settings = f"{self._settings};\nSET {name} = {value}".removeprefix(";\n")

    def get_server_pid(self) -> int:
        """Returns the process of the session on the server, also through a pooler."""
        return int(super().get_server_pid()) if self._backend_pid is None else self._backend_pid

    def get_reset_query(self) -> str:
        """Returns what the driver runs when the connection is released to its pool: it keeps the settings."""
        reset = str(super().get_reset_query())
        return f"{reset};\n{self._settings}" if self._settings else reset


def plain_peer_of(connection: object) -> str | None:
    """Returns the `plain_peer` of a `WatchedConnection`, also of one that a pool lends."""
    return getattr(connection, "plain_peer", None)


def _watch(own: socket.socket) -> None:
    if own.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    own.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", IDLE_SECONDS),
        ("TCP_KEEPALIVE", IDLE_SECONDS),  # its name on macOS
        ("TCP_KEEPINTVL", INTERVAL_SECONDS),
        ("TCP_KEEPCNT", PROBES),
        ("TCP_USER_TIMEOUT", _gone_milliseconds()),  # covers data that is not acknowledged
    ):
        if (option := getattr(socket, name, None)) is not None:
            own.setsockopt(socket.IPPROTO_TCP, option, value)
