"""Records the watch events of an API server, with the time of each event."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from kube.apiserver import ApiServer

Body = dict[str, Any]


@dataclass(frozen=True)
class Change:
    """One change of one object: ADDED, MODIFIED or DELETED, and the object at that time."""

    at: float
    """Seconds on the monotonic clock."""
    kind: str
    body: Body

    @property
    def name(self) -> str:
        return str(self.body["metadata"]["name"])

    @property
    def uid(self) -> str:
        return str(self.body["metadata"]["uid"])


@dataclass
class Watch:
    """Every change since the watch began, in order; it begins with the objects that existed before."""

    changes: list[Change] = field(default_factory=list)

    def of(self, name: str) -> list[Change]:
        return [change for change in self.changes if change.name == name]

    def added(self) -> list[str]:
        """Names of all objects ever created, with repetitions."""
        return sorted(change.name for change in self.changes if change.kind == "ADDED")

    def values(self, name: str, read: Callable[[Body], Any]) -> list[Any]:
        """Returns the successive values read from one object, without repetitions and without None."""
        found: list[Any] = []
        for change in self.of(name):
            value = read(change.body)
            if value is not None and value not in found[-1:]:
                found.append(value)
        return found


@asynccontextmanager
async def watching(server: ApiServer, *paths: str) -> AsyncIterator[Watch]:
    """Watches collections such as `/apis/apps/v1/namespaces/n/deployments`; fails if the API server ends a watch."""
    context = ssl.create_default_context(cafile=str(server.authority.pair.certificate))
    admin = server.authority.issue("admin", "kubernetes-admin", ("system:masters",))
    context.load_cert_chain(admin.certificate, admin.key)
    watch = Watch()
    async with aiohttp.ClientSession(
        server.url, connector=aiohttp.TCPConnector(ssl=context), timeout=aiohttp.ClientTimeout(total=None)
    ) as session:
        answers = [await session.get(f"{path}?watch=true") for path in paths]
        tasks = [asyncio.create_task(_note(watch, answer)) for answer in answers]
        try:
            yield watch
            for task in tasks:
                assert not task.done(), task.exception() or "a watch has ended"
        finally:
            for task in tasks:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task


async def _note(watch: Watch, answer: aiohttp.ClientResponse) -> None:
    answer.raise_for_status()
    buffer = b""
    async for chunk in answer.content.iter_any():
        *lines, buffer = (buffer + chunk).split(b"\n")
        now = time.monotonic()
        for line in lines:
            told = json.loads(line)
            assert told["type"] in {"ADDED", "MODIFIED", "DELETED"}, told
            watch.changes.append(Change(now, told["type"], told["object"]))
