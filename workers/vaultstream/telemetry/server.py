"""An HTTP server for metrics and health, in a thread with an event loop of its own.

It still answers while the worker's event loop is blocked, which is when the answer matters. Everybody who reaches the port
can read what it serves: counts and reasons, never a payload or a secret. h11 parses the requests.
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

import h11
from prometheus_client.exposition import choose_encoder

from vaultstream.errors import UsageError
from vaultstream.telemetry.early import open_port
from vaultstream.telemetry.health import Health
from vaultstream.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from prometheus_client import CollectorRegistry

    from vaultstream.settings import Settings
    from vaultstream.telemetry.health import Verdict

log = logging.getLogger(__name__)

HTTP_REQUEST_SECONDS = 5.0
"""Limit for a whole request and its answer, however slowly a client sends or reads."""
MAX_HEAD_BYTES = 8192
MAX_CONNECTIONS = 32
"""Open at the same time: clients must not use up the file descriptors that the worker needs for its services.

A new connection cuts the oldest one: a client that holds connections must not keep the kubelet out, which would end the worker.
"""
TURN_SECONDS = 0.25
WAIT_SECONDS, WAIT_STEP_SECONDS = 8.0, 0.02
"""How long `/livez?ready` and `/readyz?wait` wait for a process that starts to be ready, and between two looks. The kubelet, which waits for
10 s, then learns of it at once, and writes no Event `Unhealthy` about a start that takes its time."""
WAITING = frozenset({b"/livez?ready", b"/readyz?wait"})
"""What is asked of a process that starts: is it ready? Once it has started, they are the same as without the query."""
HELD_SECONDS = WAIT_SECONDS + 1.0
"""Limit for such a request and its answer."""
_STOP_SECONDS = 2.0

_TEXT = "text/plain; charset=utf-8"
_INDEX = "VaultStream {role} worker: /metrics /livez /readyz\n"


class Telemetry:
    """The metrics and the health of one worker, whether they are served or not."""

    def __init__(self, role: str, *, health: Health | None = None) -> None:
        self.metrics = Metrics(role)
        self.health = health or Health(role)


@dataclass(frozen=True)
class Answer:
    """An HTTP answer."""

    status: HTTPStatus
    content_type: str = _TEXT
    body: bytes = b""


def answer(request: h11.Request, *, registry: CollectorRegistry, health: Health) -> Answer:
    """Answers a request for metrics or health. Status 503 means that a check fails; the body names it and the reason."""
    if request.method not in {b"GET", b"HEAD"}:
        return Answer(HTTPStatus.METHOD_NOT_ALLOWED, body=b"Only GET and HEAD are allowed.\n")
    match request.target.partition(b"?")[0]:
        case b"/metrics":
            accept = next((value for name, value in request.headers if name == b"accept"), b"")
            encode, content_type = choose_encoder(accept.decode("latin-1"))
            return Answer(HTTPStatus.OK, content_type, encode(registry))
        case b"/livez" | b"/healthz":
            return _judged(health.live())
        case b"/readyz":
            return _judged(health.ready())
        case b"/":
            return Answer(HTTPStatus.OK, body=_INDEX.format(role=health.role).encode())
        case _:
            return Answer(HTTPStatus.NOT_FOUND, body=b"The paths are /metrics, /livez and /readyz.\n")


def _judged(verdict: Verdict) -> Answer:
    status = HTTPStatus.OK if verdict.ok else HTTPStatus.SERVICE_UNAVAILABLE
    return Answer(status, "application/json", json.dumps(verdict.document(), indent=2).encode() + b"\n")


class TelemetryServer:
    """Serves from a thread until it is stopped.

    Args:
        host: the address to listen on; `::` accepts IPv4 too.
        port: 0 picks any free port.
        registry: the metrics.
        health: answers for the health paths.

    Raises:
        UsageError: it can't listen on that address.
    """

    def __init__(self, host: str, port: int, *, registry: CollectorRegistry, health: Health) -> None:
        self._registry = registry
        self._health = health
        self._socket = _listen(host, port)
        self.port: int = self._socket.getsockname()[1]
        self._open: dict[asyncio.StreamWriter, None] = {}  # the oldest first
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread and closes the port; open connections are cut."""
        with suppress(RuntimeError):  # the loop is closed: the thread has already ended
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(_STOP_SECONDS)

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._serve())
        except Exception:  # the worker keeps signing without metrics; a probe notices that the port is closed
            log.exception("metrics and health are no longer served")
        finally:
            self._socket.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._on_connection, sock=self._socket, limit=MAX_HEAD_BYTES)
        async with server:
            await self._stop.wait()
            for writer in list(self._open):  # a probe that is held must not hold the port
                writer.transport.abort()

    async def _on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open[writer] = None
        if len(self._open) > MAX_CONNECTIONS:
            oldest = next(iter(self._open))
            del self._open[oldest]
            oldest.transport.abort()
        try:
            async with asyncio.timeout(HTTP_REQUEST_SECONDS) as limit:
                await self._converse(reader, writer, limit)
        except (TimeoutError, OSError, h11.ProtocolError):
            log.debug("a client of the metrics port disconnected, or was too slow")
            writer.transport.abort()
        finally:
            self._open.pop(writer, None)
            writer.close()

    async def _converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: asyncio.Timeout
    ) -> None:
        """Reads one request, answers it, and leaves the connection to be closed."""
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
        with_body = True
        try:
            while (event := connection.next_event()) is h11.NEED_DATA:
                connection.receive_data(await reader.read(MAX_HEAD_BYTES))
        except h11.RemoteProtocolError as error:
            given = Answer(HTTPStatus(error.error_status_hint))
        else:
            if not isinstance(event, h11.Request):
                return  # the client disconnected before it asked for anything
            with_body = event.method != b"HEAD"
            if event.target in WAITING and await self._starts(limit):
                given = _judged(self._health.ready())
            else:
                given = answer(event, registry=self._registry, health=self._health)
        for part in _response(given, with_body=with_body):
            writer.write(connection.send(part) or b"")
        writer.transport.set_write_buffer_limits(0)
        await writer.drain()

    async def _starts(self, limit: asyncio.Timeout) -> bool:
        """Waits up to `WAIT_SECONDS` for a process that starts; returns whether it still does."""
        limit.reschedule(asyncio.get_running_loop().time() + HELD_SECONDS)
        with suppress(TimeoutError):
            async with asyncio.timeout(WAIT_SECONDS):
                while not self._health.ready().ok and self._health.starting:  # noqa: ASYNC110 - another thread sets it
                    await asyncio.sleep(WAIT_STEP_SECONDS)
        return self._health.starting


