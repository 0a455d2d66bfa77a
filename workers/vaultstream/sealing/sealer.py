"""Seals one job: its log grows, a seal of it is entered in the log of plans and seals, and both get a checkpoint.

All of one seal is one transaction, which holds the row of each log that it changes. It locks, in this order, the job's row (at the
end of the job only), the job's log, and the log of plans and seals. Copies are written after the commit; the next seal makes up for
those that are missing.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import asyncpg

from vaultstream.api import JobState
from vaultstream.errors import ProofError
from vaultstream.proof.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from vaultstream.proof.seal import (
    DELETED,
    PlanEntry,
    RangesDigest,
    SealEntry,
    job_origin,
    keys_digest,
    log_origin,
    require_planned,
)
from vaultstream.sealing.continuity import Continuity
from vaultstream.sealing.folder import CHECKPOINT, SEAL, SealsFolder, read_copy, write_copy
from vaultstream.sealing.happenings import LogTally, enter_new, recount
from vaultstream.sealing.kept_plan import KeptPlan
from vaultstream.store import jobs, logs, seals
from vaultstream.store.dead_letters import count_dead_letters
from vaultstream.store.entry_facts import find_plan, find_seal, require_entered
from vaultstream.store.lockers import changing
from vaultstream.store.logs import EntryKind, Log, NewEntry

if TYPE_CHECKING:
    from pathlib import Path

    from vaultstream.crypto.seal_keys import SealKeys
    from vaultstream.store.database import Connection
    from vaultstream.store.jobs import Job

log = logging.getLogger(__name__)

_LOCKED = "jobs", "logs"
"""Tables whose rows a seal locks: whoever keeps one of them is named."""


class UnplannedError(ProofError):
    """The job has not done what was planned."""


@dataclass(frozen=True)
class _Entered:
    """What a transaction has entered, known to be true once it is committed."""

    sealed: Sealed
    tally: LogTally
    settled: int
    log_of_seals: Log


@dataclass(frozen=True)
class Sealed:
    """A seal with the checkpoints that it is under."""

    seal: SealEntry
    checkpoint: bytes
    job_checkpoint: bytes


class Sealer:
    """Seals a job in the name of an installation, or of a tenant.

    Args:
        keys: of the installation.
        folder: where copies are written.
        job: the job.
        deletion: whether somebody who may delete the job asks for a seal of that. Otherwise, a job that Postgres calls deleted is
            not sealed at all: whoever owns the database can write that.
    """

    def __init__(self, keys: SealKeys, folder: Path, job: Job, *, deletion: bool = False) -> None:
        self._keys = keys
        self._job = job
        self._deletion = deletion
        self._origin = log_origin(keys.origin, job.tenant)
        self._folder = SealsFolder(folder, job.tenant)
        self._continuity = Continuity(keys)
        self._tally: LogTally | None = None
        self._settled = 0
        self._signed: bytes | None = None
        """The newest seal that is known to be an entry which the seal key has signed."""
        self.plan = KeptPlan(self._folder.job(job.token))

    def use(self, keys: SealKeys) -> None:
        """Signs with these keys from now on: those of the same installation, after a rotation."""
        self._keys = self._continuity.keys = keys

    async def state_plan(self, connection: Connection) -> PlanEntry:
        """Enters the plan of a job that is planned, unless it has been.

        Raises:
            ProofError: a log is not what was signed, or has another plan.
            LockedError: another transaction holds a log or the job's row; the message names it.
        """
        job = await jobs.get_job(connection, self._job.token)
        plan = self.plan.entry or await self.plan.finish(connection, job)
        async with changing(connection, _LOCKED):
            log_of_seals = await self._locked(connection, self._origin)
            stored = await find_plan(connection, log_of_seals, job.job_no, job.token)
            if stored is None:
                entry = NewEntry(
                    kind=EntryKind.PLAN, leaf=plan.leaf, body=plan.data.decode(), subject=job.token
                )
                log_of_seals = await logs.append_entries(connection, log_of_seals, job.job_no, [entry])
                note = await self._sign(connection, log_of_seals)
            else:
                await require_entered(connection, log_of_seals, stored, _head(log_of_seals))
                entered = PlanEntry.parse(stored.data or b"")
                if replace(plan, planned_at=entered.planned_at) != entered:
                    raise ProofError(
                        f"The plan of job {job.name!r} is not the one that was entered in the log {self._origin!r}.",
                        hint="Batches were removed, added or altered after they were planned.",
                    )
                plan, note = entered, None
        self._continuity.grown(log_of_seals)
        await self.plan.stated(plan)
        if note is not None:
            await self._copy(self._folder.checkpoint, note)
        return plan

    async def seal(self, connection: Connection) -> Sealed | None:
        """Seals what happened since the last seal; returns None if nothing did. Missing copies are written in either case.

        Raises:
            ProofError: a log is not what was signed, or what was sealed is no longer in Postgres.
            LockedError: another transaction holds a log or the job's row; the message names it.
        """
        async with changing(connection, _LOCKED):
            job = await jobs.get_job(connection, self._job.token)
            entered = None
            if self._deletion or job.deleted_at is None:
                ranges = self.plan.ranges if self.plan.entry is None else None
                entered = await self._enter(connection, job, ranges)
        return await self._committed(connection, entered)

    async def complete(self, connection: Connection) -> bool:
        """Completes a job whose batches are settled and seals it, both or neither; returns whether it did.

        Raises:
            UnplannedError: the job has not done what was planned, or what was sealed is gone. It stays as it is.
            ProofError: a log is not what was signed.
            LockedError: another transaction holds a log or the job's row; the message names it.
        """
        plan = self.plan.entry
        if plan is None:
            return False
        ranges = RangesDigest()  # read before the job is locked: planned batches stay as they are
        await seals.add_planned(connection, self._job.job_no, ranges)
        async with changing(connection, _LOCKED):
            if not await jobs.complete_locked_job(connection, self._job.job_no):
                return False
            job = await jobs.get_job(connection, self._job.token)
            self._tally = None  # all that was sealed must still be there
            entered = await self._enter(connection, job, ranges, always=True)
            if await seals.planned_totals(connection, job.job_no) != (ranges.batches, ranges.records):
                raise UnplannedError(f"Planned batches of job {job.name!r} have changed while it was sealed.")
            assert entered is not None  # noqa: S101 - for the type checker
            try:
                require_planned(plan, entered.sealed.seal)
            except ProofError as error:
                raise UnplannedError(error.message, hint=error.hint) from None
        await self._committed(connection, entered)
        return True

    async def _enter(
        self, connection: Connection, job: Job, ranges: RangesDigest | None, *, always: bool = False
    ) -> _Entered | None:
        """Enters what is new and a seal of it, in a transaction; None: nothing is new.

        Args:
            connection: of the transaction.
            job: as it is.
            ranges: of its planned batches; None: those of the plan.
            always: whether to seal also if nothing is new.
        """
        origin = job_origin(self._origin, job.token)
        of_job = await self._locked(connection, origin, job)
        if self._tally is None or self._tally.log != of_job:
            try:
                self._tally = await recount(connection, of_job, job.token)
            except ProofError as error:
                raise UnplannedError(error.message, hint=error.hint) from None
            self._settled = 0
        settled = await seals.settled_through(connection, job.job_no)
        if settled < self._settled:
            raise ProofError(
                f"Batch {settled + 1} of job {job.name!r} was settled and sealed, and is to be signed again.",
                hint="Somebody has changed vaultstream.batches by hand. `vaultstream verify` shows what is missing.",
            )
        tally = await enter_new(connection, job, self._tally, after=self._settled)
        of_job = tally.log
        seal = SealEntry(
            job_token=job.token,
            job=job.name,
            source=job.spec.records.table,
            upper_id=job.upper_id or "",
            state=DELETED if job.deleted_at else job.state,
            batches=ranges.batches if ranges else _planned(self.plan).batches,
            ranges_sha256=ranges.value if ranges else _planned(self.plan).ranges_sha256,
            signed=tally.signed + await seals.signed_without_statement(connection, job.job_no),
            dead=await count_dead_letters(connection, job.job_no),
            keys_sha256=keys_digest(await seals.sealed_keys(connection, job.job_no)),
            tree_size=of_job.size,
            tree_root=of_job.tree.root(),
            sealed_at=datetime.now(UTC),
        )
        log_of_seals = await self._locked(connection, self._origin)
        newest = await find_seal(connection, log_of_seals, job.job_no, job.token)
        former = newest.data if newest is not None else None
        if not always:
            if former is not None and _says_the_same(seal, former):
                return None
            if seal.state == JobState.COMPLETE:
                if newest is not None and former is not None and _state_of(former) == JobState.COMPLETE:
                    await require_entered(connection, log_of_seals, newest, _head(log_of_seals))
                else:
                    await self._require_complete(connection, job, seal, ranges)
        stored = await logs.newest_checkpoint(connection, of_job, size=of_job.size)
        job_note = stored.note if stored else await self._sign(connection, of_job)
        entry = NewEntry(kind=EntryKind.SEAL, leaf=seal.leaf, body=seal.data.decode())
        log_of_seals = await logs.append_entries(connection, log_of_seals, job.job_no, [entry])
        note = await self._sign(connection, log_of_seals)
        return _Entered(Sealed(seal, note, job_note), tally, settled, log_of_seals)

    async def _require_complete(
        self,
        connection: Connection,
        job: Job,
        seal: SealEntry,
        ranges: RangesDigest | None,
    ) -> None:
        """Checks that a job which Postgres calls Complete, and that was not sealed as complete, has done what was planned.

        Raises:
            UnplannedError: it was not. Somebody has altered its state.
        """
        settled = await seals.settled_through(connection, job.job_no)
        plan, reason = self.plan.entry, None
        if not job.planned or (plan is None and self.plan.begun):
            reason = "is still to be planned"
        elif settled < job.next_batch_no - 1:
            reason = f"has batches after number {settled} to be signed"
        elif plan is not None:
            try:
                require_planned(plan, seal)
            except ProofError as error:
                raise UnplannedError(error.message, hint=error.hint) from None
        elif ranges is not None and ranges.records != seal.signed + seal.dead:
            reason = f"has {seal.signed + seal.dead} of {ranges.records} records"
        if reason is not None:
            raise UnplannedError(
                f"Postgres calls job {job.name!r} Complete, but it {reason}: it is not sealed as complete.",
                hint="Its state was altered; only the records worker completes a job. `vaultstream verify` shows what is missing.",
            )

    async def _committed(self, connection: Connection, entered: _Entered | None) -> Sealed | None:
        """Notes what a transaction has committed, and writes its copies, or those of the seal before."""
        job = self._folder.job(self._job.token)
        sealed = entered.sealed if entered else None
        if entered is not None and sealed is not None:
            self._tally, self._settled, self._signed = entered.tally, entered.settled, sealed.seal.data
            self._continuity.grown(entered.tally.log)
            self._continuity.grown(entered.log_of_seals)
            body, note, job_note = sealed.seal.data, sealed.checkpoint, sealed.job_checkpoint
        else:
            newest = await self._newest(connection)
            if newest is None:
                return None
            body, note, job_note = newest
        # In this order: what the copy of the job's checkpoint has, that of its seal has too, also after a crash in between.
        if await self._copy(job / SEAL, body):
            await self._copy(job / CHECKPOINT, job_note)
        await self._copy(self._folder.checkpoint, note)
        return sealed

    async def _newest(self, connection: Connection) -> tuple[bytes, bytes, bytes] | None:
        """Returns the newest seal of the job with the checkpoints of both logs; None if it has none.

        They replace copies, and were not made by this process: the owner of Postgres can have written them. So no other log counts than
        that of the installation or of the tenant, both checkpoints are verified, and so is that the seal is under the first of them.

        Raises:
            ProofError: the seal key has not signed them.
        """
        origin = job_origin(self._origin, self._job.token)
        of_seals, of_job = [await logs.find_log(connection, each) for each in (self._origin, origin)]
        if of_seals is None or of_job is None:
            return None
        entry = await find_seal(connection, of_seals, self._job.job_no, self._job.token)
        newest = await logs.newest_checkpoint(connection, of_seals)
        data = entry.data if entry is not None else None
        if entry is None or data is None or newest is None:
            return None
        seal = SealEntry.parse(data)
        stored = await logs.newest_checkpoint(connection, of_job, size=seal.tree_size)
        if stored is None:
            return None
        above = open_checkpoint(newest.note, self._keys.known, origin=self._origin).checkpoint
        if data != self._signed:
            await require_entered(connection, of_seals, entry, above)
            self._signed = data
        head = open_checkpoint(stored.note, self._keys.known, origin=origin).checkpoint
        if (head.size, head.root) != (seal.tree_size, seal.tree_root):
            raise ProofError(f"The newest seal of job {self._job.name!r} is not of its log {origin!r}.")
        return data, newest.note, stored.note

    async def _locked(self, connection: Connection, origin: str, job: Job | None = None) -> Log:
        """Returns a log, locked and checked."""
        tenant = self._job.tenant
        path = self._folder.job(job.token) / CHECKPOINT if job else self._folder.checkpoint
        copy = await asyncio.to_thread(read_copy, path)  # before the lock: the log is not older than the copy
        try:
            found = await logs.lock_log(connection, origin, job_no=job.job_no if job else None, tenant=tenant)
        except asyncpg.InvalidParameterValueError:
            raise ProofError(
                f"The log {origin!r} in Postgres is of another job or tenant.",
                hint="Give each tenant a seal key of its own, as in docs/keys-and-custody.md.",
            ) from None
        except asyncpg.ConfigurationLimitExceededError:  # nothing that time heals
            raise ProofError(
                f"Postgres makes no log {origin!r}: there are too many logs of seals of {f'the tenant {tenant!r}' if tenant else 'no tenant'}.",
                hint="Each name of a seal key has a log. If so many names are nobody's of yours, the login of the records workers is an "
                "intruder's: give them another one, and the seal key the name that it had.",
            ) from None
        await self._continuity.require(connection, found, copy)
        return found

    async def _sign(self, connection: Connection, grown: Log) -> bytes:
        note = sign_checkpoint(_head(grown), self._keys.signing)
        await logs.add_checkpoint(connection, grown, note)
        return note

    async def _copy(self, path: Path, data: bytes) -> bool:
        """Writes a copy, unless a later one is there; returns whether one of them is."""

        def replaces(former: bytes) -> bool:
            if path.name == CHECKPOINT:
                return _size_of(former) < _size_of(data)
            return _tree_size_of(former) <= _tree_size_of(data)

        try:
            await asyncio.to_thread(write_copy, path, data, replaces=replaces)
        except OSError as error:
            log.warning("the seal is not copied to %s: %s", path, error.strerror or error)
            return False
        return True


def _planned(plan: KeptPlan) -> PlanEntry:
    assert plan.entry is not None  # noqa: S101 - for the type checker
    return plan.entry


def _state_of(seal: bytes) -> str:
    return SealEntry.parse(seal).state


def _says_the_same(seal: SealEntry, former: bytes) -> bool:
    """Whether a seal says what the one before does, but for its time."""
    before = SealEntry.parse(former)
    return replace(seal, sealed_at=before.sealed_at) == before


def _head(checked: Log) -> Checkpoint:
    """Returns what the newest checkpoint of a log says, which was checked."""
    return Checkpoint(checked.origin, checked.size, checked.tree.root())


def _tree_size_of(seal: bytes) -> int:
    """Returns the size of the job's log that a seal has; -1 if it is none."""
    try:
        return SealEntry.parse(seal).tree_size
    except ProofError:
        return -1


def _size_of(note: bytes) -> int:
    """Returns the size that a signed checkpoint has; -1 if it is none."""
    lines = note.split(b"\n", 2)
    return int(lines[1]) if len(lines) > 1 and lines[1].isdigit() else -1
