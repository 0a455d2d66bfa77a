"""The operator's connections to Postgres: one attempt is enough for all jobs, and no job takes them from the others."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import asyncpg

from vaultstream.credentials import UrlSource
from vaultstream.store.blockers import unless_blocked
from vaultstream.store.database import Connection, Pool, is_transient, open_pool
from vaultstream.store.keepalive import plain_peer_of
from vaultstream.store.sql import query
from vaultstream.transit import ENCRYPT, PLAIN
from vaultstream_operator.adapters.slow_jobs import SlowJobs
from vaultstream_operator.adapters.store_errors import classify
from vaultstream_operator.api.reasons import JobReason

if TYPE_CHECKING:
    from vaultstream_operator.core.view import ObjectView

log = logging.getLogger(__name__)

_T = TypeVar("_T")

POSTGRES_ANSWER_SECONDS = 5.0
"""Seconds that Postgres may take for one reconcile."""
UNREACHABLE_PAUSE_SECONDS = 1.0
"""Seconds without new attempts after Postgres did not answer: one attempt is enough for all jobs."""
LEFT_SECONDS = 1.0
"""How long a count of connections is used: it is the same for all jobs."""
_BROKEN = (
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.InterfaceError,
    ConnectionError,
)
"""Errors of a connection that Postgres has ended."""


@dataclass(frozen=True, slots=True)
class _Closed:
    """Postgres was unreachable recently, and why."""

    until: float
    error: Exception


class SharedPool:
    """A pool that is opened once Postgres answers.

    Args:
        url: the connection string, or what returns it at each connect.
        connections: maximum number of connections.
    """

    def __init__(self, url: UrlSource, connections: int) -> None:
        self._url = url
        self._connections = connections
        self._pool: Pool | None = None
        self._opening = asyncio.Lock()
        self._stack = AsyncExitStack()
        self._closed: _Closed | None = None
        self._slow = SlowJobs(connections)
        self._left: tuple[float, int | None] = (-LEFT_SECONDS, None)

    async def connections_left(self, connection: Connection) -> int | None:
        """Returns how many sessions Postgres can take besides those that there are, as it was within `LEFT_SECONDS`; None: unknown."""
        now = time.monotonic()
        if now - self._left[0] >= LEFT_SECONDS:
            try:
                left = await connection.fetchval(query("count_connections_left"))
            except asyncpg.PostgresError as error:
                log.debug("can't count connections: %s", type(error).__name__)
                left = None
            self._left = now, left
        return self._left[1]

    async def aclose(self) -> None:
        """Closes all connections."""
        await self._stack.aclose()

    def forget(self, namespace: str, name: str) -> None:
        """Forgets a job that is gone."""
        self._slow.forget(namespace, name)

    async def run(self, step: Callable[[Connection], Awaitable[_T]], job: ObjectView | None = None) -> _T:
        """Returns what a step returns. Only a connection that fails, not an answer that comes late, keeps others from trying."""
        self._respect_pause()
        about = (job.owner.namespace, job.owner.name) if job else ("", "")
        with self._slow.turn(about[0]):
            async with asyncio.timeout(4 * POSTGRES_ANSWER_SECONDS), AsyncExitStack() as held:
                try:
                    pool = await self._open()
                    acquired = pool.acquire(timeout=POSTGRES_ANSWER_SECONDS)
                    connection = await held.enter_async_context(acquired)
                except Exception as error:
                    busy = isinstance(error, TimeoutError) and self._all_in_use()
                    if not busy and classify(error)[0] is JobReason.POSTGRES_UNREACHABLE:
                        self._close(error)
                    raise
                try:
                    answer = await step(connection)
                except Exception as error:
                    if isinstance(error, _BROKEN) and is_transient(error):
                        self._close(error)
                    self._slow.failed(*about, error)
                    raise
        self._slow.forget(*about)
        self._closed = None
        return answer

    def unless_blocked(self, connection: Connection) -> AbstractAsyncContextManager[None]:
        """Returns a context in which a wait for a lock ends with a `LockedError` that names who holds it, before the answer is too late."""
        return unless_blocked(connection, self._url, patience=0.6 * POSTGRES_ANSWER_SECONDS)

    def _close(self, error: Exception) -> None:
        self._closed = _Closed(time.monotonic() + UNREACHABLE_PAUSE_SECONDS, error)

    def _all_in_use(self) -> bool:
        """Whether Postgres could be reached, but jobs use all connections."""
        return self._pool is not None and self._pool.get_size() >= self._connections

    def _respect_pause(self) -> None:
        if self._closed is not None and time.monotonic() < self._closed.until:
            raise self._closed.error

    async def _open(self) -> Pool:
        async with self._opening, asyncio.timeout(POSTGRES_ANSWER_SECONDS):
            self._respect_pause()
            if self._pool is None:
                pool = await self._stack.enter_async_context(
                    open_pool(self._url, role="operator", size=self._connections)
                )
                async with pool.acquire() as connection:
                    if peer := plain_peer_of(connection):
                        log.warning(
                            "Postgres: %s", PLAIN.format(peer=peer), extra={"hint": ENCRYPT["Postgres"]}
                        )
                self._pool = pool
            return self._pool
