"""Finds leases of a key that overlap, and batches that more than one of them committed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaultstream.audit.report import MAX_EXAMPLES, AuditFinding, Tally
from vaultstream.store.sql import query

if TYPE_CHECKING:
    from vaultstream.store.database import Connection
    from vaultstream.store.jobs import Job

_LEASE_CHECKS = (
    (
        AuditFinding.LEASE_OVERLAPS,
        "audit_lease_overlaps",
        "key {key_id}: {holder} held it with epoch {epoch} from {began}, before an earlier lease ended at {held_until}",
    ),
    (
        AuditFinding.COMMITTED_TWICE,
        "audit_committed_twice",
        "batch {batch_no} was committed under {leases} leases",
    ),
    (
        AuditFinding.BAD_LEASES,
        "audit_leases_of_others",
        "key {key_id}: the lease with epoch {epoch} is of batch {leased}, and its statement is of batch {stated}",
    ),
)
"""Each kind of finding, the query that finds it, and the sentence for each row."""


async def check_leases(connection: Connection, job: Job, tally: Tally) -> None:
    """Adds to the tally what is wrong with the history of the leases of a job."""
    for finding, name, sentence in _LEASE_CHECKS:
        rows = await connection.fetch(query(name), job.job_no, MAX_EXAMPLES)
        for row in rows:
            tally.find(finding, None, sentence.format(**row), number=0)
        if rows:
            tally.add(finding, rows[0]["total"])
