"""Seals a job, as it stands, in a log of an installation: what the sealer does, in one step."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from vaultstream.audit.checks.queries import job_query
from vaultstream.audit.seals.seal_trust import SealTrust
from vaultstream.proof.checkpoint import Checkpoint, sign_checkpoint
from vaultstream.proof.dsse import StatementEnvelope
from vaultstream.proof.entries import AuditEntry, DeadLetterEntry, RevocationEntry
from vaultstream.proof.merkle import leaf_hash
from vaultstream.proof.note import NoteSigningKey
from vaultstream.proof.seal import (
    PlanEntry,
    PlannedBatch,
    SealedKey,
    SealEntry,
    job_origin,
    keys_digest,
    log_origin,
    ranges_digest,
)
from vaultstream.store.audit_events import audit_events_after, number_audit_events
from vaultstream.store.jobs import get_job
from vaultstream.store.logs import (
    EntryKind,
    Log,
    NewEntry,
    add_checkpoint,
    append_entries,
    lock_log,
    newest_checkpoint,
)
from vaultstream.store.sql import query

if TYPE_CHECKING:
    from integration.audit.signed_job import SignedJob
    from vaultstream.store.jobs import Job


@dataclass(frozen=True)
class Sealer:
    """An installation's seal key, by which the jobs of a database are sealed."""

    key: NoteSigningKey = field(
        default_factory=lambda: NoteSigningKey("example.com/seals", Ed25519PrivateKey.generate())
    )

    tenant: str | None = None
    """In whose log the jobs are sealed."""

    @property
    def origin(self) -> str:
        return log_origin(self.key.name, self.tenant)

    @property
    def trust(self) -> SealTrust:
        """What somebody trusts who has kept the public half of the key."""
        return SealTrust(keys=(self.key.public_key,), asked=True)

    def against(self, *kept: bytes) -> SealTrust:
        """What somebody trusts who has kept checkpoints, too."""
        return SealTrust(keys=(self.key.public_key,), kept=kept, asked=True)

    async def checkpoint(self, signed: SignedJob, *, of_job: bool = False) -> bytes:
        """Returns the newest checkpoint of the log of seals, or of the job's log."""
        origin = job_origin(self.origin, signed.job.token) if of_job else self.origin
        async with signed.connection.transaction():
            stored = await newest_checkpoint(
                signed.connection,
                await lock_log(
                    signed.connection,
                    origin,
                    job_no=signed.job.job_no if of_job else None,
                    tenant=self.tenant,
                ),
            )
        assert stored is not None
        return stored.note

    async def plan(self, signed: SignedJob) -> None:
        """States what is planned, as the batches are now."""
        job = await get_job(signed.connection, signed.job.token)
        cut = await _cut(signed)
        entry = PlanEntry(
            job_token=job.token,
            job=job.name,
            source=job.spec.records.table,
            upper_id=job.upper_id or "",
            batches=len(cut),
            records=sum(each.records for each in cut),
            ranges_sha256=ranges_digest(cut),
            planned_at=datetime.now(UTC),
        )
        async with signed.connection.transaction():
            log = await lock_log(signed.connection, self.origin, tenant=self.tenant)
            new = NewEntry(kind=EntryKind.PLAN, leaf=entry.leaf, body=entry.data.decode(), subject=job.token)
            await self._sign(signed, await append_entries(signed.connection, log, job.job_no, [new]))

    async def seal(self, signed: SignedJob) -> None:
        """Seals what is not sealed yet, and the job as it is now."""
        connection = signed.connection
        await number_audit_events(connection, signed.job.job_no)
        job = await get_job(connection, signed.job.token)
        cut = await _cut(signed)
        [totals] = await connection.fetch(job_query("audit_totals", job), job.job_no)
        keys = await connection.fetch(query("audit_keys"), job.job_no)
        async with connection.transaction():
            own = await lock_log(
                connection, job_origin(self.origin, job.token), job_no=job.job_no, tenant=self.tenant
            )
            known = {
                (row["kind"], row["batch_no"], row["subject"])
                for row in await connection.fetch(
                    "SELECT * FROM vaultstream.log_entries WHERE log_no = $1", own.log_no
                )
            }
            entries = await _sealable(signed, job)
            new = [each for each in entries if (each.kind, each.batch_no, each.subject) not in known]
            own = await append_entries(connection, own, job.job_no, new)
            await self._sign(signed, own)
            entry = SealEntry(
                job_token=job.token,
                job=job.name,
                source=job.spec.records.table,
                upper_id=job.upper_id or "",
                state="Deleted" if job.deleted_at else str(job.state),
                batches=len(cut),
                ranges_sha256=ranges_digest(cut),
                signed=totals["signatures"],
                dead=totals["dead_letters"],
                keys_sha256=keys_digest(
                    SealedKey(key_id=k["key_id"], algorithm=k["algorithm"], public_key=k["public_key"])
                    for k in keys
                ),
                tree_size=own.size,
                tree_root=own.tree.root(),
                sealed_at=datetime.now(UTC),
            )
            log = await lock_log(connection, self.origin, tenant=self.tenant)
            seal = NewEntry(kind=EntryKind.SEAL, leaf=entry.leaf, body=entry.data.decode())
            await self._sign(signed, await append_entries(connection, log, job.job_no, [seal]))

    async def _sign(self, signed: SignedJob, log: Log) -> None:
        head = Checkpoint(log.origin, log.size, log.tree.root())
        await add_checkpoint(signed.connection, log, sign_checkpoint(head, self.key))


