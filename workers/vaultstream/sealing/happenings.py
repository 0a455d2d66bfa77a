"""What happened to a job and is in no log yet, as entries: statements, dead letters, revocations and audit events."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from vaultstream.errors import ProofError
from vaultstream.proof.dsse import StatementEnvelope, envelope_data
from vaultstream.proof.entries import DeadLetterEntry, LogEntry, RevocationEntry
from vaultstream.proof.merkle import Frontier, leaf_hash
from vaultstream.sealing.events import enter_events
from vaultstream.store import seals
from vaultstream.store.entry_facts import EntryFacts, read_facts
from vaultstream.store.logs import EntryKind, NewEntry, append_entries, read_entries

if TYPE_CHECKING:
    from vaultstream.store.database import Connection
    from vaultstream.store.jobs import Job
    from vaultstream.store.logs import Log, StoredEntry
    from vaultstream.store.seals import UnloggedStatement


@dataclass(frozen=True)
class LogTally:
    """A job's log, and what its entries are."""

    log: Log
    signed: int
    """Records that its statements count."""
    events: int
    """The number of its last audit event; 0: it has none."""
    stated: frozenset[int]
    """The batches of its statements, but for those up to which all are settled."""


async def enter_new(connection: Connection, job: Job, tally: LogTally, *, after: int) -> LogTally:
    """Appends to a job's log, which is locked, what it does not have yet.

    Args:
        connection: of the transaction that has locked it.
        job: the job.
        tally: of the log as it is.
        after: the log has everything of batches up to this one.

    Raises:
        ProofError: a statement in Postgres is none, or is a second one of a batch.
    """
    log, signed = tally.log, tally.signed
    batches = {batch for batch in tally.stated if batch > after}
    async for page in seals.unlogged_statements(connection, job.job_no, log, after=after):
        stated = [_of_statement(job, statement) for statement in page]
        for statement in page:
            if statement.batch_no in batches:
                raise _stated_twice(log, statement.batch_no)
            batches.add(statement.batch_no)
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
    log, events = await enter_events(connection, job.job_no, job.token, log, after=tally.events)
    return LogTally(log, signed, events, frozenset(batches))


async def recount(connection: Connection, log: Log, job_token: str) -> LogTally:
    """Reads a job's log from its beginning, and counts the records that its statements count.

    Raises:
        ProofError: something that was entered is no longer in Postgres, is another, or is kept there as something else; or the log
            has two statements of one batch.
    """
    leaves: list[bytes] = []
    signed = events = 0
    stated: set[int] = set()
    async for entry in read_entries(connection, log):
        facts = _facts(log, entry)
        if not facts.fits(entry) or facts.job_token != job_token:
            raise ProofError(
                f"Entry {entry.index} of the log {log.origin!r} is a {_KINDS[facts.kind]} of the job {facts.job_token!r}, and Postgres "
                f"has it as a {_KINDS[entry.kind]}, or as another one.",
                hint=_SEALED_BEFORE,
            )
        if facts.batch_no is not None and facts.kind is EntryKind.STATEMENT:
            if facts.batch_no in stated:
                raise _stated_twice(log, facts.batch_no)
            stated.add(facts.batch_no)
        elif facts.kind is EntryKind.AUDIT_EVENT:
            events += 1
            if facts.subject != str(events):
                raise ProofError(
                    f"The log {log.origin!r} has audit event {facts.subject} where event {events} must be."
                )
        signed += facts.records
        leaves.append(entry.leaf)
    if Frontier().extend(leaves).root() != log.tree.root():
        raise ProofError(f"Entries of the log {log.origin!r} were removed from Postgres.")
    return LogTally(log, signed, events, frozenset(stated))


_SEALED_BEFORE = "It was sealed before. `vaultstream verify` shows what else is missing."


def _facts(log: Log, entry: StoredEntry) -> EntryFacts:
    try:
        return read_facts(entry)
    except ProofError:
        raise ProofError(
            f"The {_KINDS[entry.kind]} that is entry {entry.index} of the log {log.origin!r} was removed or altered"
            + (f": it is of batch {entry.batch_no}." if entry.batch_no is not None else "."),
            hint=_SEALED_BEFORE,
        ) from None


def _stated_twice(log: Log, batch_no: int) -> ProofError:
    return ProofError(
        f"Batch {batch_no} has another statement than the one that the log {log.origin!r} has.",
        hint="It was signed a second time after its rows were removed. `vaultstream verify` shows what else is missing.",
    )


_KINDS = {
    EntryKind.STATEMENT: "statement",
    EntryKind.DEAD_LETTER: "dead letter",
    EntryKind.REVOCATION: "revocation",
    EntryKind.AUDIT_EVENT: "record of an audit event",
    EntryKind.PLAN: "plan",
    EntryKind.SEAL: "seal",
    EntryKind.UNKNOWN: "text of no known kind",
}


def _of_statement(job: Job, row: UnloggedStatement) -> tuple[NewEntry, int]:
    """Returns the entry of a statement, and the number of records that it counts."""
    statement = StatementEnvelope(row.body, row.signature).statement
    if (statement.job_token, statement.batch) != (job.token, row.batch_no):
        raise ProofError(
            f"The statement of batch {row.batch_no} is about batch {statement.batch} of the job {statement.job_token!r}.",
            hint="Somebody has changed vaultstream.statements by hand.",
        )
    data = envelope_data(row.body, row.signature, statement.key_id)
    return NewEntry(kind=EntryKind.STATEMENT, leaf=leaf_hash(data), batch_no=row.batch_no), statement.count


def _entry(kind: EntryKind, entry: LogEntry, *, subject: str, batch_no: int | None = None) -> NewEntry:
    data = entry.data
    return NewEntry(kind=kind, leaf=leaf_hash(data), body=data.decode(), batch_no=batch_no, subject=subject)
