"""A log of plans and seals under a key of its own, written by hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from support.engine import new_name
from vaultstream.proof.checkpoint import Checkpoint, sign_checkpoint
from vaultstream.proof.entries import DeadLetterEntry
from vaultstream.proof.merkle import leaf_hash
from vaultstream.proof.note import NoteSigningKey
from vaultstream.proof.seal import PlanEntry, SealEntry, job_origin
from vaultstream.store.logs import EntryKind, Log, NewEntry, add_checkpoint, append_entries, lock_log

if TYPE_CHECKING:
    import asyncpg

    from vaultstream.proof.entries import LogEntry
    from vaultstream.store.jobs import Job

RANGES = bytes(32)
"""What the digests are of is verified elsewhere."""


def new_key(name: str | None = None) -> NoteSigningKey:
    return NoteSigningKey(name or f"{new_name('log')}.example", Ed25519PrivateKey.generate())


def dead_letter(job: Job, record: str) -> DeadLetterEntry:
    return DeadLetterEntry(
        job_token=job.token,
        batch=1,
        record_id=record,
        reason="RecordGone",
        message="gone",
        died_at=datetime(2026, 1, 2, tzinfo=UTC),
    )


def seal_entry(job: Job, of_job: Log, **changed: Any) -> SealEntry:
    """Returns a seal of a job with its log as it is; what is given replaces the rest, which is of no batch."""
    values: dict[str, Any] = {
        "job_token": job.token,
        "job": job.name,
        "source": "nowhere",
        "upper_id": "3",
        "state": "Complete",
        "batches": 1,
        "ranges_sha256": RANGES,
        "signed": 3,
        "dead": 0,
        "keys_sha256": bytes(32),
        "tree_size": of_job.size,
        "tree_root": of_job.tree.root(),
        "sealed_at": datetime.now(UTC),
    }
    return SealEntry(**(values | changed))


@dataclass
class LogOfSeals:
    """The log of an installation, with the logs of its jobs."""

    db: asyncpg.Connection
    key: NoteSigningKey = field(default_factory=new_key)

    @property
    def origin(self) -> str:
        return self.key.name

    async def plan(self, job: Job, *, records: int = 3) -> bytes:
        """Enters the plan of a job; returns the checkpoint."""
        plan = PlanEntry(
            job_token=job.token,
            job=job.name,
            source="nowhere",
            upper_id="3",
            batches=1,
            records=records,
            ranges_sha256=RANGES,
            planned_at=datetime.now(UTC),
        )
        return await self._enter(job, EntryKind.PLAN, plan)

    async def seal(self, job: Job, *records: str, state: str = "Complete") -> bytes:
        """Appends dead letters of these records to a job's log and seals it; returns the checkpoint of the log of seals."""
        async with self.db.transaction():
            of_job = await lock_log(self.db, job_origin(self.origin, job.token), job_no=job.job_no)
            new = [
                NewEntry(
                    kind=EntryKind.DEAD_LETTER,
                    leaf=letter.leaf,
                    body=letter.data.decode(),
                    batch_no=1,
                    subject=letter.record_id,
                )
                for letter in (dead_letter(job, record) for record in records)
            ]
            of_job = await append_entries(self.db, of_job, job.job_no, new)
            await self.sign(of_job)
        return await self._enter(job, EntryKind.SEAL, seal_entry(job, of_job, state=state))

    async def sign(self, log: Log, key: NoteSigningKey | None = None) -> bytes:
        """Signs and stores a checkpoint of a log as it stands."""
        note = sign_checkpoint(Checkpoint(log.origin, log.size, log.tree.root()), key or self.key)
        await add_checkpoint(self.db, log, note)
        return note

    async def append(self, job: Job, kind: EntryKind, body: str) -> Log:
        """Appends an entry, and signs nothing."""
        log = await lock_log(self.db, self.origin)
        new = NewEntry(kind=kind, leaf=leaf_hash(body.encode()), body=body, subject=new_name())
        return await append_entries(self.db, log, job.job_no, [new])

    async def _enter(self, job: Job, kind: EntryKind, entry: LogEntry) -> bytes:
        async with self.db.transaction():
            return await self.sign(await self.append(job, kind, entry.data.decode()))

    async def tamper(self, statement: str, *values: Any) -> None:
        """Runs a statement as the database's owner, who switches triggers off."""
        async with self.db.transaction():
            await self.db.execute("SET LOCAL session_replication_role = replica")
            assert await self.db.execute(statement, *values) not in {"UPDATE 0", "DELETE 0"}
