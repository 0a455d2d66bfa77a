"""A proxy to a service, on loopback or a Unix socket, that can be slow, be cut, lose answers, or hang."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

_LOOPBACK = "127.0.0.1"
_POSTGRES_SOCKET = ".s.PGSQL.5432"
_CHUNK = 1 << 16


@dataclass(eq=False)
class _Connection:
    near: asyncio.StreamWriter
    far: asyncio.StreamWriter
    flows: asyncio.Event = field(default_factory=asyncio.Event)

    def cut(self) -> None:
        self.near.transport.abort()
        self.far.transport.abort()


class Wire:
    """Carries connections to `target`, a port on loopback or the folder of a Postgres socket."""

    def __init__(self, target: int | Path) -> None:
        self._target = target
        self._silent = False
        self._open: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.cuts = 0
        """Connections broken so far."""
        self.delay_seconds = 0.0
        """Delay of each chunk in seconds, in both directions."""
        self.loses_answers = False
        """Whether answers of the service are lost; requests still arrive."""

    async def accept(self, reader: asyncio.StreamReader, near: asyncio.StreamWriter) -> None:
        try:
            if isinstance(self._target, Path):
                answers, far = await asyncio.open_unix_connection(self._target / _POSTGRES_SOCKET)
            else:
                answers, far = await asyncio.open_connection(_LOOPBACK, self._target)
        except OSError:
            near.transport.abort()
            return
        connection = _Connection(near, far)
        if not self._silent:
            connection.flows.set()
        self._open.add(connection)
        task = asyncio.create_task(self._carry(connection, reader, answers))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(
        self, connection: _Connection, reader: asyncio.StreamReader, answers: asyncio.StreamReader
    ) -> None:
        ways = [
            asyncio.create_task(self._pump(connection, reader, connection.far, answer=False)),
            asyncio.create_task(self._pump(connection, answers, connection.near, answer=True)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._open.discard(connection)
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            connection.cut()

    async def _pump(
        self,
        connection: _Connection,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        answer: bool,
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(_CHUNK):
                if self.delay_seconds:
                    await asyncio.sleep(self.delay_seconds)
                await connection.flows.wait()
                if not (answer and self.loses_answers):
                    writer.write(data)
                    await writer.drain()

    def cut(self) -> int:
        """Breaks every connection that is open; returns how many."""
        broken = list(self._open)
        for connection in broken:
            connection.cut()
        self.cuts += len(broken)
        return len(broken)

    @contextmanager
    def deaf(self) -> Iterator[None]:
        """Loses the service's answers, then cuts the connections; otherwise clients would wait forever, as on no real network."""
        self.loses_answers = True
        try:
            yield
        finally:
            self.loses_answers = False
            self.cut()

    def silence(self, *, new: bool) -> None:
        """Makes open connections hang without an end; with `new`, also new connections."""
        self._silent = new
        for connection in self._open:
            connection.flows.clear()

    def restore(self) -> None:
        """Carries all connections again."""
        self.delay_seconds, self.loses_answers, self._silent = 0.0, False, False
        for connection in self._open:
            connection.flows.set()

    async def close(self) -> None:
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def open_wire(target: int, *, port: int = 0) -> AsyncIterator[tuple[Wire, int]]:
    """Opens a wire to a port on loopback; yields the wire and its port."""
    wire = Wire(target)
    server = await asyncio.start_server(wire.accept, _LOOPBACK, port)
    try:
        yield wire, server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await wire.close()


@asynccontextmanager
async def open_socket_wire(target: Path, folder: Path) -> AsyncIterator[Wire]:
    """Opens a wire to the Postgres with its socket in `target`; the wire's socket is in `folder`."""
    wire = Wire(target)
    server = await asyncio.start_unix_server(wire.accept, folder / _POSTGRES_SOCKET)
    try:
        yield wire
    finally:
        server.close()
        await wire.close()
