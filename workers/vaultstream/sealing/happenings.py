"""What happened to a job and is in no log yet, as entries: statements, dead letters, revocations and audit events."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from vaultstream.errors import ProofError
from vaultstream.proof.dsse import StatementEnvelope, envelope_data
from vaultstream.proof.entries import DeadLetterEntry, LogEntry, RevocationEntry
from vaultstream.proof.merkle import Frontier, leaf_hash
from vaultstream.sealing.events import enter_events
from vaultstream.store import seals
from vaultstream.store.logs import EntryKind, NewEntry, append_entries, read_entries

if TYPE_CHECKING:
    from vaultstream.store.database import Connection
    from vaultstream.store.jobs import Job
    from vaultstream.store.logs import Log, StoredEntry
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
        stated = [_of_statement(statement) for statement in page]
        signed += sum(count for _, count in stated)
        log = await append_entries(connection, log, job.job_no, [entry for entry, _ in stated])
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
    log = await enter_events(connection, job.job_no, job.token, log)
    return LogTally(log, signed)


async def recount(connection: Connection, log: Log) -> LogTally:
    """Reads a job's log from its beginning, and counts the records that its statements count.

    Raises:
        ProofError: something that was entered is no longer in Postgres, or is another.
    """
    leaves: list[bytes] = []
    signed = 0
    async for entry in read_entries(connection, log):
        data, count = _read(entry)
        if data is None or leaf_hash(data) != entry.leaf:
            raise ProofError(
                f"The {_KINDS[entry.kind]} that is entry {entry.index} of the log {log.origin!r} was removed or altered"
                + (f": it is of batch {entry.batch_no}." if entry.batch_no is not None else "."),
                hint="It was sealed before. `vaultstream verify` shows what else is missing.",
            )
        signed += count
        leaves.append(entry.leaf)
    if Frontier().extend(leaves).root() != log.tree.root():
        raise ProofError(f"Entries of the log {log.origin!r} were removed from Postgres.")
    return LogTally(log, signed)


def _read(entry: StoredEntry) -> tuple[bytes | None, int]:
    """Returns the data of an entry, and the number of records that it counts. Its leaf says whether they are genuine."""
    if entry.kind is not EntryKind.STATEMENT or entry.body is None:
        return entry.data, 0
    try:
        values = json.loads(entry.body)
        return envelope_data(entry.body, entry.signature or b"", values["keyId"]), int(values["count"])
    except (KeyError, TypeError, ValueError):
        return None, 0


_KINDS = {
    EntryKind.STATEMENT: "statement",
    EntryKind.DEAD_LETTER: "dead letter",
    EntryKind.REVOCATION: "revocation",
    EntryKind.AUDIT_EVENT: "audit event",
    EntryKind.PLAN: "plan",
    EntryKind.SEAL: "seal",
}


def _of_statement(row: UnloggedStatement) -> tuple[NewEntry, int]:
    """Returns the entry of a statement, and the number of records that it counts."""
    statement = StatementEnvelope(row.body, row.signature).statement
    data = envelope_data(row.body, row.signature, statement.key_id)
    return NewEntry(kind=EntryKind.STATEMENT, leaf=leaf_hash(data), batch_no=row.batch_no), statement.count


def _entry(kind: EntryKind, entry: LogEntry, *, subject: str, batch_no: int | None = None) -> NewEntry:
    data = entry.data
    return NewEntry(kind=kind, leaf=leaf_hash(data), body=data.decode(), batch_no=batch_no, subject=subject)
