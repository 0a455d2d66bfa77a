"""Who keeps a session waiting for a lock, as far as this login may see it: asked while the wait lasts, because afterwards nobody knows."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncpg

from vaultstream.errors import LockedError, VaultStreamError
from vaultstream.store.database import connect, is_misconfigured, is_transient
from vaultstream.store.holder import APPLICATION, SessionName
from vaultstream.store.lockers import Locker, named, who_ends
from vaultstream.store.sql import query
from vaultstream.visible import visible

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from vaultstream.credentials import UrlSource
    from vaultstream.store.database import Connection, Pool

log = logging.getLogger(__name__)

WAITED_SECONDS = 2.0
"""Who waits for less is not reported: workers wait for each other for moments."""
LOCKED_SECONDS = 4.0
"""How long a reader waits for a lock before he gives up and says who holds it."""
LOOK_SECONDS = 5.0
"""Seconds between two looks of a worker whether its sessions wait."""
_LOOK_SECONDS = 1.0
_ACQUIRE_SECONDS = 0.5
_ANSWER_SECONDS = 5.0
_SHOWN = 3
"""Sessions that are named; of the rest, only the number is given."""


@dataclass(frozen=True)
class Blocker(Locker):
    """A session, or a prepared transaction, that keeps another one waiting."""

    application: str = ""
    """What the session calls itself."""
    since: str | None = None
    """When its transaction began, in UTC; None: this login may not see it."""

    def __str__(self) -> str:
        called = f" ({visible(self.application)})" if self.application else ""
        since = f", whose transaction began at {self.since}" if self.since else ""
        return f"{super().__str__()}{called}{since}"


async def list_blockers(
    connection: Connection,
    *,
    name: str = APPLICATION,
    job_no: int | None = None,
    pid: int | None = None,
    waited: float = WAITED_SECONDS,
) -> list[Blocker]:
    """Returns those for whom sessions of this database wait, the first in line alone. It reads no table of ours, so it never waits itself.

    Args:
        connection: of any login.
        name: what the names of the sessions that wait begin with.
        job_no: only workers of this job.
        pid: only this session.
        waited: for so many seconds, at least.
    """
    rows = await connection.fetch(query("list_blockers"), name, waited, pid)
    found = [
        Blocker(row["pid"], row["login"], row["prepared"], row["waits"], row["application"], row["since"])
        for row in rows
        if job_no is None or ((waiter := SessionName.parse(row["waiter"])) and waiter.job_no == job_no)
    ]
    found = list(dict.fromkeys(found))
    return [blocker for blocker in found if not blocker.waits] or found


def blocked_sentence(blockers: Sequence[Blocker]) -> str | None:
    """Returns who keeps others waiting, in a sentence; None: nobody."""
    if not blockers:
        return None
    more = f" and {len(blockers) - _SHOWN:,} more" if len(blockers) > _SHOWN else ""
    return f"Waits for a lock in Postgres, held by {named(blockers[:_SHOWN])}{more}."


def blocked_hint(blockers: Sequence[Blocker]) -> str:
    """Returns what an administrator does about them."""
    return f"It goes on when that transaction ends. If that takes too long, {who_ends(blockers[:_SHOWN])}"


class LockWatch:
    """Says in the log, once for each, who keeps the sessions of a worker waiting.

    Args:
        url: of the database.
        name: the name of its sessions.
        every: seconds between two looks.
        waited: seconds that a session must have been waiting.
    """

    def __init__(
        self, url: UrlSource, name: str, *, every: float = LOOK_SECONDS, waited: float = WAITED_SECONDS
    ) -> None:
        self._url = url
        self._name = name
        self._every = every
        self._waited = waited
        self._told: str | None = None
        self._due = time.monotonic() + every

    async def look(self, pool: Pool) -> str | None:
        """Looks, unless it did so a moment ago; returns for whom they wait, in a sentence; None: for nobody.

        Args:
            pool: of the worker. All its connections may be waiting; then another one is opened.
        """
        if time.monotonic() < self._due:
            return self._told
        self._due = time.monotonic() + self._every
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                blockers = await self._ask(pool)
        except Exception as error:
            # The worker goes on. If all its connections were busy, another one was opened, which gives errors of ours.
            if (
                not isinstance(error, VaultStreamError)
                and not is_transient(error)
                and not is_misconfigured(error)
            ):
                raise
            return self._told
        told, self._told = self._told, blocked_sentence(blockers)
        if self._told is not None and self._told != told:
            log.warning("%s", self._told, extra={"hint": blocked_hint(blockers)})
        elif told is not None and self._told is None:
            log.info("the wait for a lock in Postgres is over")
        return self._told

    async def _ask(self, pool: Pool) -> list[Blocker]:
        try:
            async with pool.acquire(timeout=_ACQUIRE_SECONDS) as connection:
                return await list_blockers(connection, name=self._name, waited=self._waited)
        except TimeoutError:
            async with connect(self._url) as connection:
                return await list_blockers(connection, name=self._name, waited=self._waited)


@asynccontextmanager
async def unless_blocked(connection: Connection, url: UrlSource, *, patience: float) -> AsyncIterator[None]:
    """Runs statements on a connection, and gives up when one waits for a lock that others keep.

    Args:
        connection: on which they run.
        url: of the same database: who waits can't ask.
        patience: seconds before it gives up.

    Raises:
        LockedError: others keep a lock; the message names them.
    """
    found: list[Blocker] = []
    try:
        async with asyncio.timeout(None) as limit:
            watch = asyncio.create_task(_watch(connection.get_server_pid(), url, patience, limit, found))
            try:
                yield
            finally:
                watch.cancel()
                # Not awaited itself: a cancellation of ours must not be taken for its own.
                await asyncio.wait([watch])
    except (TimeoutError, asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError) as error:
        if not found:
            raise
        raise LockedError(blocked_sentence(found) or "", hint=blocked_hint(found)) from error


async def _watch(
    pid: int, url: UrlSource, patience: float, limit: asyncio.Timeout, found: list[Blocker]
) -> None:
    """Finds who blocks a session, as long as one does; ends its statements after `patience` seconds."""
    loop = asyncio.get_running_loop()
    end = loop.time() + patience
    await asyncio.sleep(min(_LOOK_SECONDS, patience / 2))
    try:
        async with connect(url, role="command") as another:
            while True:
                found[:] = await list_blockers(another, pid=pid, waited=0.0)
                if found and loop.time() >= end:
                    limit.reschedule(loop.time())
                    return
                await asyncio.sleep(min(_LOOK_SECONDS, patience / 4))
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError, VaultStreamError):
        return  # whoever waits has his own answer
