"""Checks the records of a run of batches: each is accounted for once, each signature is verified."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from itertools import chain, groupby, islice
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Self

from vaultstream.api import Algorithm
from vaultstream.audit.checks.judgement import (
    Absence,
    AuditKey,
    CommittedLease,
    JwsKey,
    Outcome,
    StoredSignature,
    judge,
    lease_fault,
    stored_signature,
)
from vaultstream.audit.checks.payloads import portions_of_payloads
from vaultstream.audit.checks.plain_batches import CoveredBatch, PlainBatches, is_int4
from vaultstream.audit.checks.plain_signatures import PlainSignatures
from vaultstream.audit.checks.queries import RecordId, covered_ids, job_query
from vaultstream.audit.checks.source_rows import SourceRange, check_source_range
from vaultstream.audit.checks.statements import check_statements, read_statements
from vaultstream.audit.report import AuditFinding, Count, Tally
from vaultstream.audit.snapshot import open_snapshot, open_source_snapshot
from vaultstream.crypto.algorithms import JWS_ALG
from vaultstream.crypto.batch_verifier import digests_of
from vaultstream.proof.jws import JwsForm
from vaultstream.proof.planned import PlannedBatch
from vaultstream.records.source import Source
from vaultstream.store.batches import listed_ids
from vaultstream.store.jobs import signatures_table
from vaultstream.store.source_login import Place, SourceDatabase
from vaultstream.store.sql import query

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

    from vaultstream.audit.checks.stated import RecordRow, StoredStatement
    from vaultstream.crypto.algorithms import PublicKey
    from vaultstream.store.database import Connection

Plain = tuple[RecordId, StoredSignature, bytes]
"""A record, its one signature, and its payload, of which the digest is the stored one."""

_UNKNOWN: tuple[PublicKey | None, datetime | None] = (None, None)

SLICE_RECORDS = 2000
"""Records checked at a time: limits memory use, whatever the batch size."""


@dataclass(frozen=True)
class Assignment:
    """What a verifying process needs to know about the job."""

    job_no: int
    id_type: str
    algorithm: str
    max_payload_bytes: int
    token: str
    jws: bool
    """Whether records were signed as JWS."""
    source: Source | None
    revoked_at: dict[int, datetime]
    """When each revoked key was revoked, by key number."""

    @property
    def signatures_table(self) -> str:
        return signatures_table(self.job_no)

    def dump(self) -> dict[str, Any]:
        """Returns the assignment as JSON-ready values; `load` reads them."""
        revoked = [(key_no, at.isoformat()) for key_no, at in self.revoked_at.items()]
        return {**vars(self), "source": vars(self.source) if self.source else None, "revoked_at": revoked}

    @classmethod
    def load(cls, data: dict[str, Any]) -> Self:
        source = Source(**data["source"]) if data["source"] else None
        revoked = {key_no: datetime.fromisoformat(at) for key_no, at in data["revoked_at"]}
        return cls(**{**data, "source": source, "revoked_at": revoked})


class Checker:
    """Checks batches of one job over a connection of ours and a source connection, both in a transaction with the snapshot."""

    def __init__(
        self,
        connection: Connection,
        reading: Connection,
        assignment: Assignment,
        keys: dict[int, AuditKey],
    ) -> None:
        self._connection = connection
        self._reading = reading
        self._job = assignment
        self._keys = keys
        algorithm = Algorithm(assignment.algorithm)
        self._jws = JwsForm(JWS_ALG[algorithm], assignment.token) if assignment.jws else None
        self._has_dead = True
        self._batches = PlainBatches.of((connection, reading), assignment, keys)
        self._plain_keys: dict[int, PublicKey | None] = {}
        """Of the keys that were needed so far; see `_plain_key`."""
        self._commits: dict[tuple[int, int], list[CommittedLease]] = {}
        """The committed leases of a slice, by key and epoch."""
        self._under: dict[tuple[int, int], tuple[PublicKey | None, datetime | None]] = {}
        """The key, and the last time that was found to be covered, of leases: those of a batch have one time."""

    @classmethod
    async def open(cls, connection: Connection, reading: Connection, assignment: Assignment) -> Self:
        keys = await read_keys(connection, assignment.job_no, Algorithm(assignment.algorithm))
        return cls(connection, reading, assignment, keys)

    async def check(self, first: int, last: int, rows_of: SourceRange | None = None) -> Tally:
        """Checks the records of the planned batches `first` to `last`, both included, and the statements of all batches of these.

        Args:
            first: the first number.
            last: the last number.
            rows_of: rows of the source that are compared with the batches; None: no other rows than those of records are read.
        """
        tally = Tally()
        self._has_dead = await self._connection.fetchval(query("audit_has_dead_letters"), self._job.job_no)
        batches = await self._planned(first, last, tally)
        statements = await read_statements(self._connection, self._job, (first, last))
        settled = await self._settled(batches, statements, tally)
        of_batch: dict[int, list[RecordRow]] = {}
        plain = PlainSignatures[Plain](Algorithm(self._job.algorithm))
        covered = (
            (record, each.batch.number, each.state)
            for each in batches
            if each.batch.number not in settled
            for record in each.ids
        )
        planned: set[RecordId] = set()
        if rows_of and self._batches and await self._batches.is_covered(rows_of, batches):
            rows_of = None
        while rows := list(islice(covered, SLICE_RECORDS)):
            signatures = await self._check_slice({record: state for record, _, state in rows}, plain, tally)
            for batch, of_one in groupby(rows, itemgetter(1)):
                known = of_batch.setdefault(batch, [])
                for record, _, _ in of_one:
                    for stored in signatures.get(record, ()):
                        known.append((record, stored))
            if rows_of:
                planned.update(record for record, _, _ in rows)
            tally.add(Count.RECORDS, len(rows))
        self._verify(plain, tally)
        if rows_of:
            planned.update(chain.from_iterable(each.ids for each in batches if each.batch.number in settled))
            await check_source_range(self._connection, self._reading, self._job, (rows_of, planned), tally)
        left = [each for each in statements if each.batch_no not in settled]
        await check_statements(self._connection, self._job, self._keys, left, tally, known=of_batch)
        return tally

    async def _planned(self, first: int, last: int, tally: Tally) -> list[CoveredBatch]:
        """Returns planned batches; notes what their rows say."""
        batches = []
        for *values, state in await self._connection.fetch(
            query("audit_batches"), self._job.job_no, first, last
        ):
            number, first_id, last_id, records, ids = values
            batch = PlannedBatch(number=number, first_id=first_id, last_id=last_id, records=records, ids=ids)
            tally.ranges[batch.number] = sha256(batch.line.encode()).hexdigest()
            batches.append(CoveredBatch(batch, covered_ids(batch, self._job.id_type), state))
        return batches

    async def _settled(
        self, batches: Sequence[CoveredBatch], statements: Sequence[StoredStatement], tally: Tally
    ) -> set[int]:
        """Counts the batches that can be checked as a whole and in which nothing is odd; returns their numbers."""
        if self._batches is None or not statements:
            return set()
        commits = await self._lease_commits(
            (each.key_no, each.epoch) for each in statements if is_int4(each.key_no, each.epoch)
        )
        return await self._batches.settle(batches, statements, commits, tally)

    async def _check_slice(
        self, states: dict[RecordId, str], plain: PlainSignatures[Plain], tally: Tally
    ) -> dict[RecordId, list[StoredSignature]]:
        """Checks records, by the states of their batches, but for the signatures that go to `plain`; returns their signatures."""
        ids = list(states)
        signatures: dict[RecordId, list[StoredSignature]] = {}
        for row in await self._connection.fetch(
            self._sql("audit_signatures"), listed_ids(ids, self._job.id_type)
        ):
            if (record := row[0]) in states:  # another one would make up for a record that has none
                signatures.setdefault(record, []).append(stored_signature(row))
        await self._count(states, signatures, tally)

        self._under.clear()
        self._commits = await self._lease_commits(
            (stored.key_no, stored.epoch) for found in signatures.values() for stored in found
        )
        unjudged = dict(signatures)
        async for portion in portions_of_payloads(
            self._reading, self._job.source, list(signatures), max_bytes=self._job.max_payload_bytes
        ):
            for (record, present), digest in zip(portion, _digests(portion), strict=True):
                self._sort(record, unjudged.pop(record), (present, digest), plain, tally)
            if plain.is_full:
                self._verify(plain, tally)
        return signatures

    def _sort(
        self,
        record: RecordId,
        found: list[StoredSignature],
        read: tuple[bytes | Absence, bytes],
        plain: PlainSignatures[Plain],
        tally: Tally,
    ) -> None:
        """Judges a record's signatures; one of which only its validity is left to be found goes to `plain`."""
        present, digest = read
        if len(found) == 1 and isinstance(present, bytes):
            [stored] = found
            if digest == stored.digest and (key := self._key_to_verify(stored)):
                plain.add(
                    stored.key_no,
                    key,
                    (record, stored, present),
                    stored.signature,
                    stored.digest,
                    payload=present,
                )
                return
        for stored in found:
            self._judge(str(record), stored, present, tally)
            if fault := lease_fault(stored, self._commits.get((stored.key_no, stored.epoch), ())):
                tally.find(AuditFinding.BAD_LEASES, str(record), fault)

    async def _count(
        self,
        states: dict[RecordId, str],
        signatures: Mapping[RecordId, Sequence[StoredSignature]],
        tally: Tally,
    ) -> None:
        """Counts what each record has, which should be one signature or one dead letter."""
        dead = await self._dead_letters(list(states))
        total = sum(map(len, signatures.values()))
        tally.add(Count.SIGNED, total)
        tally.add(Count.DEAD, sum(dead.values()))
        if not dead and total == len(signatures) == len(states):
            return
        unsettled = []
        for record in states:
            signed, died = len(signatures.get(record, ())), dead.get(str(record), 0)
            if signed + died == 0:
                unsettled.append(record)
            elif signed + died > 1:
                tally.find(
                    AuditFinding.DUPLICATES, str(record), f"signatures: {signed}, dead letters: {died}"
                )
        await self._account_for(unsettled, states, tally)

    def _key_to_verify(self, stored: StoredSignature) -> PublicKey | None:
        """Returns the key of a signature over the present payload, if only its validity is left to be found; else None."""
        key, time = self._under.get(lease := (stored.key_no, stored.epoch), _UNKNOWN)
        if time != stored.signed_at:
            leases = self._commits.get(lease, ())
            if len(leases) != 1 or not leases[0].covers(stored.signed_at):
                return None
            key = self._plain_key(stored.key_no)
            self._under[lease] = key, stored.signed_at
        return key

    def _plain_key(self, key_no: int) -> PublicKey | None:
        """Returns a key, unless more is to be said of its signatures than whether they are valid."""
        if key_no not in self._plain_keys:
            key = self._keys.get(key_no)
            plain = key is not None and self._jws is None and key_no not in self._job.revoked_at
            self._plain_keys[key_no] = key.usable() if key and plain else None
        return self._plain_keys[key_no]

    def _verify(self, plain: PlainSignatures[Plain], tally: Tally) -> None:
        """Verifies signatures together; what is to be said of an invalid one, `_judge` says."""
        valid, invalid = plain.verify()
        tally.add(Count.VALID, valid)
        for record, stored, payload in invalid:
            self._judge(str(record), stored, payload, tally)

    def _judge(self, record: str, stored: StoredSignature, present: bytes | Absence, tally: Tally) -> None:
        key = self._keys.get(stored.key_no)
        verdict = judge(stored, JwsKey(key, self._jws, record) if key and self._jws else key, present)
        if revoked_at := self._job.revoked_at.get(stored.key_no):
            tally.by_key[stored.key_no] += 1
            if key is not None and stored.signed_at > revoked_at:
                reason = f"it was signed at {stored.signed_at.isoformat()} under {key.key_id}, revoked at {revoked_at.isoformat()}"
                tally.find(AuditFinding.AFTER_REVOCATION, record, reason)
        match verdict.outcome:
            case Outcome.VALID:
                tally.add(Count.VALID)
                if stored.key_no in self._job.revoked_at:
                    tally.add(Count.REVOKED)
            case Outcome.INVALID:
                tally.find(AuditFinding.INVALID, record, verdict.reason)
            case Outcome.CHANGED:
                tally.find(AuditFinding.CHANGED, record, verdict.reason)
                if present is Absence.DELETED:
                    tally.add(Count.DELETED)

    async def _dead_letters(self, ids: Sequence[RecordId]) -> dict[str, int]:
        dead: dict[str, int] = {}
        if not self._has_dead:
            return dead
        rows = await self._connection.fetch(
            query("audit_dead_letters"), self._job.job_no, [str(i) for i in ids]
        )
        asked = {str(i) for i in ids}
        for row in rows:
            if row["record_id"] in asked:
                dead[row["record_id"]] = dead.get(row["record_id"], 0) + 1
        return dead

    async def _account_for(
        self, unsettled: Sequence[RecordId], states: dict[RecordId, str], tally: Tally
    ) -> None:
        """Counts unsettled records as pending if their batch, a part or a retry of it is pending, else as missing."""
        settled_batches = [record for record in unsettled if states[record] != "pending"]
        waiting: set[RecordId] = set()
        if settled_batches:
            rows = await self._connection.fetch(self._sql("audit_pending"), self._job.job_no, settled_batches)
            waiting = {row["id"] for row in rows}
        for record in unsettled:
            if states[record] == "pending" or record in waiting:
                tally.find(AuditFinding.PENDING, str(record), "its batch is still to be signed")
            else:
                tally.find(
                    AuditFinding.MISSING,
                    str(record),
                    f"its batch is {states[record]}, but it has neither a signature nor a dead letter",
                )

    async def _lease_commits(
        self, keys_and_epochs: Iterable[tuple[int, int]]
    ) -> dict[tuple[int, int], list[CommittedLease]]:
        used = sorted(set(keys_and_epochs))
        commits: dict[tuple[int, int], list[CommittedLease]] = {}
        for row in await self._connection.fetch(
            query("audit_committed_leases"), [key_no for key_no, _ in used], [epoch for _, epoch in used]
        ):
            commits.setdefault((row["key_no"], row["epoch"]), []).append(CommittedLease.of(row))
        return commits

    def _sql(self, name: str) -> str:
        return job_query(name, self._job)