def _response(given: Answer, *, with_body: bool) -> list[h11.Event]:
    headers = {
        "Content-Type": given.content_type,
        "Content-Length": str(len(given.body)),
        "Cache-Control": "no-store",
        "Connection": "close",
    }
    head = h11.Response(status_code=given.status, reason=given.status.phrase, headers=list(headers.items()))
    return [head, *([h11.Data(data=given.body)] if with_body else []), h11.EndOfMessage()]


def _listen(host: str, port: int) -> socket.socket:
    try:
        return open_port(host, port)
    except OSError as error:
        raise UsageError(
            f"Metrics can't be served on {host}, port {port}: {error.strerror or error}.",
            hint="Set VAULTSTREAM_METRICS_PORT to a free port, or to 0 to pick any free port (several workers on one "
            "machine), and VAULTSTREAM_METRICS_HOST to an address of this machine.",
        ) from None


@asynccontextmanager
async def serving(settings: Settings, telemetry: Telemetry) -> AsyncIterator[TelemetryServer | None]:
    """Serves metrics and health on the port of the settings; without a port, serves nothing.

    Raises:
        UsageError: the port is taken, or this machine does not have the address.
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
    """Serves metrics and health on one address, and reports to `health` that the event loop turns.

    Raises:
        UsageError: the port is taken, or this machine does not have the address.
    """
    server = TelemetryServer(host, port, registry=registry, health=health)
    turning = asyncio.create_task(_turn(health))
    log.info("serving metrics and health", extra={"host": host, "port": server.port})
    try:
        yield server
    finally:
        turning.cancel()
        await asyncio.to_thread(server.stop)


async def _turn(health: Health) -> None:
    """Reports that the event loop turns, for as long as it does."""
    while True:
        health.turn()
        await asyncio.sleep(TURN_SECONDS)
