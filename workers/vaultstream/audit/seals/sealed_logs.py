"""The logs of a job and of seals, as Postgres has them, verified against what the seal key signed.

Nothing is believed that Postgres says of an entry, only what follows from its bytes: hashes are computed again, the root over them
must be that of a checkpoint, and what an entry is about is read from its text.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from vaultstream.errors import ProofError
from vaultstream.proof.canonical import canonical_text
from vaultstream.proof.checkpoint import Checkpoint, open_checkpoint, unverified_checkpoint
from vaultstream.proof.entries import LogEntry
from vaultstream.proof.merkle import leaf_hash, tree_root
from vaultstream.proof.seal import DELETED, PlanEntry, SealEntry
from vaultstream.store.logs import EntryKind, Log, StoredEntry, find_log, newest_checkpoint, read_entries
from vaultstream.store.sql import query

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from datetime import datetime

    from vaultstream.audit.seals.seal_trust import SealTrust
    from vaultstream.store.database import Connection
    from vaultstream.store.jobs import Job

EntryType = TypeVar("EntryType", bound=LogEntry)


@dataclass(frozen=True)
class SealLog:
    """A log of seals, of an installation or of a tenant, that its checkpoint proves."""

    log: Log
    leaves: list[bytes] = field(repr=False)
    plan: PlanEntry | None
    """Of the job."""
    seals: list[SealEntry] = field(repr=False)
    """Of the job, oldest first."""
    namesakes: list[LoggedJob] = field(repr=False)
    """Other jobs that have, or had, its name."""
    misplaced: list[str] = field(repr=False)
    """Its entries that Postgres has as something else, one sentence each."""


@dataclass
class LoggedJob:
    """What a log of seals has of a job, at last."""

    token: str
    job_no: int
    """As Postgres says: it is not sealed."""
    last: PlanEntry | SealEntry
    deleted_at: datetime | None = None
    """When its newest seal was made, if that says that it was deleted; None: it does not, or there is none."""

    @property
    def name(self) -> str:
        return self.last.job


async def find_seal_log(connection: Connection, job: Job, trust: SealTrust) -> Log | None:
    """Returns the log that has the seals of a job: that of the trusted key, else any that has one; None: there is none."""
    for name in dict.fromkeys(key.name for key in trust.keys):
        log = await find_log(connection, f"{name}/tenants/{job.tenant}" if job.tenant else name)
        if log is not None:
            return log
    if trust.keys:
        return None
    about = f'"jobToken":{canonical_text(job.token)}'
    origin = await connection.fetchval(query("audit_seal_log_of"), about, job.tenant)
    return await find_log(connection, origin) if origin is not None else None


async def find_former_log(connection: Connection, job: Job) -> Log | None:
    """Returns the newest log of those without a tenant that has something of a job, which was given to its tenant later; None: there is none."""
    about = f'"jobToken":{canonical_text(job.token)}'
    origin = await connection.fetchval(query("audit_seal_log_of"), about, None)
    return await find_log(connection, origin) if origin is not None else None


async def read_seal_log(
    connection: Connection,
    log: Log,
    token: str,
    trust: SealTrust,
    *,
    job_no: int | None = None,
    name: str | None = None,
) -> SealLog:
    """Reads a log of seals, and what it has of one job.

    Args:
        connection: in the transaction with the snapshot.
        log: the log.
        token: of the job.
        trust: the keys that may have signed.
        job_no: of the job.
        name: of the job, or the name or token of jobs to search for; None: no other jobs.

    Raises:
        ProofError: an entry is gone or malformed, or the newest checkpoint is not that of these entries or not by a trusted key.
    """
    leaves: list[bytes] = []
    plans: list[PlanEntry] = []
    seals: list[SealEntry] = []
    jobs: dict[str, LoggedJob] = {}
    misplaced: list[str] = []
    async for entry in read_entries(connection, log):
        if entry.index != len(leaves) or entry.data is None:
            break
        leaves.append(leaf_hash(entry.data))
        if leaves[-1] != entry.leaf:
            raise ProofError(
                f"The text of entry {entry.index} of the log {log.origin!r} is another than was entered."
            )
        planned = [plan for plan in entries_about(PlanEntry, entry.data, token) if plan.job_token == token]
        sealed = [seal for seal in entries_about(SealEntry, entry.data, token) if seal.job_token == token]
        plans, seals = plans + planned, seals + sealed
        misplaced += _misplaced(log, entry, job_no, [*planned, *sealed])
        if name is not None:
            _note_jobs(jobs, name, entry.data, entry.job_no)
    if len(leaves) < log.size:
        raise ProofError(f"Entry {len(leaves)} of the log {log.origin!r}, which has {log.size}, is gone.")
    await require_head(connection, log, leaves, trust)
    if len(plans) > 1:
        raise ProofError(f"The log {log.origin!r} has more than one plan of the job.")
    others = [job for job in jobs.values() if job.token != token]
    return SealLog(log, leaves, plans[0] if plans else None, seals, others, misplaced)


def _misplaced(
    log: Log, entry: StoredEntry, job_no: int | None, found: Sequence[PlanEntry | SealEntry]
) -> Iterator[str]:
    """Yields that Postgres has a job's plan or seal as something else than it is."""
    for each in found:
        kind, subject = (
            (EntryKind.PLAN, each.job_token) if isinstance(each, PlanEntry) else (EntryKind.SEAL, "")
        )
        if (entry.kind, entry.job_no, entry.batch_no, entry.subject) != (kind, job_no, None, subject):
            yield f"entry {entry.index} of the log {log.origin!r} is a {kind.value} of the job, and Postgres has it as something else"


