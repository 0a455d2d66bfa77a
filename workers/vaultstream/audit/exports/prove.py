"""Makes the proof of one record from what Postgres has, and reads no more of a job than that needs.

Postgres is believed nothing that the proof does not show: what does not lead from the record to a signed checkpoint is refused.
Whether the seal key has signed that checkpoint is for the reader of the proof to verify, who has the key from elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from vaultstream.audit.checks.checker import read_keys
from vaultstream.audit.checks.judgement import stored_signature
from vaultstream.audit.checks.queries import RecordId, job_query, parse_record_id
from vaultstream.audit.exports.extract import signature_of
from vaultstream.audit.snapshot import open_snapshot
from vaultstream.crypto.algorithms import known_algorithm, public_key_from_bytes, verifier
from vaultstream.errors import AuditError, ProofError, UsageError
from vaultstream.proof.checkpoint import Checkpoint
from vaultstream.proof.dsse import StatementEnvelope
from vaultstream.proof.merkle import inclusion_path, leaf_hash, tree_root
from vaultstream.proof.record_proof import ProvenRecord, RecordProof
from vaultstream.proof.statement import record_hashes
from vaultstream.proof.tlog_proof import TlogProof
from vaultstream.store.batches import listed_ids
from vaultstream.store.jobs import get_job
from vaultstream.store.logs import find_job_log, find_statement, leaf_hashes, newest_checkpoint
from vaultstream.store.sql import query

if TYPE_CHECKING:
    from vaultstream.audit.checks.judgement import AuditKey, StoredSignature
    from vaultstream.store.database import Connection
    from vaultstream.store.jobs import Job


@dataclass(frozen=True)
class MadeProof:
    """The proof of a record, and where it leads."""

    proof: RecordProof
    key: AuditKey
    """The record's."""
    head: Checkpoint
    """Of the job's log."""

    def to_json(self) -> dict[str, Any]:
        """Returns what the command prints."""
        stated = self.proof.signed.statement
        return {
            "record_id": self.proof.record.record_id,
            "token": stated.job_token,
            "batch": stated.batch,
            "records_of_batch": stated.count,
            "key_id": stated.key_id,
            "algorithm": stated.algorithm,
            "signed_at": stated.signed_at.isoformat(),
            "origin": self.head.origin,
            "index": self.proof.log.index,
            "tree_size": self.head.size,
        }


async def prove_record(database_url: str, job_name: str, record_id: str) -> MadeProof:
    """Returns the proof of a record of a sealed job.

    Args:
        database_url: the database.
        job_name: the job's name or token.
        record_id: the record.

    Raises:
        UnknownJobError: there is no such job.
        NotAllSignedError: the record is in the dead letters; the message says why.
        UsageError: the job has no signature of this record, is from before statements, or is not sealed yet.
        AuditError: what Postgres has is not what was signed, or not what is in the log.
    """
    async with open_snapshot(database_url, role="prove") as connection:
        return await make_proof(connection, job_name, record_id)


async def make_proof(connection: Connection, job_name: str, record_id: str) -> MadeProof:
    """Returns what `prove_record` does, by a connection in a transaction that sees one snapshot."""
    job = await get_job(connection, job_name)
    record = parse_record_id(record_id, job.id_type)
    stored = stored_signature(await signature_of(connection, job, record))
    envelope = await _statement(connection, job, record, stored)
    key = await _key(connection, job, envelope, stored)
    proven = await _in_batch(connection, job, record, stored, envelope)
    log, head = await _in_log(connection, job, envelope)
    return MadeProof(RecordProof(proven, envelope, log), key, head)


