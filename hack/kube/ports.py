"""TCP ports that a server keeps across restarts."""

from __future__ import annotations

import json
import secrets
import socket
from typing import TYPE_CHECKING

from vaultstream.errors import LocalServiceError
from vaultstream.local.files import write_private

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

# Below the ephemeral ports: an outgoing connection could take one of those while its server restarts.
_LOWEST, _HIGHEST = 20_000, 32_000
_TRIES = 200


def is_free(host: str, port: int) -> bool:
    """Returns whether a server could listen on `host` and `port` now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers do
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def choose(host: str, names: Iterable[str], *, taken: Iterable[int] = ()) -> dict[str, int]:
    """Returns a free port for each name, all different and not in `taken`. Another program may still take one first.

    Raises:
        LocalServiceError: no port is free.
    """
    chosen: dict[str, int] = {}
    used = set(taken)
    for name in names:
        candidates = (_LOWEST + secrets.randbelow(_HIGHEST - _LOWEST) for _ in range(_TRIES))
        port = next((p for p in candidates if p not in used and is_free(host, p)), None)
        if port is None:
            raise LocalServiceError(
                f"No port from {_LOWEST} to {_HIGHEST} is free on {host}.",
                hint="Stop a program that listens on this machine.",
            )
        chosen[name] = port
        used.add(port)
    return chosen


def read(path: Path) -> dict[str, int]:
    """Returns the ports in the file; empty if it does not exist."""
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def keep(path: Path, ports: dict[str, int]) -> dict[str, int]:
    """Writes the ports to the file; returns them."""
    write_private(path, json.dumps(ports))
    return ports
