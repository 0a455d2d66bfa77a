"""Compares what a batch's key stated with the rows that are there now, purely, and names what was done to them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from itertools import combinations, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from vaultstream.audit.report import AuditFinding
from vaultstream.crypto.batch_signer import root
from vaultstream.crypto.low_s import low_s
from vaultstream.errors import CustodyError
from vaultstream.proof.dsse import envelope_data
from vaultstream.proof.statement import BatchStatement, signed_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from vaultstream.audit.checks.judgement import AuditKey, StoredSignature

_ALL_PAIRS = 64
_NEIGHBORS = 1024
"""Up to so many records of a batch, all pairs are tried for a swap, or all neighbors; it takes up to half a second."""


class Fault(NamedTuple):
    """A finding about a batch, or about one of its records."""

    kind: AuditFinding
    record: str | None
    reason: str
    number: int = 1


@dataclass(frozen=True)
class StoredStatement:
    """A batch and its row of the statements."""

    batch_no: int
    records: int
    """As many as the batch's row says."""
    signed: int
    """As many as the batch's row says."""
    key_no: int
    epoch: int
    body: str | None
    signature: bytes | None
    holder: str | None
    """Of the committed lease with this key and epoch; None: there is none."""


RecordRow = tuple[Any, "StoredSignature"]
"""A record's id and its signature."""


class StatedBatch(NamedTuple):
    """What is known of a batch with a statement."""

    records: int
    """Its records that are under the statement."""
    faults: list[Fault]
    data: bytes | None = None
    """The envelope of the statement, if that is genuine."""


def judge_statement(
    stored: StoredStatement,
    rows: Iterable[RecordRow],
    key: AuditKey | None,
    *,
    job_token: str,
    algorithm: str,
    verified: bool = False,
) -> StatedBatch:
    """Returns what differs between a batch's statement and its rows.

    Args:
        stored: a batch that has a statement.
        rows: the signatures of the records that the batch covers, under whatever lease.
        key: the key that the statement's row names; None: the job has no such key.
        job_token: the job's.
        algorithm: the job's.
        verified: whether the key is known to have signed the statement; if not, its signature is verified.
    """
    where = f"batch {stored.batch_no}"
    own = sorted(
        ((i, row) for i, row in rows if (row.key_no, row.epoch) == (stored.key_no, stored.epoch)),
        key=lambda row: row[0],
    )
    try:
        statement = genuine_statement(
            stored, key, job_token=job_token, algorithm=algorithm, verified=verified
        )
    except ValueError as error:
        fault = Fault(AuditFinding.BAD_STATEMENTS, None, f"the statement of {where} {error}")
        return StatedBatch(len(own), [fault])
    faults = []
    if len(own) < statement.count:
        reason = f"{where}: its key signed {statement.count} records, and {len(own)} of them are there"
        faults.append(Fault(AuditFinding.DROPPED, None, reason, statement.count - len(own)))
    elif len(own) > statement.count:
        reason = f"{where}: its key signed {statement.count} records, and {len(own)} are there"
        faults.append(Fault(AuditFinding.ADDED, None, reason, len(own) - statement.count))
    elif _root(own) != statement.root:
        faults.append(_explain(where, own, statement))
    elif _ends(own) != (statement.first_id, statement.last_id):
        first, last = _ends(own)
        reason = (
            f"the statement of {where} says that its records go from {statement.first_id!r} to {statement.last_id!r}, "
            f"and its root is that of those from {first!r} to {last!r}"
        )
        faults.append(Fault(AuditFinding.BAD_STATEMENTS, None, reason))
    stated_at = statement.signed_at.isoformat()
    faults += (
        Fault(
            AuditFinding.RETIMED,
            str(i),
            f"its time is {row.signed_at.isoformat()}, and the statement of {where} says {stated_at}",
        )
        for i, row in own
        if row.signed_at != statement.signed_at
    )
    if not faults and stored.signed != statement.count:
        reason = f"{where}: its row says that {stored.signed} records were signed, and its key signed {statement.count}"
        faults.append(Fault(AuditFinding.ALTERED, None, reason))
    data = envelope_data(stored.body or "", stored.signature or b"", statement.key_id)
    return StatedBatch(len(own), faults, data)


def genuine_statement(
    stored: StoredStatement, key: AuditKey | None, *, job_token: str, algorithm: str, verified: bool
) -> BatchStatement:
    """Returns the statement, if it is by the batch's key and about the batch. The arguments are those of `judge_statement`.

    Raises:
        ValueError: it is not; the message continues "the statement of batch 1".
    """
    body, signature = stored.body or "", stored.signature or b""
    if key is None:
        raise ValueError(f"names key number {stored.key_no}, which does not belong to the job")
    signed = signed_bytes(body)
    try:
        if not verified and not key.verify(signature, digest=sha256(signed).digest(), payload=signed):
            raise ValueError(f"is not signed by key {key.key_id}")
    except CustodyError as error:
        raise ValueError(f"can't be checked: the public key of {key.key_id}: {error.message}") from None
    try:
        statement = BatchStatement.parse(body)
    except ValueError as error:
        raise ValueError(f"has another form: {error}") from None
    for name, said, known in (
        ("job", statement.job_token, job_token),
        ("batch", statement.batch, stored.batch_no),
        ("key", statement.key_id, key.key_id),
        ("epoch", statement.epoch, stored.epoch),
        ("algorithm", statement.algorithm, algorithm),
        ("holder", statement.holder, stored.holder or statement.holder),
    ):
        if said != known:
            raise ValueError(f"is about the {name} {said!r} and not {known!r}")
    return statement


def _explain(where: str, own: Sequence[RecordRow], statement: BatchStatement) -> Fault:
    """Names what was done to a batch that has as many records as its key signed, but not those."""
    ends = _ends(own)
    if ends != (statement.first_id, statement.last_id):
        reason = (
            f"{where}: its records go from {ends[0]!r} to {ends[1]!r}, and its key signed those from "
            f"{statement.first_id!r} to {statement.last_id!r}"
        )
        return Fault(AuditFinding.MOVED, None, reason)
    if statement.algorithm.startswith("ECDSA") and _root(list(_in_low_s(own))) == statement.root:
        return Fault(AuditFinding.ALTERED, None, f"{where}: signatures are in another form than was signed")
    for one, other in _pairs(len(own)):
        swapped = list(own)
        swapped[one], swapped[other] = (own[one][0], own[other][1]), (own[other][0], own[one][1])
        if _root(swapped) == statement.root:
            reason = f"{where}: this record and {str(own[other][0])!r} have each other's digest and signature"
            return Fault(AuditFinding.SWAPPED, str(own[one][0]), reason)
    return Fault(
        AuditFinding.ALTERED,
        None,
        f"{where}: its records, as many as its key signed, are others, or have other ids, digests or signatures",
    )


def _ends(rows: Sequence[RecordRow]) -> tuple[str, str]:
    return (str(rows[0][0]), str(rows[-1][0])) if rows else ("", "")


def _root(rows: Sequence[RecordRow]) -> bytes:
    return root(
        [i for i, _ in rows],
        [row.digest for _, row in rows],
        [row.signature for _, row in rows],
    )


def _in_low_s(rows: Sequence[RecordRow]) -> Iterator[RecordRow]:
    for i, row in rows:
        try:
            yield i, row._replace(signature=low_s(row.signature))
        except (IndexError, ValueError, OverflowError):  # no DER
            yield i, row


def _pairs(count: int) -> Iterator[tuple[int, int]]:
    if count <= _ALL_PAIRS:
        return combinations(range(count), 2)
    return pairwise(range(count if count <= _NEIGHBORS else 0))
