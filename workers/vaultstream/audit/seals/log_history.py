"""Whether a log in Postgres continues an older checkpoint that somebody kept, and is what its newest checkpoint says.

All entries are hashed again, so the root of the whole log and that of its beginning are computed, not proved. In a log of plans and
seals, the newest seal of each job is compared with the job's own log, and each planned job must be sealed or still be there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from vaultstream.audit.seals.lost_jobs import deleted_in_tenants_logs
from vaultstream.audit.seals.seal_trust import SealTrust
from vaultstream.audit.snapshot import open_snapshot
from vaultstream.errors import ProofError
from vaultstream.proof.checkpoint import Checkpoint, open_checkpoint, unverified_checkpoint
from vaultstream.proof.merkle import tree_root
from vaultstream.proof.note import encode_base64
from vaultstream.proof.seal import DELETED, PlanEntry, SealEntry, job_of, job_origin
from vaultstream.store.entry_facts import read_facts
from vaultstream.store.logs import (
    EntryKind,
    Log,
    StoredEntry,
    find_log,
    jobs_by_token,
    leaf_hashes,
    newest_checkpoint,
    read_entries,
)

if TYPE_CHECKING:
    from datetime import datetime

    from vaultstream.proof.note import NoteKey, NoteVerifier
    from vaultstream.store.database import Connection

_ERASED = {EntryKind.DEAD_LETTER, EntryKind.STATEMENT}
"""What the deletion of a job with its data erases; statements, with their own table."""


class LogProblem(StrEnum):
    """What is wrong with a log."""

    LOG_MISSING = "LogMissing"
    LOG_SHORTER = "LogShorter"
    """It has fewer entries than the older checkpoint says."""
    OTHER_HISTORY = "OtherHistory"
    """Its beginning is not what the older checkpoint says."""
    NOT_SIGNED = "NotSigned"
    """It is not what its newest checkpoint says."""
    UNKNOWN_KEY = "UnknownKey"
    """Its newest checkpoint is not signed by a known key."""
    ENTRY_MISSING = "EntryMissing"
    ENTRY_ALTERED = "EntryAltered"
    JOB_NOT_SEALED = "JobNotSealed"
    """The job is gone, or Postgres says that it was deleted, and its newest seal does not say so."""
    JOB_LOG_ALTERED = "JobLogAltered"
    """The log of the job is not what its newest seal says."""


@dataclass(frozen=True)
class LogFinding:
    """One thing that is wrong."""

    problem: LogProblem
    message: str
    job: str | None = None
    """Token of the job that it is about."""
    index: int | None = None
    """Of the entry that it is about."""

    def to_json(self) -> dict[str, Any]:
        about = {"job": self.job, "index": self.index}
        return {"problem": self.problem, "message": self.message} | {
            name: value for name, value in about.items() if value is not None
        }


@dataclass(frozen=True)
class LogReport:
    """A log, and how it continues an older checkpoint."""

    since: Checkpoint
    size: int = 0
    """Entries that it has now."""
    root: bytes | None = None
    """Computed from all entries; None: one of them is missing."""
    erased: int = 0
    """Entries whose text was erased with the job that they are about. Their hashes are there."""
    jobs: int = 0
    """Jobs that it has plans or seals of."""
    findings: tuple[LogFinding, ...] = field(default=())

    @property
    def ok(self) -> bool:
        return not self.findings

    def to_json(self) -> dict[str, Any]:
        return {
            "origin": self.since.origin,
            "since": {"size": self.since.size, "root": encode_base64(self.since.root)},
            "now": {"size": self.size, "root": self.root and encode_base64(self.root)},
            "erased": self.erased,
            "jobs": self.jobs,
            "ok": self.ok,
            "findings": [finding.to_json() for finding in self.findings],
        }


def open_kept(data: bytes, keys: Sequence[NoteVerifier]) -> Checkpoint:
    """Returns a checkpoint that somebody kept, of whichever log of the installation it is.

    Raises:
        ProofError: it is malformed, of another installation, or not signed by one of the keys.
    """
    origin = unverified_checkpoint(data).origin
    if not any(f"{origin}/".startswith(f"{key.name}/") for key in keys):
        names = ", ".join(sorted({repr(key.name) for key in keys}))
        raise ProofError(
            f"The checkpoint is of the log {origin[:200]!r}, and not of one of {names}.",
            hint="Give the verifier key of its installation with --seal-key.",
        )
    return open_checkpoint(data, keys, origin=origin).checkpoint


async def examine_log(database_url: str, since: Checkpoint, keys: Sequence[NoteKey]) -> LogReport:
    """Compares a log with an older checkpoint of it, on one snapshot of the database.

    Args:
        database_url: the database.
        since: the older checkpoint, which was opened.
        keys: that may have signed the newest checkpoint.
    """
    async with open_snapshot(database_url, role="log") as connection:
        try:
            log = await find_log(connection, since.origin)
        except ProofError as error:
            return _report(since, LogProblem.NOT_SIGNED, error.message)
        if log is None:
            return _report(
                since,
                LogProblem.LOG_MISSING,
                f"The log {since.origin!r} is not in Postgres. It had {since.size} entries.",
            )
        return await _LogExamination(connection, log, since).run(keys)


class _LogExamination:
    def __init__(self, connection: Connection, log: Log, since: Checkpoint) -> None:
        self._connection = connection
        self._log = log
        self._since = since
        self._findings: list[LogFinding] = []
        self._plans: dict[str, PlanEntry] = {}
        self._seals: dict[str, SealEntry] = {}
        self._erased = 0

    async def run(self, keys: Sequence[NoteKey]) -> LogReport:
        root = await self._check_roots(keys)
        await self._check_entries()
        present = {
            job.token: job.deleted_at
            for job in await jobs_by_token(self._connection, [*self._plans, *self._seals])
        }
        for token, seal in self._seals.items():
            await self._check_job_log(token, seal)
        await self._check_ends(present, SealTrust(tuple(keys)))
        return LogReport(
            self._since,
            self._log.size,
            root,
            self._erased,
            len(self._plans.keys() | self._seals.keys()),
            tuple(self._findings),
        )

    async def _check_roots(self, keys: Sequence[NoteVerifier]) -> bytes | None:
        """Checks the hashes of the leaves against both checkpoints; returns the root of all, None if a leaf is missing."""
        log, since = self._log, self._since
        if log.size < since.size:
            self._add(
                LogProblem.LOG_SHORTER,
                f"The log {log.origin!r} has {log.size} entries, and had {since.size}: it was rolled back, or entries were removed.",
            )
        try:
            leaves = await leaf_hashes(self._connection, log)
        except ProofError as error:
            self._add(LogProblem.ENTRY_MISSING, error.message)
            return None
        root = tree_root(leaves)
        if log.size >= since.size and tree_root(leaves[: since.size]) != since.root:
            self._add(
                LogProblem.OTHER_HISTORY,
                f"The first {since.size} entries of the log {log.origin!r} are not those of the older checkpoint.",
            )
        await self._check_newest(keys, root)
        return root

    async def _check_newest(self, keys: Sequence[NoteVerifier], root: bytes) -> None:
        log = self._log
        newest = await newest_checkpoint(self._connection, log)
        if newest is None:
            self._add(LogProblem.NOT_SIGNED, f"The log {log.origin!r} has no checkpoint in Postgres.")
            return
        try:
            checkpoint = open_checkpoint(newest.note, keys, origin=log.origin).checkpoint
        except ProofError as error:
            problem = f"The newest checkpoint of the log {log.origin!r} can't be trusted: {error.message}"
            self._add(LogProblem.UNKNOWN_KEY, problem)
            return
        if (checkpoint.size, checkpoint.root) != (log.size, root):
            self._add(
                LogProblem.NOT_SIGNED,
                f"The log {log.origin!r} has {log.size} entries which are not the {checkpoint.size} of its newest checkpoint.",
            )

    async def _check_entries(self) -> None:
        """Hashes all entries, and notes the plans and seals among them."""
        log = self._log
        token = job_of(log.origin)
        gone = token is not None and not await jobs_by_token(self._connection, [token])
        async for entry in read_entries(self._connection, log):
            try:
                self._check_entry(entry, token, gone=gone)
            except ProofError:
                self._add(LogProblem.ENTRY_ALTERED, f"{_described(entry)} was altered.", index=entry.index)

    def _check_entry(self, entry: StoredEntry, of_job: str | None, *, gone: bool) -> None:
        """Checks one entry.

        Args:
            entry: as Postgres has it.
            of_job: the token of the job whose log this is; None: of a log of plans and seals.
            gone: whether Postgres no longer has that job.

        Raises:
            ProofError: it was altered.
        """
        if entry.body is None:
            if gone and entry.kind in _ERASED:
                self._erased += 1
            else:
                self._add(LogProblem.ENTRY_MISSING, f"{_described(entry)} was removed.", index=entry.index)
            return
        facts = read_facts(entry)
        if facts.kind is EntryKind.PLAN:
            self._plans[facts.job_token] = PlanEntry.parse(entry.data or b"")
        elif facts.kind is EntryKind.SEAL:
            self._seals[facts.job_token] = SealEntry.parse(entry.data or b"")
        of_seals = facts.kind in {EntryKind.PLAN, EntryKind.SEAL}
        if not facts.fits(entry) or of_seals is (of_job is not None) or of_job not in {None, facts.job_token}:
            raise ProofError("The entry is another than Postgres has it as.")

    async def _check_job_log(self, token: str, seal: SealEntry) -> None:
        origin = job_origin(self._log.origin, token)
        try:
            log = await find_log(self._connection, origin)
            size = log.size if log else 0
            leaves = await leaf_hashes(self._connection, log, last=min(size, seal.tree_size)) if log else []
        except ProofError as error:
            self._add(LogProblem.JOB_LOG_ALTERED, error.message, job=token)
            return
        if len(leaves) < seal.tree_size:
            problem = f"has {size} entries, and was sealed with {seal.tree_size}"
        elif tree_root(leaves) != seal.tree_root:
            problem = "is not the one that was sealed"
        else:
            return
        self._add(LogProblem.JOB_LOG_ALTERED, f"The log {origin!r} of job {seal.job!r} {problem}.", job=token)

    async def _check_ends(self, present: Mapping[str, datetime | None], trust: SealTrust) -> None:
        """Finds jobs that are gone, or deleted as Postgres says, if their newest seal does not say so.

        Args:
            present: the jobs that Postgres has, with the time at which it says that each was deleted.
            trust: the keys.
        """
        there = {token for token, deleted_at in present.items() if deleted_at is None}
        there |= {token for token, seal in self._seals.items() if seal.state == DELETED}
        missing = [token for token in self._plans.keys() | self._seals.keys() if token not in there]
        deleted = await deleted_in_tenants_logs(self._connection, missing, trust)
        for token in missing:
            if token in deleted:
                continue
            plan, seal = self._plans.get(token), self._seals.get(token)
            planned = f"was planned with {plan.records} records, " if plan else ""
            last = f"was last sealed as {seal.state}" if seal else "was never sealed"
            where = "is deleted, as Postgres says" if token in present else "is not in Postgres"
            name = plan.job if plan else seal.job if seal else token
            self._add(LogProblem.JOB_NOT_SEALED, f"Job {name!r} {planned}{last}, and {where}.", job=token)

    def _add(
        self, problem: LogProblem, message: str, *, job: str | None = None, index: int | None = None
    ) -> None:
        self._findings.append(LogFinding(problem, message, job, index))


def _described(entry: StoredEntry) -> str:
    of = f" of batch {entry.batch_no}" if entry.batch_no is not None else ""
    return f"Entry {entry.index}, the {entry.kind.replace('-', ' ')}{of},"


def _report(since: Checkpoint, problem: LogProblem, message: str) -> LogReport:
    return LogReport(since, findings=(LogFinding(problem, message),))
