"""Worker processes that are connected to Postgres, as its activity view lists them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vaultstream.store.holder import SessionName
from vaultstream.store.sql import query

if TYPE_CHECKING:
    from vaultstream.store.database import Connection


@dataclass(frozen=True)
class WorkerSession(SessionName):
    """One worker process, with the number of its connections."""

    connections: int
    login: str
    """Whose they are, as Postgres knows; a name is what a session says of itself."""


async def list_worker_sessions(connection: Connection, job_no: int | None = None) -> list[WorkerSession]:
    """Returns the worker processes that are connected, by job, role and host; only those of one job if `job_no` is given.

    Sessions of logins that may not do the work are no workers, whatever they call themselves.
    """
    sessions = [
        WorkerSession(name.role, name.job_no, name.host, name.pid, row["connections"], row["login"])
        for row in await connection.fetch(query("list_sessions"))
        if (name := SessionName.parse(row["application_name"])) and job_no in {None, name.job_no}
    ]
    return sorted(sessions, key=lambda session: (session.job_no, session.role, session.host, session.pid))
