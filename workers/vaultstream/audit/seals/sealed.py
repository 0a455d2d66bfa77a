"""Compares a job with its newest seal: what was planned and sealed must be there, and nothing else if the job had ended."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from vaultstream.api import JobState
from vaultstream.audit.exports.formats import rfc3339
from vaultstream.audit.report import AuditFinding, Count, SealSummary, Tally
from vaultstream.audit.seals.kept_copies import JobCopies, KeptCopies
from vaultstream.audit.seals.lost_jobs import deleted_in_tenants_logs, lost, sealed_elsewhere
from vaultstream.audit.seals.sealed_logs import (
    SealLog,
    find_former_log,
    find_seal_log,
    kept_head,
    read_seal_log,
    require_head,
    rollback,
)
from vaultstream.audit.seals.sealed_rows import SealedRows
from vaultstream.errors import ProofError
from vaultstream.plurals import counted
from vaultstream.proof.planned import PlannedBatch
from vaultstream.proof.seal import (
    DELETED,
    PlanEntry,
    SealedKey,
    SealEntry,
    keys_digest,
    ranges_digest,
    require_planned,
)
from vaultstream.store.logs import EntryKind, find_log, jobs_by_token, leaf_hashes
from vaultstream.store.sql import query

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from vaultstream.audit.checks.coverage import Totals
    from vaultstream.audit.seals.seal_trust import SealTrust
    from vaultstream.store.database import Connection
    from vaultstream.store.jobs import Job
    from vaultstream.store.logs import Log

_ENDED = (JobState.COMPLETE, JobState.FAILED, DELETED)
"""What a seal says of a job that has ended."""


class SealCheck:
    """The comparison of one job with its seals. All findings are added to the tally."""

    def __init__(
        self,
        connection: Connection,
        job: Job,
        trust: SealTrust,
        tally: Tally,
        *,
        totals: Totals,
        settled: bool,
        copies: JobCopies,
    ) -> None:
        """Takes the job, and whether all its records are planned and settled.

        Args:
            connection: in the transaction with the snapshot.
            job: the job.
            trust: the keys and the kept checkpoints.
            tally: of the whole job.
            totals: what the job has.
            settled: whether nothing is still to be signed.
            copies: what this machine had of the job before the snapshot was made.
        """
        self._connection = connection
        self._job = job
        self._trust = trust
        self._tally = tally
        self._totals = totals
        self._settled = settled
        self._copies = copies
        self.notes: list[str] = []
        """What limits the comparison, one sentence each."""

    async def run(self) -> SealSummary | None:
        """Compares; returns the newest seal that is genuine."""
        copies = self._copies.get((self._job.tenant, self._job.token), KeptCopies())
        try:
            log = await find_seal_log(self._connection, self._job, self._trust)
            if log is None:
                await self._compare_all_kept(copies, ())
                await self._compare_former(None)
                await self._without_seal()
                return None
            seals = await read_seal_log(
                self._connection,
                log,
                self._job.token,
                self._trust,
                job_no=self._job.job_no,
                name=self._job.name,
            )
        except ProofError as error:
            self._tally.find(AuditFinding.BAD_SEALS, None, error.message)
            return None
        for reason in [*seals.misplaced, *self._misnamed(log, None, self._job.tenant)]:
            self._tally.find(AuditFinding.BAD_SEALS, None, reason)
        await self._compare_all_kept(copies, seals.leaves, seals.seals)
        await self._find_lost(seals)
        await self._compare_former(seals.seals[-1] if seals.seals else None)
        if not seals.seals:
            await self._without_seal()
            return None
        if not self._trust.keys:
            self.notes.append(
                "No seal key is known here, so nothing proves that the seal is genuine: give it with --seal-key."
            )
        seal = seals.seals[-1]
        await self._compare(seals, seal)
        return SealSummary(
            log.origin, seal.state, rfc3339(seal.sealed_at), seal.tree_size, pinned=bool(self._trust.keys)
        )

    async def _find_lost(self, seals: SealLog) -> None:
        """Finds jobs that had the name of this one, and of which no seal says that they were deleted."""
        rows = {
            each.token: each
            for each in await jobs_by_token(self._connection, [each.token for each in seals.namesakes])
        }
        unsealed = [job.token for job in seals.namesakes if job.deleted_at is None]
        deleted = await deleted_in_tenants_logs(self._connection, unsealed, self._trust)
        for job in seals.namesakes:
            row = rows.get(job.token)
            if row is not None and row.deleted_at is None and row.name == self._job.name:
                self.notes.append(f"The name is that of job {job.token} now.")
            elif job.deleted_at is None and job.token not in deleted:
                reason = await lost(self._connection, job, seals.log)
                self._tally.find(AuditFinding.LOST_JOBS, None, reason)
            elif row is not None:
                self.notes.append(
                    f"The name was that of job {job.token} before, which is kept: `vaultstream verify {job.token}` verifies it."
                )
            else:
                self.notes.append(
                    f"The name was that of job {job.token} before, which was deleted, as a seal says."
                )

    async def _without_seal(self) -> None:
        ended = self._settled or self._job.state in _ENDED
        if ended and self._trust.keys:
            await self._find_elsewhere()
        if self._trust.asked:
            where = " by the seal key" if self._trust.keys else ""
            self._tally.find(
                AuditFinding.MISSING_SEALS, None, f"the job was never sealed{where}, or its seal was removed"
            )
        elif ended:
            self.notes.append(
                "The job has no seal: nothing proves that none of its batches is gone. With --seal-key or --against, that is a problem."
            )

    async def _find_elsewhere(self) -> None:
        """Finds that the job was sealed as one of another tenant than Postgres says: nobody gives it to another one."""
        try:
            reasons = await sealed_elsewhere(self._connection, self._job, self._trust)
        except ProofError as error:
            self._tally.find(AuditFinding.BAD_SEALS, None, error.message)
            return
        for reason in reasons:
            self._tally.find(AuditFinding.MISSING_SEALS, None, reason)
        for (tenant, token), copies in self._copies.items():
            if token == self._job.token and tenant not in {None, self._job.tenant}:
                self._compare_copies(copies, (), ())

    async def _compare_former(self, newest: SealEntry | None) -> None:
        """Compares what was sealed before the job was given to its tenant: all of it must still be there, and the plan be done."""
        if self._job.tenant is None:
            return
        try:
            log = await find_former_log(self._connection, self._job)
            if log is None:
                self._compare_copies(self._copies.get((None, self._job.token), KeptCopies()), (), ())
                return
            if self._trust.keys and not self._trust.has_key_of(log.origin):
                self.notes.append(
                    f"The job was sealed in the log {log.origin!r} before it was given to the tenant {self._job.tenant!r}: give the key of that "
                    "log with --seal-key, too, and what was sealed then is compared."
                )
                return
            former = await read_seal_log(
                self._connection, log, self._job.token, self._trust, job_no=self._job.job_no
            )
        except ProofError as error:
            self._tally.find(AuditFinding.BAD_SEALS, None, error.message)
            return
        for reason in former.misplaced:
            self._tally.find(AuditFinding.BAD_SEALS, None, reason)
        copies = self._copies.get((None, self._job.token), KeptCopies())
        self._compare_copies(copies, former.leaves, former.seals)
        if former.plan is not None and newest is not None and newest.state in _ENDED:
            self._compare_plan(former.plan, newest)
        if former.seals and (found := await self._sealed_log(log, former.seals[-1])) is not None:
            await SealedRows(self._connection, self._job, *found, self._tally).compare()

    def _compare_plan(self, plan: PlanEntry, seal: SealEntry) -> None:
        try:
            require_planned(plan, seal)
        except ProofError as error:
            self._tally.find(AuditFinding.PLAN_BROKEN, None, error.message)

    @staticmethod
    def _misnamed(log: Log, job_no: int | None, tenant: str | None) -> Iterator[str]:
        """Yields that Postgres has a log as that of another job or tenant than its origin says."""
        if (log.job_no, log.tenant) != (job_no, tenant):
            yield f"Postgres has the log {log.origin!r} as that of another job or tenant"

    def _compare_copies(
        self, copies: KeptCopies, leaves: Sequence[bytes], seals: Sequence[SealEntry]
    ) -> None:
        # Without a key, whoever owns Postgres can have written a seal of any size.
        sizes = {seal.tree_size for seal in seals} if self._trust.keys else set()
        for fault in copies.faults(frozenset(leaves), sizes):
            self._tally.find(AuditFinding.ROLLED_BACK, None, fault)
        if copies.is_outdated(sizes):
            self.notes.append(
                "The file seal.json that this machine has kept of the job is older than the checkpoint beside it, whose seal is in Postgres: "
                f"`vaultstream log seal {self._job.token}` writes it again."
            )

    async def _compare_all_kept(
        self, copies: KeptCopies, leaves: Sequence[bytes], seals: Sequence[SealEntry] = ()
    ) -> None:
        for note in self._trust.kept:
            await self._compare_kept(note)
        of_job = copies.checkpoint
        for note in [*self._trust.local, *([of_job] if of_job is not None else [])]:
            await self._compare_kept(note, local=note is not of_job)
        self._compare_copies(copies, leaves, seals)

    async def _compare_kept(self, note: bytes, *, local: bool = False) -> None:
        """Finds that a log is not a later state of the one that a checkpoint is of.

        Args:
            note: the checkpoint.
            local: whether it is that of this machine, which may be of another database.
        """
        try:
            head = kept_head(note, self._trust, self._job.token)
        except ProofError as error:
            reason = f"a kept checkpoint can't be compared: {error.message}"
            self._tally.find(AuditFinding.KEPT_UNVERIFIED, None, reason)
            return
        try:
            log = await find_log(self._connection, head.origin)
        except ProofError as error:
            self._tally.find(AuditFinding.ROLLED_BACK, None, error.message)
            return
        if log is None and local:
            self.notes.append(
                f"This machine has a checkpoint of the log {head.origin!r}, and the database has no such log."
            )
            return
        try:
            leaves = await leaf_hashes(self._connection, log) if log else []
        except ProofError:
            leaves = []  # it has gaps
        if fault := rollback(head, leaves):
            self._tally.find(AuditFinding.ROLLED_BACK, None, fault)

    async def _compare(self, seals: SealLog, seal: SealEntry) -> None:
        final = seal.state in _ENDED
        strict = final and self._settled
        if self._settled and not final:
            reason = f"the newest seal says that the job was {seal.state}: nothing seals how it ended"
            self._tally.find(AuditFinding.MISSING_SEALS, None, reason)
        for reason in [
            *self._states(seal, strict=strict),
            *[each async for each in self._values(seal, strict=strict)],
        ]:
            self._tally.find(AuditFinding.UNLIKE_SEAL, None, reason)
        await self._compare_keys(seal, strict=strict)
        if seals.plan is None:
            if final:
                self.notes.append(
                    "The job has a seal and no plan: nothing proves which batches were planned."
                )
        elif final:
            self._compare_plan(seals.plan, seal)
        found = await self._sealed_log(seals.log, seal)
        if found is None:
            return
        rows = SealedRows(self._connection, self._job, *found, self._tally)
        await rows.compare()
        await self._compare_mark(rows)
        kinds = {EntryKind.REVOCATION: "revocation", EntryKind.AUDIT_EVENT: "audit event"}
        if strict:
            await rows.find_added()
        else:
            kinds |= {EntryKind.STATEMENT: "statement", EntryKind.DEAD_LETTER: "dead letter"}
        since = [
            counted(number, what) for kind, what in kinds.items() if (number := await rows.unsealed(kind)) > 0
        ]
        if since:
            self.notes.append(
                f"Not sealed yet: {', '.join(since)}. `vaultstream log seal {self._job.name}` seals them."
            )

    async def _compare_mark(self, rows: SealedRows) -> None:
        """Finds that a job has the mark of those from before there were statements, whose creation nobody recorded."""
        stated = await self._connection.fetchval(query("audit_is_stated"), self._job.job_no) is True
        if rows.created and not stated:
            reason = "the job is marked as one from before there were statements, and its creation was sealed"
            self._tally.find(AuditFinding.UNLIKE_SEAL, None, reason)

    async def _sealed_log(self, seal_log: Log, seal: SealEntry) -> tuple[Log, list[bytes]] | None:
        """Returns the job's log and the hashes of its leaves if it is the one that the seal names."""
        head = seal.checkpoint(seal_log.origin)
        try:
            log = await find_log(self._connection, head.origin)
            if log is None:
                reason = f"the log {head.origin!r}, which was sealed, is gone"
                self._tally.find(AuditFinding.BAD_SEALS, None, reason)
                return None
            for reason in self._misnamed(log, self._job.job_no, seal_log.tenant):
                self._tally.find(AuditFinding.BAD_SEALS, None, reason)
            leaves = await leaf_hashes(self._connection, log)
            await require_head(self._connection, log, leaves, self._trust, head)
        except ProofError as error:
            self._tally.find(AuditFinding.BAD_SEALS, None, error.message)
            return None
        return log, leaves

    def _states(self, seal: SealEntry, *, strict: bool) -> Iterator[str]:
        """Yields that Postgres has the job in another state than it was sealed in, if nothing can have led from one to the other."""
        job = self._job
        if seal.state == DELETED:
            if job.deleted_at is None:
                yield "a seal says that the job was deleted, and Postgres says that it was not"
        elif job.deleted_at is not None:
            yield (
                f"Postgres says that the job was deleted at {rfc3339(job.deleted_at)}, and no seal does (if you know that it was, "
                f"`vaultstream log seal {job.token} --deleted` seals that)"
            )
        elif strict and job.state.ended and job.state != seal.state:
            yield f"the state was {seal.state!r} when the job was sealed, and is {str(job.state)!r}"

    async def _values(self, seal: SealEntry, *, strict: bool) -> AsyncIterator[str]:
        """Yields each difference between what the seal says of the job and what is there."""
        job = self._job
        for what, sealed, found in (
            ("the name", seal.job, job.name),
            ("the source", seal.source, job.spec.records.table),
            ("the upper id", seal.upper_id, job.upper_id or ""),
        ):
            if sealed != found:
                yield f"{what} was {sealed!r} when the job was sealed, and is {found!r}"
        # What was checked record by record counts. Postgres's own count can only show that there are more.
        totals = self._totals
        checked = self._tally.counts
        for what, sealed_number, read, counted_there in (
            ("signatures", seal.signed, checked[Count.SIGNED], totals.signatures),
            ("dead letters", seal.dead, checked[Count.DEAD], totals.dead_letters),
        ):
            number = counted_there if read == sealed_number else read
            if (number != sealed_number and strict) or (what == "signatures" and number < sealed_number):
                yield f"there were {sealed_number} {what} when the job was sealed, and there are {number}"
        batches = await self._connection.fetch(query("audit_planned"), job.job_no)
        cut = [PlannedBatch(**dict(row)) for row in batches[: seal.batches]]
        if len(cut) < seal.batches or (strict and len(batches) > seal.batches):
            yield f"{seal.batches} batches had been cut from the source when the job was sealed, and there are {len(batches)}"
        elif ranges_digest(cut) != seal.ranges_sha256:
            yield "the batches that were cut from the source cover other records than when the job was sealed"
        for batch in cut:
            if self._tally.ranges.get(batch.number) != sha256(batch.line.encode()).hexdigest():
                yield f"batch {batch.number} was sealed, and its records were not checked: Postgres has answered in two ways"

    async def _compare_keys(self, seal: SealEntry, *, strict: bool) -> None:
        keys = await self._connection.fetch(query("audit_keys"), self._job.job_no)
        found = keys_digest(
            SealedKey(key_id=k["key_id"], algorithm=k["algorithm"], public_key=k["public_key"]) for k in keys
        )
        if found == seal.keys_sha256:
            return
        if strict:
            reason = "the job's keys are others than when it was sealed"
            self._tally.find(AuditFinding.REKEYED, None, reason)
        else:
            self.notes.append(
                "The job's keys are others than when it was last sealed: keys were added, or replaced."
            )
