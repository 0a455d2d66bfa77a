"""A probe that comes while a process still starts is answered when it has started."""

from __future__ import annotations

import asyncio
import socket

import pytest

from support.scraping import ask
from vaultstream.local.ports import choose_port
from vaultstream.telemetry.early import listen_early
from vaultstream.telemetry.health import Health
from vaultstream.telemetry.metrics import process_registry
from vaultstream.telemetry.server import serving_on

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("operator", [False, True])
async def test_a_probe_that_comes_before_the_server_is_answered(
    monkeypatch: pytest.MonkeyPatch, *, operator: bool
) -> None:
    port = choose_port()
    monkeypatch.setenv("VAULTSTREAM_OPERATOR_PORT" if operator else "VAULTSTREAM_METRICS_PORT", str(port))
    listen_early(operator=operator)
    probe = asyncio.create_task(asyncio.to_thread(ask, port, "/livez"))
    with socket.create_connection(("127.0.0.1", port)):  # it is not refused
        assert not probe.done()
    async with serving_on("0.0.0.0", port, process_registry("test"), Health("test")) as server:
        assert server.port == port
        assert (await probe).status == 200
    async with serving_on("0.0.0.0", port, process_registry("test"), Health("test")):
        assert (await asyncio.to_thread(ask, port, "/livez")).status == 200  # also a second time


@pytest.mark.parametrize("port", ["", "0", "no number", "70000"])
def test_without_a_port_nothing_listens(monkeypatch: pytest.MonkeyPatch, port: str) -> None:
    monkeypatch.setenv("VAULTSTREAM_METRICS_PORT", port)
    listen_early()
