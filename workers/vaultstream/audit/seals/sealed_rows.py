"""Compares what a job's log has with the rows that are there now: statements, dead letters, revocations and audit events.

What an entry is, and which batch, record, key or event it is about, is read from the bytes that were sealed. An entry that Postgres
has as something else is a finding, and is compared with the rows of what it is.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from vaultstream.audit.checks.judgement import aware
from vaultstream.audit.checks.queries import job_query, parse_record_id
from vaultstream.audit.report import MAX_EXAMPLES, AuditFinding, Count, Tally
from vaultstream.errors import ProofError, UsageError
from vaultstream.proof.entries import AuditEntry, DeadLetterEntry, LogEntry, RevocationEntry
from vaultstream.proof.merkle import leaf_hash
from vaultstream.store.audit_events import audit_events_after
from vaultstream.store.entry_facts import read_facts
from vaultstream.store.logs import EntryKind, read_entries
from vaultstream.store.sql import query

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from vaultstream.store.database import Connection
    from vaultstream.store.jobs import Job
    from vaultstream.store.logs import Log, StoredEntry

PAGE = 5_000
"""Entries compared at a time."""


class SealedRows:
    """The comparison of one job, whose log has the leaves that were sealed."""

    def __init__(
        self, connection: Connection, job: Job, log: Log, leaves: Sequence[bytes], tally: Tally
    ) -> None:
        self._connection = connection
        self._job = job
        self._log = log
        self._leaves = leaves
        self._tally = tally
        self.there: Counter[EntryKind] = Counter()
        """Rows that are sealed, by their kind, altered ones included."""
        self.created = False
        """Whether it is sealed that the job was created: so it is not from before there were seals."""

    async def compare(self) -> None:
        """Compares each entry of the log with its row."""
        pages: dict[EntryKind, list[StoredEntry]] = {kind: [] for kind in EntryKind}
        renamed: list[StoredEntry] = []
        async for stored in self._read():
            entry = self._as_sealed(stored)
            if entry is None:
                continue
            page = pages[entry.kind]
            if entry.kind is EntryKind.STATEMENT and stored.kind is not entry.kind:
                page = renamed
            page.append(entry)
            if len(page) < PAGE:
                continue
            if page is renamed:
                page = await self._with_statements(renamed)
            await self._compare(entry.kind, page)
            (renamed if page is not pages[entry.kind] else page).clear()
        if renamed:
            await self._compare_statements(await self._with_statements(renamed))
        for kind, page in pages.items():
            if page:
                await self._compare(kind, page)

    async def _read(self) -> AsyncIterator[StoredEntry]:
        """Yields each entry, in order, up to one that has not the leaf that was sealed."""
        read = 0
        async for entry in read_entries(self._connection, self._log):
            if entry.index != read or entry.leaf != self._leaves[read]:
                break
            read += 1
            yield entry
        if read < len(self._leaves):
            reason = f"entry {read} of the job's log was not read as it was sealed"
            self._tally.find(AuditFinding.BAD_SEALS, None, reason)

    async def _compare(self, kind: EntryKind, page: Sequence[StoredEntry]) -> None:
        match kind:
            case EntryKind.STATEMENT:
                await self._compare_statements(page)
            case EntryKind.DEAD_LETTER:
                await self._compare_dead_letters(page)
            case EntryKind.REVOCATION:
                await self._compare_revocations(page)
            case EntryKind.AUDIT_EVENT:
                await self._compare_events(page)
            case EntryKind.PLAN | EntryKind.SEAL | EntryKind.UNKNOWN:
                self._tally.find(
                    AuditFinding.BAD_SEALS, None, f"the log of the job has a {kind.value} among its entries"
                )

    def _as_sealed(self, entry: StoredEntry) -> StoredEntry | None:
        """Returns an entry with what its bytes say of it; None: they are gone, and no row can be compared with its leaf."""
        if entry.kind is EntryKind.STATEMENT and entry.body is None:
            return entry
        try:
            facts = read_facts(entry)
        except ProofError:
            if entry.kind is EntryKind.STATEMENT:
                return entry
            self._find_malformed(entry)
            return entry if entry.kind in (EntryKind.DEAD_LETTER, EntryKind.AUDIT_EVENT) else None
        if not (
            facts.fits(entry) and entry.job_no == self._job.job_no and facts.job_token == self._job.token
        ):
            reason = (
                f"entry {entry.index} of the job's log is a {_shown(facts.kind, facts.batch_no, facts.subject)}, and Postgres has it as "
                f"a {_shown(entry.kind, entry.batch_no, entry.subject)}"
            )
            self._tally.find(AuditFinding.BAD_SEALS, None, reason)
        self.created |= facts.action == "create"
        return replace(entry, kind=facts.kind, batch_no=facts.batch_no, subject=facts.subject)

    async def _with_statements(self, entries: Sequence[StoredEntry]) -> list[StoredEntry]:
        """Returns entries of statements, which Postgres has as something else, with their rows."""
        batches = [entry.batch_no for entry in entries]
        rows = {
            row["batch_no"]: row
            for row in await self._connection.fetch(query("audit_statements_of"), self._job.job_no, batches)
        }
        return [
            replace(entry, body=row["body"], signature=row["signature"])
            if (row := rows.get(entry.batch_no))
            else replace(entry, body=None, signature=None)
            for entry in entries
        ]

    async def _compare_statements(self, page: Sequence[StoredEntry]) -> None:
        gone = []
        for entry in page:
            try:
                data = entry.data
            except ProofError:
                data = b""
            if data is None:
                gone.append(entry.batch_no)
                continue
            self.there[EntryKind.STATEMENT] += 1
            if leaf_hash(data) != entry.leaf:
                reason = f"the statement of batch {entry.batch_no} is another than the one that was sealed"
                self._tally.find(AuditFinding.RESTATED, None, reason)
            elif self._tally.stated.get(entry.batch_no or 0) != entry.leaf.hex():
                reason = f"the sealed statement of batch {entry.batch_no} is not the one that was checked with its records"
                self._tally.find(AuditFinding.RESTATED, None, reason)
        if not gone:
            return
        rows = await self._connection.fetch(query("audit_batches_there"), self._job.job_no, gone)
        there = {row["batch_no"] for row in rows}
        for batch in gone:
            if batch in there:
                self._tally.find(
                    AuditFinding.REMOVED_STATEMENTS, None, f"the sealed statement of batch {batch} is gone"
                )
            else:
                self._tally.find(
                    AuditFinding.REMOVED_BATCHES, None, f"batch {batch}, whose statement was sealed, is gone"
                )

    async def _compare_dead_letters(self, page: Sequence[StoredEntry]) -> None:
        ids = [entry.subject for entry in page]
        rows = {
            (row["record_id"], row["batch_no"]): DeadLetterEntry(
                job_token=self._job.token,
                batch=row["batch_no"],
                record_id=row["record_id"],
                reason=row["reason"],
                message=row["message"],
                died_at=aware(row["died_at"]),
            )
            for row in await self._connection.fetch(query("audit_dead_letters_of"), self._job.job_no, ids)
        }
        gone = []
        for entry in page:
            row = rows.get((entry.subject, entry.batch_no))
            if row is None:
                gone.append(entry.subject)
                continue
            self.there[EntryKind.DEAD_LETTER] += 1
            if not _is(row, entry):
                reason = "its dead letter is another than the one that was sealed"
                self._tally.find(AuditFinding.ALTERED_DEAD_LETTERS, entry.subject, reason)
        for record in await self._not_retried(gone):
            reason = "its dead letter was sealed and is gone, and the record was not signed"
            self._tally.find(AuditFinding.REMOVED_DEAD_LETTERS, record, reason)

    async def _not_retried(self, records: Sequence[str]) -> list[str]:
        """Returns those of the records that are neither signed, nor dead, nor waiting to be signed."""
        ids = []
        for record in records:
            try:
                ids.append(parse_record_id(record, self._job.id_type))
            except UsageError:
                return list(records)  # of another type than the job's ids: so none of them was retried
        rows = await self._connection.fetch(job_query("audit_unsettled", self._job), self._job.job_no, ids)
        unsettled = [row["id"] for row in rows]
        if not unsettled:
            return []
        rows = await self._connection.fetch(
            job_query("audit_pending", self._job), self._job.job_no, unsettled
        )
        waiting = {row["id"] for row in rows}
        return [str(record) for record in unsettled if record not in waiting]

    async def _compare_revocations(self, page: Sequence[StoredEntry]) -> None:
        keys = {
            row["key_id"]: row for row in await self._connection.fetch(query("audit_keys"), self._job.job_no)
        }
        for entry in page:
            try:
                sealed = RevocationEntry.parse(entry.data or b"")
            except ProofError:
                self._find_malformed(entry)
                continue
            key = keys.get(sealed.key_id)
            ended_at: datetime | None = key["ended_at"] if key and key["state"] == "revoked" else None
            self.there[EntryKind.REVOCATION] += ended_at is not None
            if ended_at is None or aware(ended_at) != sealed.revoked_at:
                reason = f"key {sealed.key_id} was revoked at {sealed.revoked_at.isoformat()}, and no longer is, or at another time"
                self._tally.find(AuditFinding.REMOVED_REVOCATIONS, None, reason)

    async def _compare_events(self, page: Sequence[StoredEntry]) -> None:
        numbers = [int(entry.subject) for entry in page if entry.subject.isdecimal()]
        first = min(numbers, default=1) - 1
        rows = {
            row.number: row
            for row in await audit_events_after(self._connection, self._job.job_no, first, limit=len(page))
        }
        for entry in page:
            row = rows.get(int(entry.subject)) if entry.subject.isdecimal() else None
            if row is None or row.number is None:
                self._tally.find(
                    AuditFinding.REMOVED_EVENTS, None, f"audit event {entry.subject} was sealed and is gone"
                )
                continue
            self.there[EntryKind.AUDIT_EVENT] += 1
            found = AuditEntry(
                job_token=self._job.token,
                number=row.number,
                action=row.action,
                login=row.login,
                arguments=row.arguments,
                at=aware(row.at),
            )
            if not _is(found, entry):
                reason = f"audit event {row.number} ({row.action}) is another than the one that was sealed"
                self._tally.find(AuditFinding.ALTERED_EVENTS, None, reason)

    def _find_malformed(self, entry: StoredEntry) -> None:
        reason = f"entry {entry.index} of the job's log has no text, or another than was sealed"
        self._tally.find(AuditFinding.BAD_SEALS, None, reason)

    async def find_added(self) -> None:
        """Finds statements and dead letters that are not sealed, of a job that was sealed when it had ended."""
        for kind, finding, name, what in (
            (
                EntryKind.STATEMENT,
                AuditFinding.UNSEALED,
                "audit_unsealed_statements",
                "a statement of batch {batch_no}",
            ),
            (
                EntryKind.DEAD_LETTER,
                AuditFinding.INVENTED_DEAD_LETTERS,
                "audit_unsealed_dead_letters",
                "a dead letter",
            ),
        ):
            number = await self.unsealed(kind)
            if number <= 0:
                continue
            rows = await self._connection.fetch(query(name), self._job.job_no, self._log.log_no, MAX_EXAMPLES)
            for row in rows:
                reason = f"{what.format(**row)} was added after the job was sealed"
                self._tally.find(finding, row["record_id"], reason, number=0)
            self._tally.add(finding, number)

    async def unsealed(self, kind: EntryKind) -> int:
        """Returns how many rows of a kind are not sealed."""
        [totals] = await self._connection.fetch(query("audit_sealable"), self._job.job_no)
        checked = {
            EntryKind.STATEMENT: len(self._tally.stated),
            EntryKind.DEAD_LETTER: self._tally.counts[Count.DEAD],
        }
        return max(int(totals[kind.value.replace("-", "_")]), checked.get(kind, 0)) - self.there[kind]


def _shown(kind: EntryKind, batch_no: int | None, subject: str) -> str:
    batch = f" of batch {batch_no}" if batch_no is not None else ""
    return f"{kind.replace('-', ' ')}{batch}" + (f" ({subject})" if subject else "")


def _is(row: LogEntry, entry: StoredEntry) -> bool:
    try:
        return row.leaf == entry.leaf
    except ProofError:
        return False
