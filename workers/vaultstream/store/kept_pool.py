"""A pool whose connections stay at hand between two uses, where nobody changes a session.

The driver's own pool makes a task for each connection that is returned, to reset its session. For a signer, which uses a
connection three times for each group of batches, that is half a microsecond per record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asyncpg.pool import PoolAcquireContext

from vaultstream.store.serving import ServingPool, end_now, ends_connection, is_open, replace_connections

if TYPE_CHECKING:
    from collections.abc import Generator

    from asyncpg.pool import PoolConnectionProxy

KEPT_TIMES = 1_000
"""Each so many uses, a connection is returned to the driver, which closes one that has served `max_queries`."""


class KeptPool(ServingPool):
    """A pool that keeps connections at hand when they are returned."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._at_hand: list[PoolConnectionProxy] = []
        self._kept = 0
        """How often a connection was kept since the last one that was to be and was returned to the driver."""
        self._waiting = 0
        """How many wait for a connection, because all are in use."""
        self.expired = 0
        """How often all connections were replaced: one that was lent before is not kept."""

    def acquire(self, *, timeout: float | None = None) -> PoolAcquireContext:
        return _Loan(self, timeout)

    async def lend(self, seconds: float | None) -> PoolConnectionProxy:
        """Returns a connection at hand, or one of the driver's pool.

        Raises:
            TimeoutError: none became free within so many seconds.
        """
        while self._at_hand:
            connection = self._at_hand.pop()
            if is_open(connection):
                return connection
            await self.release(connection)
        self._waiting += 1
        try:
            return await super().acquire(timeout=seconds)
        finally:
            self._waiting -= 1

    async def take_back(self, connection: PoolConnectionProxy, *, keep: bool) -> None:
        """Takes a connection back, and keeps it at hand if it is to be kept, nobody waits for one and it can be used."""
        if keep and not self._waiting and is_open(connection) and not connection.is_in_transaction():
            self._kept += 1
            if self._kept < KEPT_TIMES:
                self._at_hand.append(connection)
                return
            self._kept = 0
        await self.release(connection)

    async def expire_connections(self) -> None:
        """Makes all connections be closed: those at hand now, those in use when they are returned.

        It waits for no server: each may be gone, and whoever waits for it could be canceled.
        """
        self.expired += 1
        await super().expire_connections()
        while self._at_hand:
            end_now(self._at_hand.pop())

    async def close(self) -> None:
        """Waits until all connections are returned, and closes them."""
        self._waiting += 1  # whoever returns one from now on returns it to the driver
        while self._at_hand:
            await self.release(self._at_hand.pop())
        await super().close()


class _Loan(PoolAcquireContext):
    """A connection for as long as an `async with` lasts."""

    pool: KeptPool

    async def __aenter__(self) -> PoolConnectionProxy:
        self._expired = self.pool.expired
        self.connection = await self.pool.lend(self.timeout)
        return self.connection

    def __await__(self) -> Generator[Any, Any, PoolConnectionProxy]:
        """Without an `async with`, whoever has the connection returns it by `release`."""
        return self.pool.lend(self.timeout).__await__()

    async def __aexit__(self, *raised: object) -> None:
        connection, self.connection = self.connection, None
        if connection is None:
            return
        try:
            if ends_connection(raised[1]):
                await replace_connections(self.pool, connection)
        finally:
            await self.pool.take_back(
                connection, keep=raised[1] is None and self._expired == self.pool.expired
            )
