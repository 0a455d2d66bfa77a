"""A nats-server that others have set up: with a configuration of theirs, such as no JetStream."""

from __future__ import annotations

import json
import subprocess
import sysconfig
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from support.waiting import eventually
from vaultstream.bus.address import BusAddress
from vaultstream.local.ports import choose_port


@asynccontextmanager
async def other_nats(folder: Path, **configuration: Any) -> AsyncIterator[int]:
    """Runs a nats-server on loopback until the block ends; yields its port.

    Args:
        folder: for its configuration and its data.
        configuration: what nats.conf has besides the address.
    """
    port = choose_port()
    server = _start(folder, {"host": "127.0.0.1", "port": port, **configuration})
    try:

        async def ready() -> bool:
            said = (folder / "nats.log").read_text()
            assert server.poll() is None, said
            return "Server is ready" in said

        await eventually(ready)
        yield port
    finally:
        server.kill()
        server.wait()


def _start(folder: Path, configuration: dict[str, Any]) -> subprocess.Popen[bytes]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "nats.conf").write_text(json.dumps(configuration))
    program = str(Path(sysconfig.get_path("scripts")) / "nats-server")
    with (folder / "nats.log").open("wb") as log:
        return subprocess.Popen([program, "-c", str(folder / "nats.conf")], stdout=log, stderr=log)


def anonymous(port: int) -> BusAddress:
    """Returns the address of a server on loopback that asks for no user."""
    return BusAddress(f"nats://127.0.0.1:{port}", "vaultstream", "")
