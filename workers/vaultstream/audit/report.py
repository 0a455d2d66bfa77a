"""What verification counts and finds."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any, Self

MAX_EXAMPLES = 20
"""Of each kind of finding so many are named; all are counted."""


class Count(StrEnum):
    """What is counted without being at fault."""

    RECORDS = "records"
    SIGNED = "signed"
    DEAD = "dead"
    VALID = "valid"
    REVOKED = "revoked"
    DELETED = "deleted"


class Finding(StrEnum):
    """What must not be: one of these, and a job does not pass."""

    INVALID = "invalid"
    CHANGED = "changed"
    MISSING = "missing"
    DUPLICATES = "duplicates"
    UNPLANNED = "unplanned"
    PLANNED_TWICE = "planned_twice"
    BAD_LEASES = "bad_leases"
    LEASE_OVERLAPS = "lease_overlaps"
    COMMITTED_TWICE = "committed_twice"
    PENDING = "pending"


_SENTENCES = {
    Finding.INVALID: "{n} invalid signature{s}",
    Finding.CHANGED: "{n} signed record{s} changed since",
    Finding.MISSING: "{n} record{s} with neither a signature nor a dead letter",
    Finding.DUPLICATES: "{n} record{s} settled more than once",
    Finding.UNPLANNED: "{n} signature{s} or dead letter{s} of records that the job does not cover",
    Finding.PLANNED_TWICE: "{n} record{s} covered by two batches",
    Finding.BAD_LEASES: "{n} signature{s} made outside a committed lease of the key",
    Finding.LEASE_OVERLAPS: "{n} lease{s} overlapping another of the same key",
    Finding.COMMITTED_TWICE: "{n} double commit{s} of a batch",
    Finding.PENDING: "{n} record{s} still to be signed",
}


@dataclass(frozen=True)
class Example:
    """One finding."""

    record: str | None
    """The record's id; None where the finding is not about a record."""
    reason: str


@dataclass
class Tally:
    """Counts and examples of a part of a job; parts add up."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[Example]] = field(default_factory=dict)

    def add(self, what: Count | Finding, number: int = 1) -> None:
        """Counts without naming an example."""
        self.counts[what] += number

    def find(self, kind: Finding, record: str | None, reason: str, *, number: int = 1) -> None:
        """Counts a finding, and keeps it as an example while there are few."""
        self.counts[kind] += number
        kept = self.examples.setdefault(kind, [])
        if len(kept) < MAX_EXAMPLES:
            kept.append(Example(record, reason))

    def merge(self, other: Self) -> None:
        self.counts.update(other.counts)
        for kind, examples in other.examples.items():
            kept = self.examples.setdefault(kind, [])
            kept.extend(examples[: MAX_EXAMPLES - len(kept)])

    def dump(self) -> dict[str, Any]:
        """Returns the tally as JSON-ready values; `load` reads them."""
        return {
            "counts": dict(self.counts),
            "examples": {
                kind: [(e.record, e.reason) for e in found] for kind, found in self.examples.items()
            },
        }

    @classmethod
    def load(cls, data: dict[str, Any]) -> Self:
        examples = {kind: [Example(*pair) for pair in found] for kind, found in data["examples"].items()}
        return cls(Counter(data["counts"]), examples)


@dataclass(frozen=True, kw_only=True)
class AuditReport:
    """What verification of a job found. `signed` = `valid` + `invalid` + `changed`.

    `signed` and `dead` count rows, so that a record settled twice shows in them as well as in `duplicates`.
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
    """Signatures that verify over the payload that the record has now."""
    invalid: int
    """Signatures that do not verify though the payload is the one that was signed, as its digest shows."""
    changed: int
    """Signatures whose record has another payload now, or is gone."""
    missing: int
    """Records with neither a signature nor a dead letter, nor waiting for one."""
    duplicates: int
    """Records with more than one signature or dead letter."""
    lease_overlaps: int
    """Leases that began before an earlier one of the same key had ended."""
    committed_twice: int
    """Batches that more than one lease committed."""
    pending: int
    """Records that wait in a batch to be signed: the job is not finished."""
    unplanned: int
    """Signatures and dead letters of records that no batch of the job covers."""
    planned_twice: int
    """Records that more than one batch covers."""
    bad_leases: int
    """Signatures whose key and epoch have no committed lease, or that lie outside it in time."""
    revoked: int
    """Of the valid ones, those made by a key that was revoked since."""
    deleted: int
    """Of the changed ones, those whose row is gone."""
    finished: bool
    """Whether all of the job is cut into batches and none of its records waits."""
    notes: tuple[str, ...]
    """What limits this report, in sentences."""
    examples: dict[str, list[Example]]
    """Up to 20 of each kind of finding."""
    seconds: float
    processes: int

    @classmethod
    def of(cls, tally: Tally, *, planned: bool, **rest: Any) -> Self:
        """Makes the report from the sum of all tallies; `planned`: whether all of the job lies in batches."""
        counts: dict[str, Any] = {name: tally.counts[name] for name in (*Count, *Finding)}
        finished = planned and not counts[Finding.PENDING]
        return cls(**counts, examples=tally.examples, finished=finished, **rest)

    @property
    def ok(self) -> bool:
        """Whether every record is accounted for, every signature valid, no lease overlaps another, no commit is double."""
        return self.finished and not any(getattr(self, kind) for kind in Finding)

    @property
    def problems(self) -> list[str]:
        """Each kind of finding that there is, with its number, in words."""
        numbers = {kind: getattr(self, kind) for kind in Finding}
        found = [
            _SENTENCES[kind].format(n=f"{number:,}", s="" if number == 1 else "s")
            for kind, number in numbers.items()
            if number
        ]
        return found if self.finished or self.pending else [*found, "records not yet cut into batches"]

    def to_json(self) -> dict[str, Any]:
        """Returns the report as JSON-ready values."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        values["examples"] = {
            kind: [{"record": e.record, "reason": e.reason} for e in found]
            for kind, found in self.examples.items()
        }
        return {"ok": self.ok, **values, "seconds": round(self.seconds, 3), "notes": list(self.notes)}
