"""What signers have committed is enough for proofs that others' programs accept."""

from __future__ import annotations

from uuid import UUID

import asyncpg
import pytest

from integration.audit.signed_job import RecordId, SignedJob, make_job, payload_of
from support.as_user import connect
from support.checkers import Judge, Proven
from support.proving import PAYLOAD, SignedLog
from vaultstream.api import Algorithm
from vaultstream.crypto.algorithms import public_key_pem
from vaultstream.proof.checkpoint import Checkpoint, sign_checkpoint
from vaultstream.proof.dsse import StatementEnvelope
from vaultstream.proof.merkle import inclusion_path, leaf_hash, tree_root
from vaultstream.proof.record_proof import ProvenRecord, RecordProof
from vaultstream.proof.statement import record_hashes
from vaultstream.proof.tlog_proof import TlogProof
from vaultstream.store import schema

pytestmark = pytest.mark.integration


async def proofs(job: SignedJob) -> list[Proven]:
    """Returns the proof of each signed record, from what Postgres has."""
    of = job.job.job_no
    statements = await job.connection.fetch(
        "SELECT s.body, s.signature, k.public_key, k.key_id FROM vaultstream.statements s "
        "JOIN vaultstream.keys k USING (key_no) WHERE s.job_no = $1 ORDER BY s.batch_no",
        of,
    )
    log = SignedLog([])
    entries = [StatementEnvelope(row["body"], row["signature"]) for row in statements]
    leaves = [leaf_hash(entry.data) for entry in entries]
    note = sign_checkpoint(Checkpoint(log.origin, len(leaves), tree_root(leaves)), log.seal_key)
    made = []
    for number, (entry, row) in enumerate(zip(entries, statements, strict=True)):
        log_proof = TlogProof(number, tuple(inclusion_path(leaves, number)), note)
        records = await batch_of(job, entry)
        hashes = record_hashes(
            [each["record_id"] for each in records],
            [each["digest"] for each in records],
            [each["signature"] for each in records],
        )
        for index, record in enumerate(records):
            proven = ProvenRecord(
                str(record["record_id"]),
                record["digest"],
                record["signature"],
                index,
                tuple(inclusion_path(hashes, index)),
            )
            payload = payload_of(record["record_id"]).encode()
            files = RecordProof(proven, entry, log_proof).files | {PAYLOAD: payload}
            pem = public_key_pem(row["public_key"])
            made.append(Proven(files, log.seal_key.public_key.vkey, log.origin, pem))
    return made


async def batch_of(job: SignedJob, entry: StatementEnvelope) -> list[asyncpg.Record]:
    stated = entry.statement
    order = 'record_id COLLATE "C"' if job.job.id_type == "text" else "record_id"
    return await job.connection.fetch(
        f"SELECT record_id, digest, signature FROM {job.signatures} "
        f"WHERE {order} BETWEEN $1::text::{job.job.id_type} AND $2::text::{job.job.id_type} ORDER BY {order}",
        stated.first_id,
        stated.last_id,
    )


@pytest.mark.parametrize(
    ("id_column", "ids", "algorithm"),
    [
        ("bigint", list(range(-3, 10)), Algorithm.ECDSA_P256_SHA256),
        ("uuid", [UUID(int=number << 100) for number in range(1, 8)], Algorithm.ED25519),
        ("text", ["10", "9", "B", "a", "é", "☃"], Algorithm.RSA_PSS_3072_SHA256),
    ],
)
async def test_each_signed_record_of_a_job_is_proved_to_others(
    judge: Judge, database_url: str, id_column: str, ids: list[RecordId], algorithm: Algorithm
) -> None:
    async with connect(database_url) as connection:
        await schema.migrate(connection)
        job = await make_job(
            connection,
            database_url,
            id_column=id_column,
            ids=ids,
            algorithm=algorithm,
            dead=frozenset({ids[1]}),
        )
        made = await proofs(job)
    assert len(made) == len(ids) - 1
    assert [judge(proven) for proven in made] == [None] * len(made)
