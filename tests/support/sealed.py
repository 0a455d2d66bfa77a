"""Seals what a job has signed, by a key of the test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from vaultstream.proof.checkpoint import Checkpoint, sign_checkpoint
from vaultstream.proof.dsse import StatementEnvelope
from vaultstream.proof.merkle import leaf_hash
from vaultstream.proof.note import NoteSigningKey
from vaultstream.proof.seal import job_origin
from vaultstream.store.logs import EntryKind, NewEntry, add_checkpoint, append_entries, lock_log

if TYPE_CHECKING:
    import asyncpg

    from vaultstream.store.jobs import Job

SEAL_KEY = NoteSigningKey("vaultstream-0123abcd", Ed25519PrivateKey.generate())


async def seal_statements(connection: asyncpg.Connection, job: Job, *, last: int = 2**31) -> str:
    """Appends the statements up to batch `last` that a job's log does not have, signs a checkpoint, and returns the origin."""
    origin = job_origin(SEAL_KEY.name, job.token)
    async with connection.transaction():
        log = await lock_log(connection, origin, job_no=job.job_no)
        rows = await connection.fetch(
            "SELECT s.batch_no, s.body, s.signature FROM vaultstream.statements s WHERE s.job_no = $1 AND s.batch_no <= $3 AND NOT EXISTS ("
            "SELECT FROM vaultstream.log_entries e WHERE e.log_no = $2 AND e.batch_no = s.batch_no) ORDER BY s.batch_no",
            job.job_no,
            log.log_no,
            last,
        )
        entries = [
            NewEntry(
                kind=EntryKind.STATEMENT,
                leaf=leaf_hash(StatementEnvelope(row["body"], row["signature"]).data),
                batch_no=row["batch_no"],
            )
            for row in rows
        ]
        log = await append_entries(connection, log, job.job_no, entries)
        note = sign_checkpoint(Checkpoint(origin, log.size, log.tree.root()), SEAL_KEY)
        await add_checkpoint(connection, log, note)
    return origin
