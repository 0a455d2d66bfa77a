"""Seals: how many records of a job were signed, and under which keys, as entries of the installation's log.

When all batches of a job are cut, a plan is stated; when the job ends, and at intervals before, a seal. Both become entries of
one log per installation, and so does nothing else. The seal key signs the checkpoints of that log (its origin is the
installation's name) and those of each job's log (`job_origin`), and nothing else, so all that it signs is of one form.

What the owner of the database removes before the job ends is missing from the plan that the planner has kept: `require_planned`.
What is removed later is missing from a log whose checkpoint the seal has.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from vaultstream.errors import ProofError
from vaultstream.proof.canonical import canonical_text
from vaultstream.proof.checkpoint import Checkpoint
from vaultstream.proof.entries import LogEntry
from vaultstream.proof.planned import PlannedBatch

DELETED = "Deleted"
"""The state of a job that was deleted, in a seal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedKey:
    """The public half of a key of the job."""

    key_id: str
    algorithm: str
    public_key: bytes
    """SubjectPublicKeyInfo in DER."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanEntry(LogEntry):
    """What is planned for a job once all its batches are cut."""

    kind = "application/vnd.vaultstream.plan.v1+json"

    job: str
    """Its name."""
    source: str
    upper_id: str
    """The highest id that the job reaches; empty if the source was."""
    batches: int
    records: int
    ranges_sha256: bytes
    """`ranges_digest` of its batches."""
    planned_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SealEntry(LogEntry):
    """What a job has done until the seal."""

    kind = "application/vnd.vaultstream.seal.v1+json"

    job: str
    source: str
    upper_id: str
    state: str
    """Of the job, such as `Running` or `Complete`."""
    batches: int
    """That were cut from the source; parts and retries of them are not counted."""
    ranges_sha256: bytes
    signed: int
    dead: int
    keys_sha256: bytes
    """`keys_digest` of all its keys."""
    tree_size: int
    """Of the job's log."""
    tree_root: bytes
    sealed_at: datetime

    def checkpoint(self, origin: str) -> Checkpoint:
        """Returns the head of the job's log, for the seal key to sign."""
        return Checkpoint(job_origin(origin, self.job_token), self.tree_size, self.tree_root)


def log_origin(name: str, tenant: str | None = None) -> str:
    """Returns the origin of the log of plans and seals: the seal key's name, and below it a log of each tenant."""
    return f"{name}/tenants/{tenant}" if tenant else name


def job_origin(origin: str, job_token: str) -> str:
    """Returns the origin of a job's log, in the installation with that origin."""
    return f"{origin}/jobs/{job_token}"


def job_of(origin: str) -> str | None:
    """Returns the token of the job whose log has that origin; None: it is a log of plans and seals."""
    return origin.rpartition("/jobs/")[2] if "/jobs/" in origin else None


def ranges_digest(batches: Iterable[PlannedBatch]) -> bytes:
    """Returns SHA-256 over one line for each batch, in their order.

    A line is the canonical JSON array of number, first id, last id, records, and the list of ids if there is one, with a newline.
    """
    ranges = RangesDigest()
    for batch in batches:
        ranges.add(batch)
    return ranges.value


class RangesDigest:
    """`ranges_digest` of batches that come one after the other, with their numbers."""

    def __init__(self) -> None:
        self._digest = sha256()
        self.batches = 0
        self.records = 0

    @property
    def value(self) -> bytes:
        return self._digest.copy().digest()

    def add(self, batch: PlannedBatch) -> None:
        self.add_line(batch.line, records=batch.records)

    def add_line(self, line: str, *, records: int) -> None:
        """Adds a batch by its line, without the newline."""
        self._digest.update(f"{line}\n".encode())
        self.batches += 1
        self.records += records


def keys_digest(keys: Iterable[SealedKey]) -> bytes:
    """Returns SHA-256 over one line for each key, sorted by id.

    A line is the canonical JSON array of id, algorithm and SHA-256 of the public half in hex, with a newline.
    """
    digest = sha256()
    for key in sorted(keys, key=lambda key: key.key_id.encode()):
        line = canonical_text([key.key_id, key.algorithm, sha256(key.public_key).hexdigest()])
        digest.update(f"{line}\n".encode())
    return digest.digest()


def require_planned(plan: PlanEntry, seal: SealEntry) -> None:
    """Checks that the seal of a job that has ended is about what was planned.

    Raises:
        ProofError: it is not. The sentence names each difference.
    """
    compared = (
        ("the token", plan.job_token, seal.job_token),
        ("the name", plan.job, seal.job),
        ("the source", plan.source, seal.source),
        ("the upper id", plan.upper_id, seal.upper_id),
        ("the number of batches", plan.batches, seal.batches),
        ("the number of records", plan.records, seal.signed + seal.dead),
        ("the digest of the batches", plan.ranges_sha256.hex(), seal.ranges_sha256.hex()),
    )
    faults = [
        f"{what} was {planned!r} and is {found!r}" for what, planned, found in compared if planned != found
    ]
    if faults:
        raise ProofError(
            f"The job {plan.job!r} has not done what was planned: {'; '.join(faults)}.",
            hint="Batches or records were removed, added or altered after they were planned.",
        )
