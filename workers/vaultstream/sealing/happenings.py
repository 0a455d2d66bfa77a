"""What happened to a job and is in no log yet, as entries: statements, dead letters, revocations and audit events."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from vaultstream.errors import ProofError
from vaultstream.proof.dsse import StatementEnvelope
from vaultstream.proof.entries import DeadLetterEntry, LogEntry, RevocationEntry
from vaultstream.proof.merkle import Frontier, leaf_hash
from vaultstream.store import seals
from vaultstream.store.logs import EntryKind, NewEntry, append_entries, read_entries

if TYPE_CHECKING:
    from vaultstream.store.database import Connection
    from vaultstream.store.jobs import Job
    from vaultstream.store.logs import Log
    from vaultstream.store.seals import UnloggedStatement


@dataclass(frozen=True)
class LogTally:
    """A job's log, and how many records its statements count."""

    log: Log
    signed: int


async def enter_new(connection: Connection, job: Job, tally: LogTally, *, after: int) -> LogTally:
    """Appends to a job's log, which is locked, what it does not have yet.

    Args:
        connection: of the transaction that has locked it.
        job: the job.
        tally: of the log as it is.
        after: the log has everything of batches up to this one.

    Raises:
        ProofError: a statement in Postgres is none.
    """
    log, signed = tally.log, tally.signed
    async for page in seals.unlogged_statements(connection, job.job_no, log, after=after):
        signed += sum(count_of(statement) for statement in page)
        log = await append_entries(connection, log, job.job_no, [_of_statement(each) for each in page])
    while letters := await seals.unlogged_dead_letters(connection, job.job_no, log, after=after):
        entries = [
            _entry(
                EntryKind.DEAD_LETTER,
                DeadLetterEntry(
                    job_token=job.token,
                    batch=letter.batch_no,
                    record_id=letter.record_id,
                    reason=letter.reason,
                    message=letter.message,
                    died_at=letter.died_at,
                ),
                subject=letter.record_id,
                batch_no=letter.batch_no,
            )
            for letter in letters
        ]
        log = await append_entries(connection, log, job.job_no, entries)
    revoked = [
        _entry(
            EntryKind.REVOCATION,
            RevocationEntry(
                job_token=job.token,
                key_id=key.key_id,
                public_key_sha256=sha256(key.public_key).digest(),
                reason="",  # it is in the file of revocations, which no records worker reads
                revoked_at=key.revoked_at,
            ),
            subject=key.key_id,
        )
        for key in await seals.unlogged_revocations(connection, job.job_no, log)
    ]
    log = await append_entries(connection, log, job.job_no, revoked)
    return LogTally(log, signed)


async def recount(connection: Connection, log: Log) -> LogTally:
    """Reads a job's log from its beginning, and counts the records that its statements count.

    Raises:
        ProofError: something that was entered is no longer in Postgres, or is another.
    """
    tree, signed = Frontier(), 0
    leaves: list[bytes] = []
    async for entry in read_entries(connection, log):
        data = entry.data
        if data is None or leaf_hash(data) != entry.leaf:
            raise ProofError(
                f"The {_KINDS[entry.kind]} that is entry {entry.index} of the log {log.origin!r} was removed or altered"
                + (f": it is of batch {entry.batch_no}." if entry.batch_no is not None else "."),
                hint="It was sealed before. `vaultstream verify` shows what else is missing.",
            )
        if entry.kind is EntryKind.STATEMENT:
            signed += json.loads(entry.body or "")["count"]
        leaves.append(entry.leaf)
    tree = tree.extend(leaves)
    if tree.root() != log.tree.root():
        raise ProofError(f"Entries of the log {log.origin!r} were removed from Postgres.")
    return LogTally(log, signed)


_KINDS = {
    EntryKind.STATEMENT: "statement",
    EntryKind.DEAD_LETTER: "dead letter",
    EntryKind.REVOCATION: "revocation",
    EntryKind.AUDIT_EVENT: "audit event",
    EntryKind.PLAN: "plan",
    EntryKind.SEAL: "seal",
}


def count_of(statement: UnloggedStatement) -> int:
    """Returns how many records a statement counts.

    Raises:
        ProofError: it is none.
    """
    return StatementEnvelope(statement.body, statement.signature).statement.count


def _of_statement(statement: UnloggedStatement) -> NewEntry:
    data = StatementEnvelope(statement.body, statement.signature).data
    return NewEntry(kind=EntryKind.STATEMENT, leaf=leaf_hash(data), batch_no=statement.batch_no)


def _entry(kind: EntryKind, entry: LogEntry, *, subject: str, batch_no: int | None = None) -> NewEntry:
    data = entry.data
    return NewEntry(kind=kind, leaf=leaf_hash(data), body=data.decode(), batch_no=batch_no, subject=subject)
