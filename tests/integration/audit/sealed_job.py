"""A job that was sealed while it ran and when it had ended, made once and copied for each test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from integration.audit.seal_of import Sealer
from integration.audit.signed_job import SignedJob, commit, make_job
from support.as_user import connect
from vaultstream.audit.report import AuditFinding, AuditReport
from vaultstream.audit.verify import verify_job
from vaultstream.proof.merkle import Frontier
from vaultstream.store.jobs import complete_job_if_settled

if TYPE_CHECKING:
    from integration.audit.signed_job import RecordId
    from vaultstream.audit.seals.seal_trust import SealTrust

FREE = "; ".join(
    f"ALTER TABLE vaultstream.{table} DISABLE TRIGGER USER"
    for table in (
        "jobs",
        "keys",
        "batches",
        "logs",
        "log_entries",
        "checkpoints",
        "audit_events",
        "audited_jobs",
    )
)
"""The owner of the schema frees himself of what guards its tables."""


@dataclass(frozen=True)
class SealedTemplate:
    """The database with the sealed job, and what somebody has kept of it."""

    url: str
    database: str
    token: str
    ids: list[RecordId]
    sealer: Sealer
    earlier: bytes
    """The checkpoint of the log of seals when batch 3 was still to be signed."""
    newest: bytes
    """The same when the job had ended."""
    of_job: bytes
    """The checkpoint of the job's log when it had ended."""


@dataclass(frozen=True)
class SealedJob:
    """A copy."""

    signed: SignedJob
    made: SealedTemplate

    @property
    def sealer(self) -> Sealer:
        return self.made.sealer

    async def execute(self, *statements: str) -> None:
        """Runs statements as the owner of the schema, whom nothing guards; {s} stands for the table of signatures."""
        await self.signed.connection.execute(FREE)
        for statement in statements:
            await self.signed.execute(statement)

    async def verify(self, trust: SealTrust | None = None) -> AuditReport:
        """Verifies the job; by default as somebody who has kept the public half of the seal key."""
        return await verify_job(
            self.signed.url, self.made.token, processes=1, seal_trust=trust or self.sealer.trust
        )


async def make_sealed_job(url: str) -> SealedTemplate:
    """Makes a job of 12 records in three batches; records 3 and 7 are dead letters. It was sealed before the last batch, too."""
    sealer = Sealer()
    async with connect(url) as connection:
        signed = await make_job(
            connection, url, dead=frozenset({3, 7}), waiting=frozenset({9, 10, 11, 12}), keys=2
        )
        await sealer.plan(signed)
        await sealer.seal(signed)
        earlier = await sealer.checkpoint(signed)
        payloads = dict(await connection.fetch("SELECT id, payload FROM receipts"))
        await commit(connection, signed.job, 3, [9, 10, 11, 12], payloads, dead=[])
        await complete_job_if_settled(connection, signed.job.job_no)
        await sealer.seal(signed)
        return SealedTemplate(
            url=url,
            database=await connection.fetchval("SELECT current_database()"),
            token=signed.job.token,
            ids=signed.ids,
            sealer=sealer,
            earlier=earlier,
            newest=await sealer.checkpoint(signed),
            of_job=await sealer.checkpoint(signed, of_job=True),
        )


def findings(report: AuditReport) -> dict[str, int]:
    """Returns all findings that are not zero, with their counts."""
    return {str(kind): getattr(report, kind) for kind in AuditFinding if getattr(report, kind)}


BACK_TO_BEFORE_BATCH_3 = (
    "DELETE FROM vaultstream.log_entries e USING vaultstream.logs l WHERE l.log_no = e.log_no AND l.job_no IS NULL AND e.index >= 2",
    (
        "DELETE FROM vaultstream.log_entries e USING vaultstream.logs l WHERE l.log_no = e.log_no AND l.job_no IS NOT NULL "
        "AND e.index >= (SELECT min(size) FROM vaultstream.checkpoints c WHERE c.log_no = e.log_no)"
    ),
    "DELETE FROM vaultstream.checkpoints c WHERE size > (SELECT count(*) FROM vaultstream.log_entries e WHERE e.log_no = c.log_no)",
)
"""Removes what the logs have since the first seal."""


async def truncate(sealed: SealedJob) -> None:
    """Restores both logs as they were at the first seal."""
    await sealed.execute(*BACK_TO_BEFORE_BATCH_3)
    connection = sealed.signed.connection
    for row in await connection.fetch(
        "SELECT log_no, array_agg(leaf ORDER BY index) AS leaves FROM vaultstream.log_entries GROUP BY log_no"
    ):
        tree = Frontier().extend(row["leaves"])
        await connection.execute(
            "UPDATE vaultstream.logs SET size = $2, frontier = $3 WHERE log_no = $1",
            row["log_no"],
            tree.size,
            b"".join(tree.subtrees),
        )
