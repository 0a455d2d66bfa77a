"""The database's owner, who has no private key, writes what he likes: `verify` names what was done.

Where he can, he changes everything consistently: the source, the signatures, the batches and the history of leases.
"""

from __future__ import annotations

from dataclasses import replace

from integration.audit.audits import audit, found
from integration.audit.signed_job import SignedJob, payload_of
from vaultstream.audit.report import AuditReport
from vaultstream.crypto.algorithms import PrivateKey, signer
from vaultstream.proof.merkle import tree_root
from vaultstream.proof.statement import BatchStatement, record_hashes, signed_bytes

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


async def resign(
    signed: SignedJob, private: PrivateKey, *, batches: str = "true", name: str | None = None
) -> None:
    """Signs batches again, records and statements, as somebody does who has put a key of his own into the database.

    Args:
        batches: which ones, in SQL over the statements.
        name: the id of the key that the statements name; None: the former one.
    """
    algorithm = signed.job.spec.keys.algorithm
    sign = signer(private, algorithm)
    for row in await signed.connection.fetch(f"SELECT * FROM vaultstream.statements WHERE {batches}"):
        records = await signed.connection.fetch(
            f"SELECT record_id, digest FROM {signed.signatures} WHERE (key_no, epoch) = ($1, $2) ORDER BY record_id",
            row["key_no"],
            row["epoch"],
        )
        ids, digests = [each["record_id"] for each in records], [each["digest"] for each in records]
        signatures = [sign(payload_of(i).encode()) for i in ids]
        await signed.connection.executemany(
            f"UPDATE {signed.signatures} SET signature = $2 WHERE record_id = $1",
            list(zip(ids, signatures, strict=True)),
        )
        stated = BatchStatement.parse(row["body"])
        root = tree_root(record_hashes(ids, digests, signatures))
        body = replace(stated, root=root, key_id=name or stated.key_id).body
        await signed.execute(
            "UPDATE vaultstream.statements SET body = $2, signature = $3 WHERE batch_no = $1",
            row["batch_no"],
            body,
            sign(signed_bytes(body)),
        )
