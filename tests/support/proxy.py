"""A way to a server that can be cut, and that can fall silent: bytes stop while every connection stays open."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_LOOPBACK = "127.0.0.1"


@dataclass(eq=False)
class _Link:
    """One connection through the proxy."""

    near: asyncio.StreamWriter
    far: asyncio.StreamWriter
    open: asyncio.Event = field(default_factory=asyncio.Event)


class Proxy:
    """Forwards connections on loopback; made by `open_proxy`."""

    def __init__(self, target: int) -> None:
        self.port = 0
        self._target = target
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._silent = False

    def silence(self, *, new: bool) -> None:
        """Stops what is open from being forwarded, with no end to be seen; `new` connections too, or they work."""
        self._silent = new
        for link in self._links:
            link.open.clear()

    def resume(self) -> None:
        """Forwards everything again."""
        self._silent = False
        for link in self._links:
            link.open.set()

    def cut(self) -> int:
        """Breaks every connection that is open; returns how many."""
        links = list(self._links)
        for link in links:
            link.near.transport.abort()
            link.far.transport.abort()
        return len(links)

    async def _accept(self, reader: asyncio.StreamReader, near: asyncio.StreamWriter) -> None:
        try:
            answers, far = await asyncio.open_connection(_LOOPBACK, self._target)
        except OSError:
            near.transport.abort()
            return
        link = _Link(near, far)
        if not self._silent:
            link.open.set()
        self._links.add(link)
        task = asyncio.create_task(self._carry(link, reader, answers))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, link: _Link, reader: asyncio.StreamReader, answers: asyncio.StreamReader) -> None:
        ways = [asyncio.create_task(_pump(link, *way)) for way in ((reader, link.far), (answers, link.near))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._links.discard(link)
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            link.near.transport.abort()
            link.far.transport.abort()

    async def close(self) -> None:
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _pump(link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            await link.open.wait()
            writer.write(data)
            await writer.drain()


@asynccontextmanager
async def open_proxy(target: int) -> AsyncIterator[Proxy]:
    """Opens a proxy to a port on loopback, on a port of its own."""
    proxy = Proxy(target)
    server = await asyncio.start_server(proxy._accept, _LOOPBACK, 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.close()