async def _cut(signed: SignedJob) -> list[PlannedBatch]:
    rows = await signed.connection.fetch(query("audit_planned"), signed.job.job_no)
    return [PlannedBatch(**dict(row)) for row in rows]


async def _sealable(signed: SignedJob, job: Job) -> list[NewEntry]:
    fetch = signed.connection.fetch
    entries = [
        NewEntry(
            kind=EntryKind.STATEMENT,
            leaf=leaf_hash(StatementEnvelope(row["body"], row["signature"]).data),
            batch_no=row["batch_no"],
        )
        for row in await fetch(
            "SELECT * FROM vaultstream.statements WHERE job_no = $1 ORDER BY batch_no", job.job_no
        )
    ]
    for row in await fetch(
        "SELECT * FROM vaultstream.dead_letters WHERE job_no = $1 ORDER BY record_id", job.job_no
    ):
        dead = DeadLetterEntry(
            job_token=job.token,
            batch=row["batch_no"],
            record_id=row["record_id"],
            reason=row["reason"],
            message=row["message"],
            died_at=row["died_at"],
        )
        entries.append(_entry(EntryKind.DEAD_LETTER, dead, row["record_id"], batch_no=row["batch_no"]))
    for row in await fetch(
        "SELECT * FROM vaultstream.keys WHERE job_no = $1 AND state = 'revoked'", job.job_no
    ):
        revoked = RevocationEntry(
            job_token=job.token,
            key_id=row["key_id"],
            public_key_sha256=sha256(row["public_key"]).digest(),
            reason="",
            revoked_at=row["ended_at"],
        )
        entries.append(_entry(EntryKind.REVOCATION, revoked, row["key_id"]))
    for event in await audit_events_after(signed.connection, job.job_no, 0):
        assert event.number is not None
        audited = AuditEntry(
            job_token=job.token,
            number=event.number,
            action=event.action,
            login=event.login,
            arguments=event.arguments,
            at=event.at,
        )
        entries.append(_entry(EntryKind.AUDIT_EVENT, audited, str(event.number)))
    return entries


def _entry(
    kind: EntryKind,
    entry: DeadLetterEntry | RevocationEntry | AuditEntry,
    subject: str,
    *,
    batch_no: int | None = None,
) -> NewEntry:
    return NewEntry(kind=kind, leaf=entry.leaf, body=entry.data.decode(), batch_no=batch_no, subject=subject)
