"""Finds records that batches cover twice, and signatures and dead letters of records that none covers."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Self

from vaultstream.audit.checks.queries import job_query
from vaultstream.audit.report import MAX_EXAMPLES, AuditFinding, Count, Tally
from vaultstream.store.sql import query

if TYPE_CHECKING:
    from vaultstream.store.database import Connection
    from vaultstream.store.jobs import Job


class Totals(NamedTuple):
    """How many signatures and dead letters a job has, of any records, by Postgres's own count."""

    signatures: int
    dead_letters: int

    @classmethod
    async def read(cls, connection: Connection, job: Job) -> Self:
        """Counts them; once for a verification, because that takes its time in a large job."""
        [row] = await connection.fetch(job_query("audit_totals", job), job.job_no)
        return cls(**row)


async def check_coverage(connection: Connection, job: Job, tally: Tally, totals: Totals) -> None:
    """Finds records covered twice, and signatures and dead letters of records that no batch covers.

    If the signatures and dead letters found for the job's records add up to all that there are, no other record has any,
    and the search for those is skipped.
    """
    twice = await _find_each(
        connection,
        query("audit_planned_twice_bigint" if job.id_type == "bigint" else "audit_planned_twice_listed"),
        job,
        tally,
        (AuditFinding.PLANNED_TWICE, "more than one planned batch covers it"),
    )
    tally.add(Count.RECORDS, -twice)
    for total, seen, unplanned, what in (
        (totals.signatures, Count.SIGNED, "audit_unplanned_signatures", "a signature"),
        (totals.dead_letters, Count.DEAD, "audit_unplanned_dead_letters", "a dead letter"),
    ):
        if twice or total != tally.counts[seen]:
            statement = job_query(unplanned, job)
            await _find_each(
                connection,
                statement,
                job,
                tally,
                (AuditFinding.UNPLANNED, f"{what}, but no batch of the job covers it"),
            )


async def _find_each(
    connection: Connection, statement: str, job: Job, tally: Tally, finding: tuple[AuditFinding, str]
) -> int:
    kind, reason = finding
    rows = await connection.fetch(statement, job.job_no, MAX_EXAMPLES)
    total = int(rows[0]["total"]) if rows else 0
    for row in rows:
        tally.find(kind, row["record_id"], reason, number=0)
    tally.add(kind, total)
    return total
