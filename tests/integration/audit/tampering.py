"""The database's owner, who has no private key, writes what he likes: `verify` names what was done.

Where he can, he changes everything consistently: the source, the signatures, the batches and the history of leases.
"""

from __future__ import annotations

from integration.audit.audits import audit, found
from integration.audit.signed_job import SignedJob
from vaultstream.audit.report import AuditReport

UNGUARD = "ALTER TABLE vaultstream.jobs DISABLE TRIGGER guard"
SWAP = """
    UPDATE receipts a SET payload = b.payload FROM receipts b WHERE (a.id, b.id) IN (($1, $2), ($2, $1));
    UPDATE {s} a SET signature = b.signature, digest = b.digest
    FROM {s} b WHERE (a.record_id, b.record_id) IN (($1, $2), ($2, $1))
"""


async def swap(signed: SignedJob, one: int, other: int) -> None:
    for statement in SWAP.replace("$1", str(one)).replace("$2", str(other)).split(";"):
        await signed.execute(statement)


async def only(signed: SignedJob, findings: dict[str, int]) -> AuditReport:
    """Verifies a job, whose only findings are these."""
    report = await audit(signed)
    assert found(report) == findings, report.examples
    assert not report.ok
    return report


def reason(report: AuditReport, kind: str) -> str:
    return report.examples[kind][0].reason


async def add_copy(signed: SignedJob, row: str = "key_no, epoch, signed_at") -> None:
    """Adds record 13 to the last batch, with what key 1 signed for record 2."""
    await signed.execute("INSERT INTO receipts SELECT 13, payload FROM receipts WHERE id = 2")
    await signed.execute(
        f"INSERT INTO {{s}} SELECT 13, {row}, digest, signature FROM {{s}} WHERE record_id = 2"
    )
    await signed.execute(
        "UPDATE vaultstream.batches SET records = 5, signed = 5, last_id = '13' WHERE batch_no = 3"
    )
