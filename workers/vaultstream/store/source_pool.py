"""Connections by which sources are read, and by which nothing else is done.

Each read is a READ ONLY transaction that is rolled back, at the latest when the next read begins: that also resets what the code
of a source's owner has set in the session. What survives is undone (advisory locks) or never used (prepared statements: ours have no
name). Nothing that a connection says after such code has run on it is believed: which relation was read is asked on a connection
of ours.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

import asyncpg

from vaultstream.errors import SourceError, UsageError, VaultStreamError
from vaultstream.store.database import Pool, connect, open_pool
from vaultstream.store.serving import end_now, is_open
from vaultstream.store.source_errors import errors_of_source
from vaultstream.store.source_login import SESSION, VARIABLE, check_source_login, find_place
from vaultstream.store.sql import query

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from asyncpg.pool import PoolConnectionProxy
    from asyncpg.prepared_stmt import PreparedStatement

    from vaultstream.credentials import UrlSource
    from vaultstream.store.database import Connection
    from vaultstream.store.source_login import Place, SourceDatabase


END_SECONDS = 10.0
"""How long the end of a read may take before its session is ended from another one."""

OPEN_READ_SECONDS = 0.2
"""How long the transaction of a read may stay open for the next read to end it, which saves a round trip. It holds no snapshot then,
only a lock against changes of the relation."""

SEEN_SECONDS = 0.25
"""How long an answer to which relation has a name may serve further reads. Any age would be safe: a change since then fails what
was read, which can be repeated."""

STOPPED_READ_SECONDS = 10
"""After how long Postgres ends a session of ours whose transaction waits: a process that was stopped locks nobody's table for long."""

POOLED_SESSION = {
    **SESSION,
    "row_security": "off",
    "idle_in_transaction_session_timeout": f"{STOPPED_READ_SECONDS}s",
}
"""Settings of a connection of a pool. Without row_security, Postgres refuses a query from which a policy would hide rows."""

_NOT_ENDED = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)

Identity = tuple[str, str]
"""The transactions that last changed a relation's row in the catalog, and its schema's."""


class PinnedRelation(Protocol):
    """What a read needs to know about its relation."""

    @property
    def relation(self) -> str:
        """Its schema and name, each quoted where need be."""

    @property
    def oid(self) -> int: ...


class SourceState(NamedTuple):
    """Which relation was read, and its state in the catalog before that. If it is the same later, that relation was read."""

    oid: int
    relation: str
    changed: str
    schema_changed: str

    @property
    def identity(self) -> Identity:
        return self.changed, self.schema_changed


class SourceAlteredError(asyncpg.SerializationError):
    """A relation was altered while it was read, or just before or after. The read can be repeated."""


@dataclass
class SourceConnection:
    """A connection that reads, one read at a time."""

    connection: PoolConnectionProxy
    pid: int
    """Of its session in Postgres."""
    statements: dict[str, PreparedStatement] = field(default_factory=dict)
    """What the driver knows of queries, by their text. In Postgres they have no name and end with the next query."""
    described: tuple[int, Identity] | None = None
    """The relation, by its oid, and the state of it in which `statements` were described."""
    open_since: float | None = None
    """When the last read ended, by the event loop's clock, if its transaction is still open."""

    @property
    def alive(self) -> bool:
        """Whether it can be used. One that was closed in between was taken back by its pool, and answers nothing any more."""
        return is_open(self.connection)

    def describe(self, oid: int, identity: Identity) -> None:
        """Drops statements that were described for another relation or another state of it: its columns may have other types."""
        if self.described != (oid, identity):
            self.statements.clear()
            self.described = oid, identity


