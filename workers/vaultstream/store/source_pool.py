"""Connections by which sources are read, and by which nothing else is done.

Each read is a READ ONLY transaction that is rolled back at its end: that also resets what the code of a source's owner has set
in the session. What survives is undone (advisory locks) or never used (prepared statements: ours have no name). Nothing that
a connection says after such code has run on it is believed: which relation was read is asked on a connection of ours.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Protocol

import asyncpg

from vaultstream.errors import SourceError, VaultStreamError
from vaultstream.store.database import Pool, connect, open_pool
from vaultstream.store.source_errors import errors_of_source
from vaultstream.store.source_login import SESSION, check_source_login
from vaultstream.store.sql import query

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from vaultstream.store.database import Connection
    from vaultstream.store.source_login import Place, SourceDatabase


END_SECONDS = 10.0
"""How long the end of a read may take before its session is ended from another one."""

SEEN_SECONDS = 1.0
"""How long an answer to which relation has a name may serve the next read. Any age would be safe: a change since then fails the
read, which can be repeated."""

Identity = tuple[str, str]
"""The transactions that last changed a relation's row in the catalog, and its schema's."""


class PinnedRelation(Protocol):
    """What a read needs to know about its relation."""

    @property
    def relation(self) -> str:
        """Its schema and name, each quoted where need be."""

    @property
    def oid(self) -> int: ...


class SourcePool:
    """A pool of source connections. `open_source_pool` makes one."""

    def __init__(self, pool: Pool, ours: Pool, url: str) -> None:
        self._pool = pool
        self._ours = ours
        self._url = url
        self._seen: dict[int, tuple[Identity, float]] = {}
        """By oid, what `_identity` last returned, and when by the event loop's clock."""

    @property
    def size(self) -> int:
        """How many reads run at a time, at most."""
        return self._pool.get_max_size()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Yields a connection in a READ ONLY transaction, which is rolled back. Its queries run no code of a source's owner."""
        async with self._pool.acquire() as connection:
            pid = connection.get_server_pid()
            await connection.execute(query("begin_read"))
            try:
                yield connection
            finally:
                await self._end(connection, pid)

    @asynccontextmanager
    async def read(self, source: PinnedRelation) -> AsyncIterator[Connection]:
        """Does what `transaction` does, and checks that the relation read was the one that the job was created for.

        Neither it nor its schema had another name in between: each rename, also one that was undone, changes an `xmin`.

        Raises:
            SourceError: another relation has its name now.
            SourceReadError: a query failed, as code of the source's owner may have chosen.
            asyncpg.SerializationError: it or its schema was altered during the read, or just before. The read can be repeated.
        """
        before = self._just_seen(source) or await self._identity(source)
        async with self.transaction() as connection:
            with errors_of_source(connection, source.relation):
                yield connection
        if await self._identity(source) != before:
            raise asyncpg.SerializationError(f"{source.relation} was altered while it was read")

    def _just_seen(self, source: PinnedRelation) -> Identity | None:
        """Returns what was asked after the read before, which saves asking again before this one."""
        identity, at = self._seen.get(source.oid, (None, 0.0))
        return identity if asyncio.get_running_loop().time() - at < SEEN_SECONDS else None

    async def _identity(self, source: PinnedRelation) -> Identity:
        async with self._ours.acquire() as connection:
            row = await connection.fetchrow(query("relation_identity"), source.oid)
        if row is None or row["relation"] != source.relation:
            raise replaced(source.relation)
        identity = row["changed"], row["schema_changed"]
        self._seen[source.oid] = identity, asyncio.get_running_loop().time()
        return identity

    async def _end(self, connection: Connection, pid: int) -> None:
        """Ends a read. A connection that can't be brought back into its first state is closed, and its session ended.

        Code of a source's owner may ignore that its query is canceled.
        """
        try:
            async with asyncio.timeout(END_SECONDS):
                await connection.execute(query("end_read"))
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
            with suppress(asyncpg.InterfaceError):  # the driver closed it already
                connection.terminate()
            with suppress(
                VaultStreamError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError
            ):
                async with connect(self._url, settings=SESSION) as another:
                    await another.execute(query("end_session"), pid)


async def require_same(connection: Connection, source: PinnedRelation) -> None:
    """Checks that a relation has its name, as the connection tells. No code of its owner may have run on it before.

    It may lose the name right after, even in a transaction that has read it: its schema can be renamed.

    Raises:
        SourceError: another relation has its name now.
    """
    if await connection.fetchval(query("relation_oid"), source.relation) != source.oid:
        raise replaced(source.relation)


def replaced(relation: str, *, how: str = "replaced or renamed") -> SourceError:
    """Returns the error for a source that is no longer the relation that its job was created for."""
    return SourceError(
        f"spec.records.table: {relation} is no longer the relation that the job was created for: it was {how}.",
        hint="Put that relation back under its name, or create a new job. After a restore from a dump, the owner of the schema "
        "vaultstream accepts the restored relation: `vaultstream accept-source JOB`.",
    )


@asynccontextmanager
async def open_source_pool(
    database: SourceDatabase, *, place: Place, ours: Pool, role: str, size: int
) -> AsyncIterator[SourcePool]:
    """Opens a pool for reading sources.

    Args:
        database: where the sources are.
        place: where our own connections lead.
        ours: these connections, to the server that the sources are read from.
        role: which part of VaultStream connects; Postgres shows it in `application_name`.
        size: maximum number of connections.

    Raises:
        UsageError: sources are not read by this login; the hint says what to do.
        DatabaseError: Postgres is unreachable or refuses the connection.
    """
    async with AsyncExitStack() as stack:
        try:
            opening = open_pool(
                database.url, role=role, size=size, reset=False, cache=False, settings=SESSION
            )
            pool = await stack.enter_async_context(opening)
        except VaultStreamError as error:
            raise database.explain(error) from None
        async with pool.acquire() as connection:
            await check_source_login(connection, database, place=place)
        yield SourcePool(pool, ours, database.url)


@asynccontextmanager
async def connect_source(database: SourceDatabase, *, place: Place, role: str) -> AsyncIterator[Connection]:
    """Opens one connection for reading sources, and closes it; the caller begins the READ ONLY transaction.

    Arguments and errors are those of `open_source_pool`.
    """
    async with AsyncExitStack() as stack:
        try:
            connection = await stack.enter_async_context(connect(database.url, role=role, settings=SESSION))
        except VaultStreamError as error:
            raise database.explain(error) from None
        await check_source_login(connection, database, place=place)
        yield connection
