"""Jobs that Postgres answers too late: those of their namespaces share few connections, so that all others have the rest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from vaultstream.errors import LockedError

_LATE = (TimeoutError, LockedError, asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError)


class SlowJobs:
    """What a tenant can cause, such as locked rows, is no reason to keep others waiting, or to believe that Postgres is unreachable.

    Args:
        connections: maximum number of connections to Postgres; a quarter of them is for slow namespaces.
    """

    def __init__(self, connections: int) -> None:
        self._most = max(1, connections // 4)
        self._busy = 0
        self._late: dict[str, set[str]] = {}

    @contextmanager
    def turn(self, namespace: str) -> Iterator[None]:
        """Wraps what is asked of Postgres about one job, the wait for a connection included.

        Raises:
            TimeoutError: jobs of this namespace were answered too late, and such ones use all connections that they may.
        """
        slow = namespace in self._late
        if slow and self._busy >= self._most:
            raise TimeoutError(
                "other jobs of this namespace wait for answers that come too late, or for locked rows"
            )
        self._busy += slow
        try:
            yield
        finally:
            self._busy -= slow

    def failed(self, namespace: str, name: str, error: Exception) -> None:
        """Notes that Postgres did not answer about a job, on a connection, in time. Other errors mean nothing."""
        if isinstance(error, _LATE):
            self._late.setdefault(namespace, set()).add(name)

    def forget(self, namespace: str, name: str) -> None:
        """Forgets a job that was answered, or is gone."""
        if namespace in self._late:
            self._late[namespace].discard(name)
            if not self._late[namespace]:
                del self._late[namespace]