class SourcePool:
    """A pool of source connections. `open_source_pool` makes one."""

    def __init__(self, pool: Pool, ours: Pool, url: UrlSource) -> None:
        self._pool = pool
        self._ours = ours
        self._url = url
        self._turns = asyncio.Semaphore(pool.get_max_size())
        self._idle: list[SourceConnection] = []
        """Kept out of the pool between reads: a statement of the driver ends when its connection goes back."""
        self._seen: dict[int, tuple[Identity, float]] = {}
        """By oid, what `_identity` last returned, and when by the event loop's clock."""
        self._resting: asyncio.Task[None] | None = None

    @property
    def size(self) -> int:
        """How many reads run at a time, at most."""
        return self._pool.get_max_size()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Yields a connection in a READ ONLY transaction, which is rolled back. Its queries run no code of a source's owner."""
        async with self._transaction() as reading:
            yield reading.connection

    async def fetch(
        self, source: PinnedRelation, sql: str, *arguments: object
    ) -> tuple[list[asyncpg.Record], SourceState]:
        """Runs one query. Its types are asked for once, and again after the relation was altered.

        Postgres parses it each time: a statement that it keeps could be replaced by code of the source's owner.

        Returns:
            The rows, and of which relation they are if that is still in this state. What follows from them counts only once that is
            known: `commit_batches` finds out, or `confirm`.

        Raises:
            SourceError: another relation has its name now.
            SourceReadError: the query failed, as code of the source's owner may have chosen.
        """
        before = self._just_seen(source) or await self._identity(source)
        async with self._transaction(stays_open=True) as reading:
            reading.describe(source.oid, before)
            with errors_of_source(reading.connection, source.relation):
                statement = reading.statements.get(sql)
                if statement is None:
                    statement = reading.statements[sql] = await reading.connection.prepare(sql, name="")
                rows = await statement.fetch(*arguments)
        return rows, SourceState(source.oid, source.relation, *before)

    async def confirm(self, state: SourceState) -> None:
        """Checks that a relation is still in the state in which it was read.

        Raises:
            SourceError: another relation has its name now.
            SourceAlteredError: it or its schema was altered.
        """
        if await self._identity(state) != state.identity:
            raise altered(state.relation)

    @asynccontextmanager
    async def read(self, source: PinnedRelation) -> AsyncIterator[Connection]:
        """Does what `transaction` does, and checks that the relation read was the one that the job was created for.

        Neither it nor its schema had another name in between: each rename, also one that was undone, changes an `xmin`.

        Raises:
            SourceError: another relation has its name now.
            SourceReadError: a query failed, as code of the source's owner may have chosen.
            SourceAlteredError: it or its schema was altered during the read, or just before.
        """
        async with self._read(source) as reading:
            yield reading.connection

    async def close(self) -> None:
        """Returns all connections to the pool. Nothing is read any more."""
        if self._resting is not None:
            self._resting.cancel()
            await asyncio.gather(self._resting, return_exceptions=True)
        for reading in self._idle:
            if reading.alive and reading.open_since is not None:
                await self._end(reading)
            await self._pool.release(reading.connection)
        self._idle.clear()

    @asynccontextmanager
    async def _transaction(self, *, stays_open: bool = False) -> AsyncIterator[SourceConnection]:
        """Yields a connection in a new transaction. With `stays_open`, one that did not fail is ended by the next one, or soon."""
        async with self._turns:
            reading = await self._take()
            done = False
            try:
                yield reading
                done = True
            finally:
                try:
                    if done and stays_open:
                        reading.open_since = asyncio.get_running_loop().time()
                    else:
                        await self._end(reading)
                finally:
                    self._idle.append(reading)
        if reading.open_since is not None and (self._resting is None or self._resting.done()):
            self._resting = asyncio.create_task(self._rest())

    async def _begin(self, reading: SourceConnection) -> bool:
        """Begins a transaction, and ends the one before. False: it could not be ended, so the connection is closed."""
        if reading.open_since is None:
            await reading.connection.execute(query("begin_read"))
            return True
        try:
            await reading.connection.execute(query("next_read"), timeout=END_SECONDS)
        except BaseException as error:
            await self._abandon(reading)
            if not isinstance(error, _NOT_ENDED):
                raise
            return False
        reading.open_since = None
        return True

    async def _rest(self) -> None:
        """Ends transactions that were left open for a next read that did not come."""
        while any(reading.open_since is not None for reading in self._idle):
            await asyncio.sleep(OPEN_READ_SECONDS)
            async with self._turns:
                rested = asyncio.get_running_loop().time() - OPEN_READ_SECONDS
                for reading in list(self._idle):
                    if reading.alive and reading.open_since is not None and reading.open_since <= rested:
                        self._idle.remove(reading)
                        try:
                            await self._end(reading)
                        finally:
                            self._idle.append(reading)

    async def _take(self) -> SourceConnection:
        """Returns a connection on which a transaction has begun."""
        while self._idle:
            reading = self._idle.pop()
            try:
                begun = reading.alive and await self._begin(reading)
            except BaseException:
                self._idle.append(reading)
                raise
            if begun:
                return reading
            await self._pool.release(reading.connection)
        connection = await self._pool.acquire()
        reading = SourceConnection(connection, connection.get_server_pid())
        try:
            await self._begin(reading)
        except BaseException:
            self._idle.append(reading)
            raise
        return reading

    @asynccontextmanager
    async def _read(self, source: PinnedRelation) -> AsyncIterator[SourceConnection]:
        before = self._just_seen(source) or await self._identity(source)
        async with self._transaction() as reading:
            reading.describe(source.oid, before)
            with errors_of_source(reading.connection, source.relation):
                yield reading
        if await self._identity(source) != before:
            raise altered(source.relation)

    def _just_seen(self, source: PinnedRelation) -> Identity | None:
        """Returns what was asked after the read before, which saves asking again before this one."""
        identity, at = self._seen.get(source.oid, (None, 0.0))
        return identity if asyncio.get_running_loop().time() - at < SEEN_SECONDS else None

    async def _identity(self, source: PinnedRelation) -> Identity:
        async with self._ours.acquire() as connection:
            identity = await relation_identity(connection, source)
        self._seen[source.oid] = identity, asyncio.get_running_loop().time()
        return identity

    async def _end(self, reading: SourceConnection) -> None:
        """Ends a read. A connection that can't be brought back into its first state is closed, and its session ended.

        Code of a source's owner may ignore that its query is canceled.
        """
        reading.open_since = None
        try:
            async with asyncio.timeout(END_SECONDS):
                await reading.connection.execute(query("end_read"))
        except _NOT_ENDED:
            await self._abandon(reading)

    async def _abandon(self, reading: SourceConnection) -> None:
        reading.open_since = None
        end_now(reading.connection)
        with suppress(VaultStreamError, *_NOT_ENDED):
            async with connect(self._url, settings=SESSION) as another:
                await another.execute(query("end_session"), reading.pid)


