"""The port of metrics and health, opened before the imports: a probe that comes early waits for its answer instead of being refused.

This module imports next to nothing, because it runs first.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress

_opened: dict[tuple[str, int], socket.socket] = {}


def listen_early(*, operator: bool = False) -> None:
    """Listens on the port on which a worker, or the operator, will serve. Failures are left to the server that follows."""
    host, variable, default = "0.0.0.0", "VAULTSTREAM_OPERATOR_PORT", "8080"  # noqa: S104 - the defaults of the settings
    if not operator:
        host = os.environ.get("VAULTSTREAM_METRICS_HOST") or host
        variable, default = "VAULTSTREAM_METRICS_PORT", "0"
    with suppress(OSError, ValueError, OverflowError):
        if port := int(os.environ.get(variable) or default):
            _opened[host, port] = open_port(host, port)


def open_port(host: str, port: int) -> socket.socket:
    """Returns a socket that listens, the one that was opened early if there is one.

    Raises:
        OSError: the port is taken, or this machine does not have the address.
    """
    if (early := _opened.pop((host, port), None)) is not None:
        return early
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, dualstack_ipv6=host == "::")
