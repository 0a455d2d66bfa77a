"""A small HTTP server for metrics and health, in a thread with an event loop of its own.

It answers also while the worker's loop is blocked: that is when the answer matters. What it serves is open to all who reach
the port, and holds counts and reasons, no payload and no secret.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import threading
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from prometheus_client.exposition import choose_encoder

from vaultstream.errors import UsageError
from vaultstream.telemetry.health import Health
from vaultstream.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from prometheus_client import CollectorRegistry

    from vaultstream.settings import Settings
    from vaultstream.telemetry.health import Verdict

log = logging.getLogger(__name__)

REQUEST_SECONDS = 5.0
"""For a whole request and its answer, however slowly a client sends or reads."""
MAX_HEAD_BYTES = 8192
MAX_CONNECTIONS = 32
"""At a time: no stranger may use up the files that the worker needs for its services."""
TURN_SECONDS = 0.25
_STOP_SECONDS = 2.0

_TEXT = "text/plain; charset=utf-8"
_INDEX = "VaultStream {role} worker: /metrics /livez /readyz\n"


class Telemetry:
    """The metrics and the health of one worker, served or not."""

    def __init__(self, role: str, *, health: Health | None = None) -> None:
        self.metrics = Metrics(role)
        self.health = health or Health(role)


@dataclass(frozen=True)
class Answer:
    """An HTTP answer."""

    status: HTTPStatus
    content_type: str
    body: bytes


def answer(method: str, target: str, accept: str, *, registry: CollectorRegistry, health: Health) -> Answer:
    """Answers a request for metrics or health; 503 says that a check fails, the body which and why."""
    if method not in {"GET", "HEAD"}:
        return Answer(HTTPStatus.METHOD_NOT_ALLOWED, _TEXT, b"Only GET and HEAD.\n")
    match target.partition("?")[0]:
        case "/metrics":
            encode, content_type = choose_encoder(accept)
            return Answer(HTTPStatus.OK, content_type, encode(registry))
        case "/livez" | "/healthz":
            return _judged(health.live())
        case "/readyz":
            return _judged(health.ready())
        case "/":
            return Answer(HTTPStatus.OK, _TEXT, _INDEX.format(role=health.role).encode())
        case _:
            return Answer(HTTPStatus.NOT_FOUND, _TEXT, b"There is /metrics, /livez and /readyz.\n")


def _judged(verdict: Verdict) -> Answer:
    status = HTTPStatus.OK if verdict.ok else HTTPStatus.SERVICE_UNAVAILABLE
    return Answer(status, "application/json", json.dumps(verdict.document(), indent=2).encode() + b"\n")


class TelemetryServer:
    """Serves from a thread until it is stopped.

    Args:
        host: the address to listen on; `::` takes IPv4 too.
        port: 0 for any that is free.
        registry: the metrics.
        health: whom to ask.

    Raises:
        UsageError: it can't listen there.
    """

    def __init__(self, host: str, port: int, *, registry: CollectorRegistry, health: Health) -> None:
        self._registry = registry
        self._health = health
        self._socket = _listen(host, port)
        self.port: int = self._socket.getsockname()[1]
        self._connections = 0
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread and closes the port; connections that are open are cut."""
        with suppress(RuntimeError):  # its loop is closed: it has ended by itself
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(_STOP_SECONDS)

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._serve())
        except Exception:  # a worker signs on, seen or not; who probes it learns
            log.exception("metrics are no longer served")
        finally:
            self._socket.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._on_connection, sock=self._socket, limit=MAX_HEAD_BYTES)
        async with server:
            await self._stop.wait()

    async def _on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        try:
            if self._connections <= MAX_CONNECTIONS:
                async with asyncio.timeout(REQUEST_SECONDS):
                    await self._converse(reader, writer)
        except (TimeoutError, OSError, asyncio.IncompleteReadError):
            log.debug("a client of the metrics port left, or was too slow")
            writer.transport.abort()
        finally:
            self._connections -= 1
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with_body = True
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, target, _ = head[0].split(" ")
        except asyncio.LimitOverrunError:
            given = Answer(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, _TEXT, b"")
        except ValueError:
            given = Answer(HTTPStatus.BAD_REQUEST, _TEXT, b"")
        else:
            with_body = method != "HEAD"
            given = answer(method, target, _accept(head), registry=self._registry, health=self._health)
        writer.write(
            f"HTTP/1.1 {given.status} {given.status.phrase}\r\nContent-Type: {given.content_type}\r\n"
            f"Content-Length: {len(given.body)}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n".encode()
        )
        writer.write(given.body if with_body else b"")
        writer.transport.set_write_buffer_limits(0)
        await writer.drain()


def _accept(head: list[str]) -> str:
    headers = (line.partition(":") for line in head[1:])
    return next((value.strip() for name, _, value in headers if name.strip().lower() == "accept"), "")


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, dualstack_ipv6=host == "::")
    except OSError as error:
        raise UsageError(
            f"Metrics can't be served on {host}, port {port}: {error.strerror or error}.",
            hint="Set VAULTSTREAM_METRICS_PORT to a free port, or to 0 for any (several workers on one machine), "
            "and VAULTSTREAM_METRICS_HOST to an address of this machine.",
        ) from None


@asynccontextmanager
async def serving(settings: Settings, telemetry: Telemetry) -> AsyncIterator[TelemetryServer | None]:
    """Serves metrics and health on the port that the settings give; does nothing if they give none.

    Raises:
        UsageError: the port is taken, or the address is none of this machine's.
    """
    if settings.metrics_port is None:
        yield None
        return
    host, port = settings.metrics_host, settings.metrics_port
    async with serving_on(host, port, telemetry.metrics.registry, telemetry.health) as server:
        yield server


@asynccontextmanager
async def serving_on(
    host: str, port: int, registry: CollectorRegistry, health: Health
) -> AsyncIterator[TelemetryServer]:
    """Serves metrics and health on one address, and tells `health` that the event loop turns.

    Raises:
        UsageError: the port is taken, or the address is none of this machine's.
    """
    server = TelemetryServer(host, port, registry=registry, health=health)
    turning = asyncio.create_task(_turn(health))
    log.info("metrics and health are served", extra={"host": host, "port": server.port})
    try:
        yield server
    finally:
        turning.cancel()
        await asyncio.to_thread(server.stop)


async def _turn(health: Health) -> None:
    """Says that the event loop turns, as long as it does."""
    while True:
        health.turn()
        await asyncio.sleep(TURN_SECONDS)