async def relation_identity(connection: Connection, source: PinnedRelation) -> Identity:
    """Returns the state of a relation in the catalog. If it is the same after a read, the read was of this relation.

    Args:
        connection: of ours, on which no code of a source's owner has run, and in no older snapshot.
        source: the relation.

    Raises:
        SourceError: another relation has its name now.
    """
    row = await connection.fetchrow(query("relation_identity"), source.oid)
    if row is None or row["relation"] != source.relation:
        raise replaced(source.relation)
    return row["changed"], row["schema_changed"]


def altered(relation: str) -> SourceAlteredError:
    """Returns the error for what was read of a relation that is no longer in the same state."""
    return SourceAlteredError(f"{relation} was altered while it was read")


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
    opened = False

    async def check(connection: Connection) -> None:
        """Checks each connection: what a login may do can change while a worker runs. Later, work waits until it is fixed.

        Our place is asked for again: after a restart of Postgres, it is another one.
        """
        now = place
        if opened:
            async with ours.acquire() as own:
                now = await find_place(own)
        try:
            await check_source_login(connection, database, place=now)
        except UsageError as error:
            raise (SourceError(error.message, hint=error.hint) if opened else error) from None

    async with AsyncExitStack() as stack:
        try:
            opening = open_pool(
                database.url,
                role=role,
                size=size,
                reset=False,
                cache=False,
                settings=POOLED_SESSION,
                check=check,
            )
            pool = await stack.enter_async_context(opening)
        except UsageError as error:
            raise (error if VARIABLE in error.message else database.explain(error)) from None
        except VaultStreamError as error:
            raise database.explain(error) from None
        opened = True
        sources = SourcePool(pool, ours, database.url)
        try:
            yield sources
        finally:
            await sources.close()


@asynccontextmanager
async def connect_source(database: SourceDatabase, *, place: Place, role: str) -> AsyncIterator[Connection]:
    """Opens one connection for reading sources, and closes it; the caller begins the READ ONLY transaction.

    Arguments and errors are those of `open_source_pool`.
    """
    async with AsyncExitStack() as stack:
        try:
            connection = await stack.enter_async_context(
                connect(database.url, role=role, cache=False, settings=SESSION)
            )
        except VaultStreamError as error:
            raise database.explain(error) from None
        await check_source_login(connection, database, place=place)
        yield connection
