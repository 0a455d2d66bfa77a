"""The counts and findings of a verification."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any, Self

from vaultstream.errors import AuditError
from vaultstream.plurals import counted

MAX_EXAMPLES = 20
"""Examples kept of each kind of finding; all findings are counted."""


class Count(StrEnum):
    """What is counted without being a fault."""

    RECORDS = "records"
    SIGNED = "signed"
    DEAD = "dead"
    VALID = "valid"
    REVOKED = "revoked"
    DELETED = "deleted"
    STATEMENTS = "statements"
    STATED = "stated"
    BEFORE_STATEMENTS = "before_statements"


class AuditFinding(StrEnum):
    """Faults: a job that has any does not pass."""

    INVALID = "invalid"
    CHANGED = "changed"
    MISSING = "missing"
    DUPLICATES = "duplicates"
    UNPLANNED = "unplanned"
    PLANNED_TWICE = "planned_twice"
    BAD_LEASES = "bad_leases"
    LEASE_OVERLAPS = "lease_overlaps"
    COMMITTED_TWICE = "committed_twice"
    AFTER_REVOCATION = "after_revocation"
    DROPPED = "dropped"
    ADDED = "added"
    MOVED = "moved"
    SWAPPED = "swapped"
    ALTERED = "altered"
    RETIMED = "retimed"
    BAD_STATEMENTS = "bad_statements"
    UNSTATED = "unstated"
    MISSING_BATCHES = "missing_batches"
    REKEYED = "rekeyed"
    UNKNOWN_KEYS = "unknown_keys"
    DISTRUSTED_KEYS = "distrusted_keys"
    UNCOVERED = "uncovered"
    MISSING_SEALS = "missing_seals"
    BAD_SEALS = "bad_seals"
    KEPT_UNVERIFIED = "kept_unverified"
    ROLLED_BACK = "rolled_back"
    UNLIKE_SEAL = "unlike_seal"
    PLAN_BROKEN = "plan_broken"
    REMOVED_BATCHES = "removed_batches"
    REMOVED_STATEMENTS = "removed_statements"
    RESTATED = "restated"
    UNSEALED = "unsealed"
    REMOVED_DEAD_LETTERS = "removed_dead_letters"
    INVENTED_DEAD_LETTERS = "invented_dead_letters"
    ALTERED_DEAD_LETTERS = "altered_dead_letters"
    REMOVED_REVOCATIONS = "removed_revocations"
    REMOVED_EVENTS = "removed_events"
    ALTERED_EVENTS = "altered_events"
    LOST_JOBS = "lost_jobs"
    PENDING = "pending"


_PHRASES = {
    AuditFinding.INVALID: ("invalid signature", "invalid signatures", ""),
    AuditFinding.CHANGED: ("record", "records", "changed since being signed"),
    AuditFinding.MISSING: ("record", "records", "with neither a signature nor a dead letter"),
    AuditFinding.DUPLICATES: ("record", "records", "with more than one signature or dead letter"),
    AuditFinding.UNPLANNED: (
        "signature or dead letter",
        "signatures or dead letters",
        "of records that the job does not cover",
    ),
    AuditFinding.PLANNED_TWICE: ("record", "records", "covered by more than one batch"),
    AuditFinding.BAD_LEASES: ("signature", "signatures", "made outside a committed lease of the key"),
    AuditFinding.LEASE_OVERLAPS: ("lease", "leases", "overlapping another lease of the same key"),
    AuditFinding.COMMITTED_TWICE: ("batch", "batches", "committed more than once"),
    AuditFinding.AFTER_REVOCATION: ("signature", "signatures", "made after the revocation of the key"),
    AuditFinding.DROPPED: ("record", "records", "gone that a key stated"),
    AuditFinding.ADDED: ("record", "records", "more than the keys stated"),
    AuditFinding.MOVED: ("batch", "batches", "with other ids than its key stated"),
    AuditFinding.SWAPPED: ("batch", "batches", "in which two records were swapped"),
    AuditFinding.ALTERED: ("batch", "batches", "with other records than its key stated"),
    AuditFinding.RETIMED: ("signature", "signatures", "with another time than its key stated"),
    AuditFinding.BAD_STATEMENTS: (
        "statement",
        "statements",
        "that is not about its batch, or not by its key",
    ),
    AuditFinding.UNSTATED: ("batch", "batches", "without a statement of its key"),
    AuditFinding.MISSING_BATCHES: ("batch", "batches", "gone, or not settled although its key stated it"),
    AuditFinding.REKEYED: ("key", "keys", "other than the one that was pinned or sealed"),
    AuditFinding.UNKNOWN_KEYS: ("key", "keys", "that signed and is not pinned"),
    AuditFinding.DISTRUSTED_KEYS: ("key", "keys", "that signed and is revoked among the pinned ones"),
    AuditFinding.UNCOVERED: ("row", "rows", "of the source that no batch covers"),
    AuditFinding.MISSING_SEALS: ("seal", "seals", "missing"),
    AuditFinding.BAD_SEALS: ("seal or log", "seals or logs", "that is not what the seal key signed"),
    AuditFinding.KEPT_UNVERIFIED: (
        "kept checkpoint",
        "kept checkpoints",
        "under no key that was given, or of another job",
    ),
    AuditFinding.ROLLED_BACK: ("log", "logs", "rolled back to before a checkpoint that was kept"),
    AuditFinding.UNLIKE_SEAL: ("value", "values", "other than the seal says"),
    AuditFinding.PLAN_BROKEN: ("plan", "plans", "that was not kept"),
    AuditFinding.REMOVED_BATCHES: ("batch", "batches", "gone that was sealed"),
    AuditFinding.REMOVED_STATEMENTS: ("statement", "statements", "gone that was sealed"),
    AuditFinding.RESTATED: ("statement", "statements", "other than the one that was sealed"),
    AuditFinding.UNSEALED: ("statement", "statements", "added after the job was sealed"),
    AuditFinding.REMOVED_DEAD_LETTERS: ("dead letter", "dead letters", "gone that was sealed"),
    AuditFinding.INVENTED_DEAD_LETTERS: ("dead letter", "dead letters", "added after the job was sealed"),
    AuditFinding.ALTERED_DEAD_LETTERS: ("dead letter", "dead letters", "other than the one that was sealed"),
    AuditFinding.REMOVED_REVOCATIONS: ("revocation", "revocations", "taken back that was sealed"),
    AuditFinding.REMOVED_EVENTS: ("audit event", "audit events", "gone that was sealed"),
    AuditFinding.ALTERED_EVENTS: ("audit event", "audit events", "other than the one that was sealed"),
    AuditFinding.LOST_JOBS: ("job", "jobs", "of the same name gone that no seal calls deleted"),
    AuditFinding.PENDING: ("record", "records", "still to be signed"),
}
"""What is counted, in the singular and the plural, and what is wrong with it."""


_VERDICTS = (Count.VALID, AuditFinding.INVALID, AuditFinding.CHANGED)
"""Of each signature, one."""


@dataclass(frozen=True)
class Example:
    """One finding."""

    record: str | None
    """The record's id; None if the finding is not about a record."""
    reason: str


