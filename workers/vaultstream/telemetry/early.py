"""The port of metrics and health, opened before the imports: a probe that comes early waits for its answer instead of being refused.

This module imports next to nothing, because it runs first.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress

_opened: dict[tuple[str, int], socket.socket] = {}
_FIRST_PASSED = 3
"""The first descriptor that is passed to a process which is started with open sockets: sd_listen_fds(3)."""


def listen_early(*, operator: bool = False) -> None:
    """Listens on the port on which a worker, or the operator, will serve. Failures are left to the server that follows."""
    host, variable, default = "0.0.0.0", "VAULTSTREAM_OPERATOR_PORT", "8080"  # noqa: S104 - the defaults of the settings
    if not operator:
        host = os.environ.get("VAULTSTREAM_METRICS_HOST") or host
        variable, default = "VAULTSTREAM_METRICS_PORT", "0"
    passed = _passed_on()
    with suppress(OSError, ValueError, OverflowError):
        if port := int(os.environ.get(variable) or default):
            if passed is not None and passed.getsockname()[:2] == (host, port):
                _opened[host, port] = passed
            else:
                _opened[host, port] = open_port(host, port)


def _passed_on() -> socket.socket | None:
    """Returns the socket that the process was started with, by `vaultstream-listen` or a service manager; processes that it starts get none."""
    told = [os.environ.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS")]
    if told != [str(os.getpid()), "1"]:
        return None
    try:
        passed = socket.socket(fileno=_FIRST_PASSED)
    except OSError:
        return None
    passed.set_inheritable(False)
    return passed


def open_port(host: str, port: int) -> socket.socket:
    """Returns a socket that listens, the one that was opened early if there is one.

    Raises:
        OSError: the port is taken, or this machine does not have the address.
    """
    if (early := _opened.pop((host, port), None)) is not None:
        return early
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, dualstack_ipv6=host == "::")
