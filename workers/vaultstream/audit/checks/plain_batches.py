"""Settles batches in which nothing is odd, without a step of Python for each record.

Signatures and payloads are read by COPY in binary form, and one call of the native extension checks a run of batches: digests, keys, epochs,
times, signatures and the roots that the keys have stated. The answer is yes or no. A batch for which it is no is checked record by
record (`vaultstream.audit.checks.checker`), which names what is wrong. So are jobs of other algorithms, of other ids than integers, and
whose payloads Python has to finish.
"""

from __future__ import annotations

import logging
import re
from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import accumulate, pairwise
from operator import lt
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from vaultstream.api import Algorithm
from vaultstream.audit.checks.payloads import SMALL_BYTES
from vaultstream.audit.checks.stated import genuine_statement
from vaultstream.audit.checks.statements import verified_statements
from vaultstream.audit.report import Count, Tally
from vaultstream.crypto.multibuffer import multibuffer
from vaultstream.proof.dsse import envelope_data
from vaultstream.proof.merkle import leaf_hash
from vaultstream.store.source_errors import errors_of_source
from vaultstream.store.sql import query

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vaultstream.audit.checks.checker import Assignment
    from vaultstream.audit.checks.judgement import AuditKey, CommittedLease
    from vaultstream.audit.checks.queries import RecordId
    from vaultstream.audit.checks.source_rows import SourceRange
    from vaultstream.audit.checks.stated import StoredStatement
    from vaultstream.crypto.multibuffer import Multibuffer
    from vaultstream.proof.planned import PlannedBatch
    from vaultstream.proof.statement import BatchStatement
    from vaultstream.records.source import Source
    from vaultstream.store.database import Connection

COPIED_RECORDS = 4096
"""Payloads of so many records are read at a time, up to 16 MiB."""
MOST_RECORDS = 1 << 16
"""Records of a batch, and dead letters of a job: more are not looked at together."""

_STATED = Struct("=IiiqI32s")
"""A batch as the extension takes it: the number of its records, key_no, epoch, signed_at, the place of its key, the root."""
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
"""From here, Postgres counts microseconds."""

_INTEGER = re.compile("-?[0-9]{1,20}")

_log = logging.getLogger(__name__)


class CoveredBatch(NamedTuple):
    """A planned batch, the ids that it covers, and its state."""

    batch: PlannedBatch
    ids: Sequence[RecordId]
    state: str


class _Candidate(NamedTuple):
    number: int
    ids: Sequence[int]
    stored: StoredStatement
    statement: BatchStatement


