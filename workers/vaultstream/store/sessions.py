"""Worker processes that are connected to Postgres, as its activity view shows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vaultstream.store.sql import query

if TYPE_CHECKING:
    from vaultstream.store.database import Connection

HOST_LETTERS = 24
"""So much of a host's name stands in the name of a connection."""


@dataclass(frozen=True)
class WorkerSession:
    """One worker process: what it does, for which job, and where it runs."""

    role: str
    """keys, records or signing."""
    job_no: int
    host: str
    """Its host's name, the first 24 characters."""
    pid: int
    connections: int

    def is_holder(self, holder: str) -> bool:
        """Whether this process is the one that a lease names as `<host>:<process id>:<random>`."""
        host, pid, _ = [*holder.rsplit(":", 2), "", ""][:3]
        return (host[:HOST_LETTERS], pid) == (self.host, str(self.pid))


async def list_worker_sessions(connection: Connection, job_no: int | None = None) -> list[WorkerSession]:
    """Returns the worker processes that are connected, of one job or of all."""
    rows = await connection.fetch(query("list_worker_sessions"), job_no)
    return [WorkerSession(**dict(row)) for row in rows]
