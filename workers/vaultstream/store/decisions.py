"""Decisions on the number of signers, as Postgres keeps them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from vaultstream.plurals import counted
from vaultstream.scaling.kept import MOST_KEPT, KeptDecision
from vaultstream.store.lockers import changing
from vaultstream.store.sql import query

if TYPE_CHECKING:
    from vaultstream.store.database import Connection

log = logging.getLogger(__name__)


async def keep_decision(connection: Connection, job_no: int, kept: KeptDecision) -> None:
    """Keeps a decision about a job, unless the job was deleted. Of each job the latest `MOST_KEPT` stay."""
    await connection.execute(query("keep_decision"), job_no, kept.at, kept.shown, MOST_KEPT)


async def list_decisions(
    connection: Connection, job_no: int, *, after: int = 0, limit: int | None = None
) -> list[tuple[int, KeptDecision]]:
    """Returns the decisions about a job with their numbers, oldest first: the latest `limit` of those after number `after`.

    Args:
        connection: outside of a transaction.
        job_no: of the job.
        after: the number behind which they are.
        limit: how many at most; None: all.

    Raises:
        LockedError: another transaction keeps the table locked; the message names it.
    """
    async with changing(connection, ["decisions"]):
        rows = await connection.fetch(query("list_decisions"), job_no, after, limit)
    found = [(row["number"], KeptDecision.read(row["at"], row["decision"])) for row in rows]
    if none := sum(kept is None for _, kept in found):
        log.warning("%s of the job can't be read, and are left out", counted(none, "decision"))
    return [(number, kept) for number, kept in found if kept is not None]