class PlainBatches:
    """Settles batches of one job. `PlainBatches.of` says whether it can."""

    def __init__(
        self,
        native: Multibuffer,
        connections: tuple[Connection, Connection],
        job: Assignment,
        source: Source,
        keys: Mapping[int, AuditKey],
    ) -> None:
        self._native = native
        self._connection, self._reading = connections
        self._job = job
        self._source = source
        self._keys = keys
        self._points: dict[int, bytes | None] = {}
        self._dead: list[int] | None = None
        self._dead_is_whole = True

    @classmethod
    def of(
        cls, connections: tuple[Connection, Connection], job: Assignment, keys: Mapping[int, AuditKey]
    ) -> PlainBatches | None:
        """Returns one for a job; None: each of its records is checked by itself.

        Args:
            connections: one of ours and a source connection, both in a transaction with the snapshot.
            job: the job.
            keys: its keys, by their numbers.
        """
        native, source = multibuffer(), job.source
        if native is None or source is None or source.unfinished or job.jws:
            return None
        if job.id_type != "bigint" or job.algorithm != Algorithm.ECDSA_P256_SHA256:
            return None
        return cls(native, connections, job, source, keys)

    async def settle(
        self,
        batches: Sequence[CoveredBatch],
        statements: Sequence[StoredStatement],
        commits: Mapping[tuple[int, int], Sequence[CommittedLease]],
        tally: Tally,
    ) -> set[int]:
        """Counts the batches in which all is as it should be, and returns their numbers.

        Args:
            batches: planned ones, in the order of their numbers.
            statements: those of the batches, and others.
            commits: the committed leases of the statements' keys, by key and epoch.
            tally: what was counted is added to it. Of other batches, nothing is.
        """
        found = [*await self._candidates(batches, statements, commits)] if are_apart(batches) else []
        if not found:
            return set()
        ids = array("q")
        for each in found:
            ids.extend(each.ids)
        digests, without = await self._payloads(ids)
        plain = await self._audited(found, ids, digests)
        starts = [0, *accumulate(len(each.ids) for each in found)]
        place = without.find(1)
        while place >= 0:
            batch = bisect_right(starts, place) - 1
            plain[batch] = 0
            place = without.find(1, starts[batch + 1])
        settled = set()
        for each, is_plain in zip(found, plain, strict=True):
            if is_plain:
                settled.add(each.number)
                _count(each, tally)
        return settled

    async def is_covered(self, rows_of: SourceRange, batches: Sequence[CoveredBatch]) -> bool:
        """Returns whether each row of a range of the source is a record of these batches; False: not, or it can't tell."""
        ends_known = all(_INTEGER.fullmatch(each) for each in (rows_of.up_to or "", rows_of.after or "0"))
        if not ends_known or not are_apart(batches) or any(map(is_large, batches)):
            return False
        ids = array("q")
        for each in batches:
            ids.extend(each.ids)  # type: ignore[arg-type] # the job has integers
        after = "audit_from_first" if rows_of.after is None else "audit_after"
        ends = {"up_to": _literal(rows_of.up_to or "0"), "after": _literal(rows_of.after or "0")}
        within = query(after, id=self._source.id_sql, **ends)
        rows = await self._read("audit_copied_ids", within=within, limit=str(len(ids) + 1))
        return self._native.audit_known(ids.tobytes(), rows)

    async def _candidates(
        self,
        batches: Sequence[CoveredBatch],
        statements: Sequence[StoredStatement],
        commits: Mapping[tuple[int, int], Sequence[CommittedLease]],
    ) -> list[_Candidate]:
        """Returns the batches with a genuine statement about as many records, by a key that is not revoked, in its one lease."""
        if (dead := await self._dead_letters()) is None:
            return []
        rows = Counter(each.batch_no for each in statements)
        stated = {
            each.batch_no: each
            for each in statements
            if rows[each.batch_no] == 1 and self._point(each.key_no) is not None
        }
        verified = verified_statements(list(stated.values()), self._keys, Algorithm(self._job.algorithm))
        found = []
        for covered in batches:
            number = covered.batch.number
            if number not in verified or is_large(covered):
                continue
            stored = stated[number]
            try:
                statement = genuine_statement(
                    stored,
                    self._keys[stored.key_no],
                    job_token=self._job.token,
                    algorithm=self._job.algorithm,
                    verified=True,
                )
            except ValueError:
                continue
            leases = commits.get((stored.key_no, stored.epoch), ())
            ends = str(covered.ids[0]), str(covered.ids[-1])
            if (
                len(leases) == 1
                and leases[0].covers(statement.signed_at)
                and stored.signed == statement.count == len(covered.ids)
                and ends == (statement.first_id, statement.last_id)
                and bisect_left(dead, covered.ids[0]) == bisect_right(dead, covered.ids[-1])
            ):
                found.append(_Candidate(number, covered.ids, stored, statement))  # type: ignore[arg-type]
        return found

    def _point(self, key_no: int) -> bytes | None:
        """Returns a key as the extension takes it; None: more is to be said of what it has signed."""
        if key_no not in self._points:
            key = self._keys.get(key_no)
            usable = key.usable() if key and key_no not in self._job.revoked_at else None
            self._points[key_no] = (
                usable.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
                if isinstance(usable, EllipticCurvePublicKey)
                else None
            )
        return self._points[key_no]

    async def _dead_letters(self) -> list[int] | None:
        """Returns the records of all dead letters of the job in ascending order; None: there are too many."""
        if self._dead is None:
            sql = query("audit_all_dead_letters")
            rows = await self._connection.fetch(sql, self._job.job_no, MOST_RECORDS + 1)
            self._dead = sorted(int(row[0]) for row in rows if _INTEGER.fullmatch(row[0]))
            self._dead_is_whole = len(rows) <= MOST_RECORDS
        return self._dead if self._dead_is_whole else None

    async def _payloads(self, ids: array[int]) -> tuple[bytes, bytes]:
        """Returns the SHA-256 of the payload of each record, one after the other, and 1 for each one without a short payload, else 0."""
        most = str(min(SMALL_BYTES, self._job.max_payload_bytes))
        parts = []
        for start in range(0, len(ids), COPIED_RECORDS):
            part = ids[start : start + COPIED_RECORDS]
            within = _within(f"s.{self._source.id_sql}", part)
            rows = await self._read(
                "audit_copied_payloads", within=within, most=most, limit=str(2 * len(part))
            )
            parts.append(self._native.audit_payloads(part.tobytes(), rows))
        return b"".join(digests for digests, _ in parts), b"".join(without for _, without in parts)

    async def _audited(self, found: Sequence[_Candidate], ids: array[int], digests: bytes) -> bytearray:
        """Returns 1 for each plain batch, else 0."""
        sql = query(
            "audit_copied_signatures",
            signatures=self._job.signatures_table,
            within=_within("record_id", ids),
        )
        places = {key_no: at for at, key_no in enumerate(dict.fromkeys(each.stored.key_no for each in found))}
        stated = b"".join(_stated(each, places[each.stored.key_no]) for each in found)
        points = [point for key_no in places if (point := self._points[key_no])]
        rows = await _copied(self._connection, sql)
        try:
            return bytearray(self._native.audit_batches(ids.tobytes(), stated, points, digests, rows))
        except RuntimeError as error:
            _log.warning("Records are checked one by one, because the native extension failed: %s", error)
            return bytearray(len(found))

    async def _read(self, name: str, **parts: str) -> bytes:
        """Returns what a query over the source copies."""
        sql = query(
            name,
            relation=self._source.relation,
            id=self._source.id_sql,
            id_type=self._source.id_type,
            payload=self._source.payload_sql,
            **parts,
        )
        with errors_of_source(self._reading, self._source.relation):
            await self._reading.execute(query("restore_session", lift_timeouts=query("lift_timeouts")))
            return await _copied(self._reading, sql)