async def read_jobs(connection: Connection, log: Log, name: str, trust: SealTrust) -> list[LoggedJob]:
    """Returns what a log of seals has of the jobs with a name, or of the one with that token; see `read_seal_log`."""
    return (await read_seal_log(connection, log, "", trust, name=name)).namesakes


def _note_jobs(jobs: dict[str, LoggedJob], name: str, data: bytes, job_no: int) -> None:
    about: list[PlanEntry | SealEntry] = [
        *entries_about(PlanEntry, data, name),
        *entries_about(SealEntry, data, name),
    ]
    for entry in about:
        if name not in {entry.job, entry.job_token}:
            continue
        job = jobs.setdefault(entry.job_token, LoggedJob(entry.job_token, job_no, entry))
        job.last = entry
        if isinstance(entry, SealEntry):
            job.deleted_at = entry.sealed_at if entry.state == DELETED else None


async def sealed_deletions(
    connection: Connection, log: Log, tokens: Collection[str], trust: SealTrust
) -> set[str]:
    """Returns those of some jobs whose newest seal in a log says that they were deleted.

    Raises:
        ProofError: an entry is gone or malformed, or the newest checkpoint is not that of these entries or not by a trusted key.
    """
    leaves: list[bytes] = []
    states: dict[str, str] = {}
    async for entry in read_entries(connection, log):
        data = entry.data or b""
        leaves.append(leaf_hash(data))
        if f'"type":"{SealEntry.kind}"'.encode() in data:
            seal = SealEntry.parse(data)
            states[seal.job_token] = seal.state
    await require_head(connection, log, leaves, trust)
    return {token for token in tokens if states.get(token) == DELETED}


async def require_head(
    connection: Connection,
    log: Log,
    leaves: Sequence[bytes],
    trust: SealTrust,
    sealed: Checkpoint | None = None,
) -> None:
    """Checks that the newest checkpoint of a log is that of its entries, and the one that was sealed if one was.

    Raises:
        ProofError: it is not, or is not signed by a trusted key, or there is none.
    """
    head = Checkpoint(log.origin, len(leaves), tree_root(leaves))
    if sealed is not None and head != sealed:
        raise ProofError(
            f"The log {log.origin!r} has {head.size} entries, and the {sealed.size} that were sealed are others or more."
        )
    if log.tree.root() != head.root:
        raise ProofError(f"The log {log.origin!r} has another tree in Postgres than that of its entries.")
    stored = await newest_checkpoint(connection, log)
    if stored is None:
        raise ProofError(f"The log {log.origin!r} has no checkpoint.")
    newest = open_head(stored.note, trust, log.origin)
    if (newest.size, newest.root) != (head.size, head.root):
        raise ProofError(
            f"The log {log.origin!r} has {head.size} entries, and its newest checkpoint is of {newest.size}, or of others."
        )


def open_head(note: bytes, trust: SealTrust, origin: str) -> Checkpoint:
    """Returns what a checkpoint says; without a trusted key, its signature is not verified.

    Raises:
        ProofError: it is malformed, of another log, or not signed by a trusted key.
    """
    if trust.keys:
        return open_checkpoint(note, trust.keys, origin=origin).checkpoint
    head = unverified_checkpoint(note)
    if head.origin != origin:
        raise ProofError(f"The checkpoint is of the log {head.origin!r}, and must be of {origin!r}.")
    return head


def kept_head(note: bytes, trust: SealTrust, token: str | None = None) -> Checkpoint:
    """Returns what a checkpoint says, of a log of seals or of the job with that token; see `open_head`.

    Raises:
        ProofError: it is malformed, not signed by a trusted key, or of another job.
    """
    head = open_head(note, trust, unverified_checkpoint(note).origin)
    _, of_job, of = head.origin.rpartition("/jobs/")
    if of_job and token is not None and of != token:
        raise ProofError(f"It is of the log {head.origin!r}, which is not this job's.")
    return head


def rollback(head: Checkpoint, leaves: Sequence[bytes]) -> str | None:
    """Returns why a log with these leaves is not a later state of the one that a checkpoint is of; None if it is."""
    if head.size > len(leaves):
        return f"the log {head.origin!r} had {head.size} entries, and has {len(leaves)} now"
    if tree_root(leaves[: head.size]) != head.root:
        return f"the first {head.size} entries of the log {head.origin!r} are others than they were"
    return None


def entries_about(kind: type[EntryType], data: bytes, name: str) -> list[EntryType]:
    """Returns an entry, in a list, if it is of that type and has that name or token somewhere in it.

    Raises:
        ProofError: it is malformed.
    """
    if f'"type":"{kind.kind}"'.encode() in data and canonical_text(name).encode() in data:
        return [kind.parse(data)]
    return []