async def _statement(
    connection: Connection, job: Job, record: RecordId, stored: StoredSignature
) -> StatementEnvelope:
    """Returns the statement of the lease under which the record was signed."""
    rows = await connection.fetch(query("audit_statement_of"), job.job_no, stored.key_no, stored.epoch)
    if len(rows) == 1:
        return StatementEnvelope(rows[0]["body"], rows[0]["signature"])
    if rows or await connection.fetchval(query("audit_is_stated"), job.job_no):
        raise AuditError(
            f"The signature of record {str(record)!r} is under {len(rows) or 'no'} statements of its key.",
            hint=f"`vaultstream verify {job.name}` checks the whole job.",
        )
    raise UsageError(
        f"Record {str(record)!r} can't be proved: job {job.name} was created before keys made statements.",
        hint=f"`vaultstream extract {job.name} {record} --to DIR` writes its signature, which openssl checks.",
    )


async def _key(
    connection: Connection, job: Job, envelope: StatementEnvelope, stored: StoredSignature
) -> AuditKey:
    """Returns the key of a statement that it has signed."""
    key = (await read_keys(connection, job.job_no, job.spec.keys.algorithm)).get(stored.key_no)
    if key is None or key.key_id != envelope.statement.key_id:
        raise AuditError(
            f"The statement of batch {envelope.statement.batch} names another key than the signature.",
            hint=f"`vaultstream verify {job.name}` checks the whole job.",
        )
    envelope.require_signature(
        verifier(public_key_from_bytes(key.public_key), known_algorithm(key.algorithm))
    )
    return key


async def _in_batch(
    connection: Connection, job: Job, record: RecordId, stored: StoredSignature, envelope: StatementEnvelope
) -> ProvenRecord:
    """Returns the record with its path to the root that the statement has."""
    statement = envelope.statement
    covered = await connection.fetch(job_query("audit_covered_by", job), job.job_no, [statement.batch])
    ids = listed_ids([each["id"] for each in covered], job.id_type)
    rows = await connection.fetch(job_query("audit_signatures", job), ids)
    signed = sorted(
        (row for row in rows if (row["key_no"], row["epoch"]) == (stored.key_no, stored.epoch)),
        key=itemgetter("record_id"),
    )
    ids, digests, signatures = (
        [row[name] for row in signed] for name in ("record_id", "digest", "signature")
    )
    leaves = record_hashes(ids, digests, signatures)
    if record not in ids or (len(leaves), tree_root(leaves)) != (statement.count, statement.root):
        raise AuditError(
            f"The records of batch {statement.batch} are not those that its key has signed and stated.",
            hint=f"`vaultstream verify {job.name}` names what was removed, added or altered.",
        )
    index = ids.index(record)
    return ProvenRecord(
        str(record), stored.digest, stored.signature, index, tuple(inclusion_path(leaves, index))
    )


async def _in_log(
    connection: Connection, job: Job, envelope: StatementEnvelope
) -> tuple[TlogProof, Checkpoint]:
    """Returns the proof that the statement is an entry of the job's log."""
    batch = envelope.statement.batch
    log = await find_job_log(connection, job.job_no)
    sealed = await newest_checkpoint(connection, log) if log is not None else None
    index = await find_statement(connection, log, job.job_no, batch) if log is not None else None
    if log is None or sealed is None or index is None or index >= sealed.size:
        raise UsageError(
            f"Batch {batch}, which has the record, is not sealed yet.",
            hint=f"`vaultstream log seal {job.name}` seals what was signed until now.",
        )
    head = Checkpoint.parse(sealed.note.decode().partition("\n\n")[0] + "\n")
    leaves = await leaf_hashes(connection, log, last=sealed.size)
    if leaves[index] != leaf_hash(envelope.data):
        raise ProofError(
            f"Entry {index} of the log {log.origin!r} is not the statement of batch {batch}, as Postgres has it.",
            hint=f"`vaultstream verify {job.name}` checks the whole job.",
        )
    if (head.origin, head.size, head.root) != (log.origin, sealed.size, tree_root(leaves)):
        raise ProofError(
            f"The newest checkpoint of the log {log.origin!r} is not that of its entries.",
            hint="Entries were altered in vaultstream.log_entries, or the checkpoint was in vaultstream.checkpoints.",
        )
    return TlogProof(index, tuple(inclusion_path(leaves, index)), sealed.note), head