@dataclass
class Tally:
    """Counts and examples of a part of a job; tallies can be merged."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[Example]] = field(default_factory=dict)
    by_key: Counter[int] = field(default_factory=Counter)
    """Signatures under each key that is revoked, by key number."""
    ranges: dict[int, str] = field(default_factory=dict)
    """Of each planned batch whose records were checked, by its number: SHA-256 of its line of `vaultstream.proof.seal.ranges_digest`."""
    stated: dict[int, str] = field(default_factory=dict)
    """Of each statement that was checked, by its batch: the hash that a log has as its leaf."""
    unsettled: list[str] = field(default_factory=list)
    """Ids of rows of the source with neither a signature nor a dead letter, which no batch of their run covers."""

    def add(self, what: Count | AuditFinding, number: int = 1) -> None:
        """Counts without keeping an example."""
        self.counts[what] += number

    def find(self, kind: AuditFinding, record: str | None, reason: str, *, number: int = 1) -> None:
        """Counts a finding, and keeps it as an example if there are not yet enough."""
        self.counts[kind] += number
        kept = self.examples.setdefault(kind, [])
        if len(kept) < MAX_EXAMPLES:
            kept.append(Example(record, reason))

    def merge(self, other: Self) -> None:
        self.counts.update(other.counts)
        self.by_key.update(other.by_key)
        self.ranges |= other.ranges
        self.stated |= other.stated
        self.unsettled += other.unsettled
        for kind, examples in other.examples.items():
            kept = self.examples.setdefault(kind, [])
            kept.extend(examples[: MAX_EXAMPLES - len(kept)])

    def require_judged(self) -> None:
        """Requires that each signature was found to be valid, invalid or over a payload that has changed, and each once.

        Raises:
            AuditError: some were not.
        """
        signed, judged = self.counts[Count.SIGNED], sum(self.counts[kind] for kind in _VERDICTS)
        if signed != judged:
            raise AuditError(
                f"The job has {counted(signed, 'signature')}, and {judged:,} were judged: the result would not be true.",
                hint="This is a bug in VaultStream. Please report it with the definition of the job's source.",
            )

    def dump(self) -> dict[str, Any]:
        """Returns the tally as JSON-ready values; `load` reads them."""
        return {
            "counts": dict(self.counts),
            "by_key": list(self.by_key.items()),
            "ranges": list(self.ranges.items()),
            "stated": list(self.stated.items()),
            "unsettled": self.unsettled,
            "examples": {
                kind: [(e.record, e.reason) for e in found] for kind, found in self.examples.items()
            },
        }

    @classmethod
    def load(cls, data: dict[str, Any]) -> Self:
        examples = {kind: [Example(*pair) for pair in found] for kind, found in data["examples"].items()}
        by_key = Counter(dict(data["by_key"]))
        return cls(
            Counter(data["counts"]),
            examples,
            by_key,
            dict(data["ranges"]),
            dict(data["stated"]),
            data["unsettled"],
        )


@dataclass(frozen=True)
class RevokedKey:
    """A key that is revoked now, and made signatures of the job."""

    key_id: str
    revoked_at: str
    """RFC 3339, in UTC."""
    signatures: int
    """Its signatures, valid or not, before and after the revocation."""


@dataclass(frozen=True)
class SealSummary:
    """The newest seal of a job."""

    origin: str
    """Of the log that it is in."""
    state: str
    """Of the job, when it was sealed."""
    sealed_at: str
    """RFC 3339, in UTC, by the sealer's clock."""
    entries: int
    """Of the job's log."""
    pinned: bool
    """Whether a known key signed it."""