def is_int4(*numbers: int) -> bool:
    """Whether these are integers of 32 bits, as keys and epochs are in the tables that VaultStream made."""
    return all(-(2**31) <= number < 2**31 for number in numbers)


async def _copied(connection: Connection, sql: str) -> bytes:
    """Returns the rows of a query as COPY sends them in binary form."""
    parts = []

    async def keep(part: bytes) -> None:
        parts.append(part)

    await connection.copy_from_query(sql, output=keep, format="binary")
    return b"".join(parts)


def _within(column: str, ids: array[int]) -> str:
    """Returns the condition that an id is one of these, which ascend."""
    first, last = ids[0], ids[-1]
    if last - first + 1 == len(ids):
        return query("audit_between", column=column, first=_literal(first), last=_literal(last))
    return query("audit_among", column=column, ids=",".join(map(str, ids)))


def _literal(number: int | str) -> str:
    """Returns an integer as it stands in SQL."""
    return f"'{int(number)}'::bigint"


def are_apart(batches: Sequence[CoveredBatch]) -> bool:
    """Whether each record has a higher id than the one before, also that of another batch, so that none is in two batches."""
    if not all(each.ids for each in batches):
        return False
    apart = all(one.ids[-1] < other.ids[0] for one, other in pairwise(batches))  # type: ignore[operator]
    return apart and all(
        isinstance(each.ids, range) or all(map(lt, each.ids, each.ids[1:])) for each in batches
    )


def is_large(covered: CoveredBatch) -> bool:
    """Whether a batch has more records than are looked at together, or ids that Postgres does not have."""
    first, last = int(covered.ids[0]), int(covered.ids[-1])
    many = isinstance(covered.ids, range) and last - first >= MOST_RECORDS
    return many or not -(2**63) <= first <= last < 2**63


def _stated(each: _Candidate, place: int) -> bytes:
    microseconds = (each.statement.signed_at - _EPOCH) // timedelta(microseconds=1)
    return _STATED.pack(
        len(each.ids), each.stored.key_no, each.stored.epoch, microseconds, place, each.statement.root
    )


def _count(each: _Candidate, tally: Tally) -> None:
    """Counts a plain batch."""
    for what in (Count.RECORDS, Count.SIGNED, Count.VALID, Count.STATED):
        tally.add(what, len(each.ids))
    tally.add(Count.STATEMENTS)
    stored = each.stored
    data = envelope_data(stored.body or "", stored.signature or b"", each.statement.key_id)
    tally.stated[each.number] = leaf_hash(data).hex()