def _digests(portion: Sequence[tuple[RecordId, bytes | Absence]]) -> list[bytes]:
    """Returns the SHA-256 of each payload; of one that is absent, nothing that a signature can have been made over."""
    digests = iter(digests_of([present for _, present in portion if isinstance(present, bytes)]))
    return [next(digests) if isinstance(present, bytes) else b"" for _, present in portion]


@asynccontextmanager
async def open_checker(hello: Mapping[str, Any]) -> AsyncIterator[Checker]:
    """Yields a checker on connections of its own, as the first message to a verifying process describes them."""
    snapshot = hello["snapshot"]
    sources = SourceDatabase.of(hello["database_url"], hello["source_url"])
    async with (
        open_snapshot(hello["database_url"], role="verify", snapshot=snapshot) as connection,
        open_source_snapshot(
            sources, place=Place(*hello["place"]), role="verify", snapshot=snapshot
        ) as reading,
    ):
        yield await Checker.open(connection, reading, Assignment.load(hello["assignment"]))


async def read_keys(connection: Connection, job_no: int, algorithm: Algorithm) -> dict[int, AuditKey]:
    """Returns a job's public keys by key number; `algorithm` is the job's."""
    return {
        row["key_no"]: AuditKey(
            key_id=row["key_id"],
            algorithm=row["algorithm"],
            public_key=row["public_key"],
            state=row["state"],
            wanted=algorithm,
        )
        for row in await connection.fetch(query("audit_keys"), job_no)
    }
