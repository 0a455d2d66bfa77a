from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from http.client import HTTPException
from threading import Event

import pytest

from support.scraping import ask, parse, value
from support.waiting import eventually
from vaultstream.errors import UsageError
from vaultstream.settings import Settings, load_settings
from vaultstream.telemetry import health as health_module
from vaultstream.telemetry import server as module
from vaultstream.telemetry.health import Health
from vaultstream.telemetry.server import Telemetry, TelemetryServer, serving

pytestmark = pytest.mark.unit


def settings(port: int | None = 0, host: str = "127.0.0.1") -> Settings:
    return load_settings(metrics_port=port, metrics_host=host)


def start(host: str = "127.0.0.1", port: int = 0) -> TelemetryServer:
    telemetry = Telemetry("signing")
    telemetry.health.require("nats", lambda: None)
    return TelemetryServer(host, port, registry=telemetry.metrics.registry, health=telemetry.health)


@pytest.fixture
def server() -> Iterator[TelemetryServer]:
    served = start()
    yield served
    served.stop()


def talk(port: int, sent: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(sent)
        answer = b""
        while part := client.recv(65536):
            answer += part
        return answer


def test_metrics_are_served_in_the_format_that_the_scraper_accepts(server: TelemetryServer) -> None:
    plain = ask(server.port, "/metrics")
    assert plain.status == 200
    assert plain.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert value(parse(plain.text), "vaultstream_batches_in_hand") == 0
    rich = ask(server.port, "/metrics?x=1", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert rich.headers["Content-Type"].startswith("application/openmetrics-text")
    assert rich.text.endswith("# EOF\n")


@pytest.mark.parametrize("path", ["/livez", "/healthz", "/readyz"])
def test_health_is_json_that_is_not_cached(server: TelemetryServer, path: str) -> None:
    reply = ask(server.port, path)
    assert (reply.status, reply.document["status"]) == (200, "ok")
    assert reply.headers["Content-Type"] == "application/json"
    assert reply.headers["Cache-Control"] == "no-store"


@contextmanager
def starting(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[TelemetryServer, Health]]:
    """The server and the health of a process that is ready when it has been asked three times."""
    monkeypatch.setattr(module, "WAIT_SECONDS", 60.0)
    monkeypatch.setattr(health_module, "START_SECONDS", 1e9)
    telemetry, troubles = Telemetry("signing"), iter(["not connected yet"] * 3)
    telemetry.health.require("nats", lambda: next(troubles, None))
    served = TelemetryServer("127.0.0.1", 0, registry=telemetry.metrics.registry, health=telemetry.health)
    try:
        yield served, telemetry.health
    finally:
        served.stop()


def test_the_probe_of_a_start_waits_until_the_process_is_ready_and_then_asks_only_whether_it_is_live(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with starting(monkeypatch) as (served, health):
        assert ask(served.port, "/readyz").status == 503
        assert ask(served.port, "/livez?ready").status == 200
        health.require("nats", lambda: "disconnected")
        assert ask(served.port, "/readyz").status == 503
        assert ask(served.port, "/livez?ready").status == 200


def test_the_first_probe_of_readiness_waits_for_a_process_that_starts_and_later_ones_do_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with starting(monkeypatch) as (served, health):
        assert ask(served.port, "/readyz?wait").status == 200
        health.require("nats", lambda: "disconnected")
        reply = ask(served.port, "/readyz?wait")
        assert (reply.status, reply.document["checks"]["nats"]["detail"]) == (503, "disconnected")


def test_the_probe_of_a_start_is_held_longer_than_other_requests_and_no_longer_than_the_server_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "HTTP_REQUEST_SECONDS", 1.0)
    monkeypatch.setattr(health_module, "START_SECONDS", 1e9)
    telemetry, long_held, looks = Telemetry("signing"), Event(), [0.0]

    def look() -> str:
        looks.append(time.monotonic())
        if looks[-1] - looks[1] > 1.5:
            long_held.set()
        return "not connected yet"

    telemetry.health.require("nats", look)
    served = TelemetryServer("127.0.0.1", 0, registry=telemetry.metrics.registry, health=telemetry.health)
    with ThreadPoolExecutor() as pool:
        held = pool.submit(ask, served.port, "/livez?ready")
        assert long_held.wait(30)
        assert not held.done()
        served.stop()
        assert isinstance(held.exception(30), OSError | HTTPException)
    start(port=served.port).stop()


def test_a_probe_gets_its_answer_also_while_nothing_is_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT_SECONDS", 0.01)
    monkeypatch.setattr(health_module, "START_SECONDS", 1e9)
    telemetry = Telemetry("signing")
    served = TelemetryServer("127.0.0.1", 0, registry=telemetry.metrics.registry, health=telemetry.health)
    try:
        reply = ask(served.port, "/livez?ready")
        assert reply.status == 503
        assert reply.document["checks"]["start"]["ok"] is False
        monkeypatch.setattr(
            health_module, "START_SECONDS", 0.0
        )  # a restart would not help: it counts as started
        assert ask(served.port, "/livez?ready").status == 200
        assert ask(served.port, "/readyz").status == 503
    finally:
        served.stop()


def test_an_unknown_path_lists_the_known_paths(server: TelemetryServer) -> None:
    assert ask(server.port, "/secrets").status == 404
    assert "/readyz" in ask(server.port, "/secrets").text
    assert "/readyz" in ask(server.port, "/").text


def test_only_reading_is_allowed(server: TelemetryServer) -> None:
    assert ask(server.port, "/metrics", method="POST").status == 405
    head = ask(server.port, "/metrics", method="HEAD")
    assert (head.status, head.text) == (200, "")
    assert int(head.headers["Content-Length"]) > 1000


def test_an_invalid_request_is_refused(server: TelemetryServer) -> None:
    assert talk(server.port, b"nonsense\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    assert talk(server.port, b"GET / HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 400 ")  # no Host
    odd_bytes = b"GET / HTTP/1.1\r\nHost: x\r\nX: \xff\xfe\r\n\r\n"
    assert talk(server.port, odd_bytes).startswith(b"HTTP/1.1 200 ")
    # a head that never ends
    assert talk(server.port, b"GET / HTTP/1.1\r\nX: " + b"x" * 9000).startswith(b"HTTP/1.1 431 ")


def test_a_client_that_leaves_before_it_asked_gets_no_answer(server: TelemetryServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
    assert ask(server.port, "/livez").status == 200


def test_a_client_that_is_too_slow_is_disconnected(
    server: TelemetryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HTTP_REQUEST_SECONDS", 0.2)
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        client.sendall(b"GET /met")
        with suppress(ConnectionResetError):
            assert client.recv(1) == b""
    assert ask(server.port, "/livez").status == 200


def test_strangers_who_hold_connections_keep_nobody_out(server: TelemetryServer) -> None:
    """A probe that fails would end the worker. The oldest connections make room, and their number has a limit."""
    with ExitStack() as stack:
        held = [
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=10))
            for _ in range(2 * module.MAX_CONNECTIONS)
        ]
        assert ask(server.port, "/livez").status == 200
        for client in held[: module.MAX_CONNECTIONS]:
            with suppress(ConnectionResetError):
                assert client.recv(1) == b""
        assert ask(server.port, "/livez").status == 200


def test_a_taken_port_is_reported_with_the_fix() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {port}: Address already in use") as raised:
            start(port=port)
    assert "VAULTSTREAM_METRICS_PORT" in str(raised.value.hint)


def test_an_address_of_another_machine_is_reported_with_the_fix() -> None:
    with pytest.raises(UsageError, match=r"192\.0\.2\.1") as raised:
        start(host="192.0.2.1")
    assert "VAULTSTREAM_METRICS_HOST" in str(raised.value.hint)


def test_the_port_is_free_once_the_server_has_stopped() -> None:
    first = start()
    assert ask(first.port, "/livez").status == 200
    first.stop()
    again = start(port=first.port)
    assert ask(again.port, "/livez").status == 200
    again.stop()


def test_stopping_twice_is_no_error() -> None:
    served = start()
    served.stop()
    served.stop()
    with pytest.raises(ConnectionRefusedError):
        ask(served.port, "/livez")


async def test_nothing_is_served_unless_a_port_is_set() -> None:
    async with serving(settings(port=None), Telemetry("keys")) as served:
        assert served is None


def test_no_port_is_set_by_default_and_all_addresses_are_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VAULTSTREAM_METRICS_PORT", raising=False)
    monkeypatch.delenv("VAULTSTREAM_METRICS_HOST", raising=False)
    assert load_settings().metrics_port is None
    assert load_settings().metrics_host == "0.0.0.0"


def test_a_port_out_of_range_is_refused() -> None:
    with pytest.raises(UsageError, match="VAULTSTREAM_METRICS_PORT"):
        settings(port=65536)


async def test_a_blocked_event_loop_is_reported_while_it_is_blocked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TURN_SECONDS", 0.05)
    telemetry = Telemetry("signing", health=Health("signing", loop_seconds=0.5))

    def turns(port: int) -> bool:
        return ask(port, "/livez").status == 200

    def first_failure(port: int) -> tuple[int, set[str]]:
        deadline = time.monotonic() + 10
        while (reply := ask(port, "/livez")).status == 200:
            assert time.monotonic() < deadline
        return reply.status, reply.failing()

    async with serving(settings(), telemetry) as served:
        assert served is not None
        with ThreadPoolExecutor(1) as thread:
            before = await asyncio.to_thread(ask, served.port, "/livez")
            found = thread.submit(first_failure, served.port)
            assert found.result(timeout=12) == (503, {"event loop"})  # waits here, on the event loop
        assert before.status == 200
        await eventually(partial(asyncio.to_thread, turns, served.port))