@dataclass(frozen=True, kw_only=True)
class AuditReport:
    """The result of verifying a job. `signed` = `valid` + `invalid` + `changed`.

    `signed` and `dead` count rows: a record that was settled twice counts twice in them, and once in `duplicates`.
    """

    job: str
    token: str
    algorithm: str
    records: int
    """Records that the job's batches cover."""
    signed: int
    """Their signatures."""
    dead: int
    """Their dead letters."""
    valid: int
    """Signatures that verify over the record's current payload."""
    invalid: int
    """Signatures that do not verify, although the digest shows that the payload has not changed."""
    changed: int
    """Signatures whose record now has another payload, or was deleted."""
    missing: int
    """Records that have neither a signature nor a dead letter, and are not waiting to be signed."""
    duplicates: int
    """Records with more than one signature or dead letter."""
    lease_overlaps: int
    """Leases that began before an earlier one of the same key had ended."""
    committed_twice: int
    """Batches that more than one lease committed."""
    pending: int
    """Records in batches that are still to be signed: the job is not finished."""
    unplanned: int
    """Signatures and dead letters of records that no batch of the job covers."""
    planned_twice: int
    """Records that more than one batch covers."""
    bad_leases: int
    """Signatures whose key and epoch have no committed lease, or that lie outside it in time."""
    dropped: int
    """Records that a batch's key stated and that are not there."""
    added: int
    """Records that are there under a batch's lease, beyond those that its key stated."""
    moved: int
    """Batches whose first or last id is not the one that the key stated."""
    swapped: int
    """Batches in which two records have each other's digest and signature."""
    altered: int
    """Batches whose ids, digests or signatures are not those that the key stated, in another way."""
    retimed: int
    """Signatures with another time than their batch's key stated."""
    bad_statements: int
    """Statements that are not by their batch's key, or not about their batch."""
    unstated: int
    """Batches with signed records and no statement."""
    missing_batches: int
    """Batches that are gone from between the others, or are not settled although there is a statement."""
    rekeyed: int
    """Keys with another public half than the pinned one; all keys that signed, if none of them is pinned. 1 if the seal has others."""
    unknown_keys: int
    """Keys that signed and are not pinned, although others are."""
    distrusted_keys: int
    """Keys that signed and are revoked among the pinned ones."""
    uncovered: int
    """Rows of the source with ids up to the job's highest one that no batch covers."""
    missing_seals: int
    """1 if the job has no seal although one is required, or none of how it ended."""
    bad_seals: int
    """Logs, checkpoints and seals that are not signed by the seal key, or are not those of what is there."""
    kept_unverified: int
    """Checkpoints that were kept and can't be compared: under a key that is not known, or of another job."""
    rolled_back: int
    """Checkpoints that were kept and are no former state of a log."""
    unlike_seal: int
    """Values of the job that are not those of its seal: name, source, upper id, batches, signatures, dead letters."""
    plan_broken: int
    """1 if the seal is not about what was planned."""
    removed_batches: int
    """Batches that are gone and whose statement was sealed."""
    removed_statements: int
    """Sealed statements that are gone, of batches that are there."""
    restated: int
    """Statements other than the sealed ones of their batch: signed again, or altered."""
    unsealed: int
    """Statements that a job has beyond those that were sealed when it had ended."""
    removed_dead_letters: int
    """Sealed dead letters that are gone, of records that were not signed instead."""
    invented_dead_letters: int
    """Dead letters that a job has beyond those that were sealed when it had ended."""
    altered_dead_letters: int
    """Dead letters with another reason, message or time than was sealed."""
    removed_revocations: int
    """Sealed revocations of keys that are not revoked now, or at another time."""
    removed_events: int
    """Sealed audit events that are gone."""
    altered_events: int
    """Audit events other than the sealed ones."""
    lost_jobs: int
    """Jobs that had the name before, in the log of seals, and are gone although no seal says that they were deleted."""
    seal: SealSummary | None
    """The newest seal; None: there is none, or it is not genuine."""
    added_since: int | None
    """Rows of the source with higher ids; None: they were not counted."""
    statements: int
    """Statements that are by the batch's key and true of what is there."""
    stated: int
    """Signatures under the lease of a statement."""
    before_statements: int
    """Batches without a statement, of a job from before there were any: nothing proves their ids, order and times."""
    revoked: int
    """Valid signatures under keys that are revoked now, whenever they were made."""
    after_revocation: int
    """Signatures that were made after the revocation of their key, valid or not."""
    revoked_keys: tuple[RevokedKey, ...]
    """The keys of `revoked` and `after_revocation`, in the order of their ids."""
    deleted: int
    """Changed records whose row was deleted."""
    finished: bool
    """Whether the whole job has been planned as batches and none of its records is waiting to be signed."""
    notes: tuple[str, ...]
    """What limits this report, one sentence each."""
    examples: dict[str, list[Example]]
    """At most 20 findings of each kind."""
    seconds: float
    processes: int

    @classmethod
    def of(cls, tally: Tally, *, planned: bool, **rest: Any) -> Self:
        """Creates the report from the merged tally; `planned`: whether the whole job has been planned as batches."""
        counts: dict[str, Any] = {name: tally.counts[name] for name in (*Count, *AuditFinding)}
        finished = planned and not counts[AuditFinding.PENDING]
        return cls(**counts, examples=tally.examples, finished=finished, **rest)

    @property
    def ok(self) -> bool:
        """Whether the job is finished and there are no findings."""
        return self.finished and not any(getattr(self, kind) for kind in AuditFinding)

    @property
    def problems(self) -> list[str]:
        """Returns a phrase with the count for each kind of finding that occurred."""
        found = []
        for kind, (singular, plural, fault) in _PHRASES.items():
            if number := getattr(self, kind):
                found.append(f"{counted(number, singular, plural)} {fault}".rstrip())
        return found if self.finished or self.pending else [*found, "records not yet planned as batches"]

    def to_json(self) -> dict[str, Any]:
        """Returns the report as JSON-ready values."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        values["examples"] = {
            kind: [{"record": e.record, "reason": e.reason} for e in found]
            for kind, found in self.examples.items()
        }
        values["seal"] = asdict(self.seal) if self.seal else None
        values["revoked_keys"] = [asdict(key) for key in self.revoked_keys]
        return {"ok": self.ok, **values, "seconds": round(self.seconds, 3), "notes": list(self.notes)}
