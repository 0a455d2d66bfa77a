"""Checks the statements of a job's batches against its rows: one for each batch, by its key, about what is there."""

from __future__ import annotations

from contextlib import suppress
from hashlib import sha256
from typing import TYPE_CHECKING

from vaultstream.api import Algorithm
from vaultstream.audit.checks.judgement import stored_signature
from vaultstream.audit.checks.plain_signatures import PlainSignatures
from vaultstream.audit.checks.queries import job_query
from vaultstream.audit.checks.stated import RecordRow, StoredStatement, judge_statement
from vaultstream.audit.report import MAX_EXAMPLES, AuditFinding, Count, Tally
from vaultstream.errors import ProofError
from vaultstream.proof.dsse import StatementEnvelope
from vaultstream.proof.merkle import leaf_hash
from vaultstream.proof.statement import signed_bytes
from vaultstream.store.batches import listed_ids
from vaultstream.store.sql import query

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from vaultstream.audit.checks.checker import Assignment
    from vaultstream.audit.checks.coverage import Totals
    from vaultstream.audit.checks.judgement import AuditKey
    from vaultstream.store.database import Connection
    from vaultstream.store.jobs import Job

STATED_RECORDS = 16384
"""Records read at a time, unless one batch has more."""


async def read_statements(
    connection: Connection, job: Assignment, batches: tuple[int, int]
) -> list[StoredStatement]:
    """Returns the statements of a run of batches, planned or not, in the order of their numbers.

    Args:
        connection: in the transaction with the snapshot.
        job: the job.
        batches: the first and the last number.
    """
    rows = await connection.fetch(query("audit_statements"), job.job_no, *batches)
    return [StoredStatement(*row) for row in rows]


async def check_statements(
    connection: Connection,
    job: Assignment,
    keys: dict[int, AuditKey],
    statements: Iterable[StoredStatement],
    tally: Tally,
    *,
    known: Mapping[int, list[RecordRow]],
) -> None:
    """Checks statements against the rows that are there.

    Args:
        connection: in the transaction with the snapshot.
        job: the job.
        keys: its keys, by their numbers.
        statements: in the order of their batches' numbers.
        tally: the findings are added to it.
        known: the signatures of the records of batches that were read already, by their numbers.
    """
    waiting: list[StoredStatement] = []
    records = 0
    before = None
    for stored in statements:
        if stored.batch_no == before:  # counted again, it would make up for a signature without a statement
            reason = f"batch {before} has more than one row, statement or lease that was committed"
            tally.find(AuditFinding.BAD_STATEMENTS, None, reason)
            continue
        before = stored.batch_no
        waiting.append(stored)
        records += stored.records
        if records >= STATED_RECORDS:
            await _check(connection, job, keys, waiting, tally, known=known)
            waiting, records = [], 0
    await _check(connection, job, keys, waiting, tally, known=known)


async def _check(
    connection: Connection,
    job: Assignment,
    keys: dict[int, AuditKey],
    batches: Sequence[StoredStatement],
    tally: Tally,
    *,
    known: Mapping[int, list[RecordRow]],
) -> None:
    unknown = [each.batch_no for each in batches if each.batch_no not in known]
    of_batch = {**known, **await _read(connection, job, unknown)} if unknown else known
    verified = verified_statements(batches, keys, Algorithm(job.algorithm))
    for stored in batches:
        key = keys.get(stored.key_no)
        found = judge_statement(
            stored,
            of_batch[stored.batch_no],
            key,
            job_token=job.token,
            algorithm=job.algorithm,
            verified=stored.batch_no in verified,
        )
        with suppress(ProofError):  # it is no statement, and was found
            data = found.data or StatementEnvelope(stored.body or "", stored.signature or b"").data
            tally.stated[stored.batch_no] = leaf_hash(data).hex()
        tally.add(Count.STATED, found.records)
        tally.add(Count.STATEMENTS, not found.faults)
        for fault in found.faults:
            tally.find(fault.kind, fault.record, fault.reason, number=fault.number)


def verified_statements(
    batches: Sequence[StoredStatement], keys: Mapping[int, AuditKey], algorithm: Algorithm
) -> set[int]:
    """Returns the batches whose keys have signed their statements: verified together, they cost less. Each other one is verified alone."""
    plain = PlainSignatures[int](algorithm)
    tried = set()
    for stored in batches:
        key = keys.get(stored.key_no)
        if (usable := key.usable() if key else None) and stored.body is not None and stored.signature:
            signed = signed_bytes(stored.body)
            digest = sha256(signed).digest()
            plain.add(stored.key_no, usable, stored.batch_no, stored.signature, digest, payload=signed)
            tried.add(stored.batch_no)
    _, invalid = plain.verify()
    return tried.difference(invalid)


async def _read(
    connection: Connection, job: Assignment, batches: Sequence[int]
) -> dict[int, list[RecordRow]]:
    covered = await connection.fetch(job_query("audit_covered_by", job), job.job_no, batches)
    rows: dict[object, list[RecordRow]] = {}
    ids = listed_ids([each["id"] for each in covered], job.id_type)
    for row in await connection.fetch(job_query("audit_signatures", job), ids):
        rows.setdefault(row["record_id"], []).append((row["record_id"], stored_signature(row)))
    of_batch: dict[int, list[RecordRow]] = {batch: [] for batch in batches}
    for each in covered:
        of_batch[each["batch_no"]] += rows.get(each["id"], ())
    return of_batch


async def check_batches(
    connection: Connection, job: Job, tally: Tally, totals: Totals, *, stated: bool
) -> None:
    """Finds signatures under no statement, batches that are gone, and rows of batches that stand for nothing.

    Args:
        connection: in the transaction with the snapshot.
        job: the job.
        tally: of all its batches; the findings are added to it.
        totals: what the job has.
        stated: whether each batch with a signature must have a statement.
    """
    unstated = await _signatures_alone(connection, job, tally, totals)
    if stated:
        unstated |= {
            row["batch_no"] for row in await connection.fetch(query("audit_unstated_batches"), job.job_no)
        }
        for batch in sorted(unstated):
            tally.find(AuditFinding.UNSTATED, None, f"batch {batch} has no statement of its key")
        for row in await connection.fetch(job_query("audit_unaccounted_batches", job), job.job_no):
            if row["first"] not in unstated:
                reason = f"batch {row['first']} has no statement, and not all of its records are dead letters"
                tally.find(AuditFinding.MISSING_BATCHES, None, reason)
    else:
        tally.add(Count.BEFORE_STATEMENTS, len(unstated))
    for name, sentence in _ROWS_OF_BATCHES:
        rows = await connection.fetch(job_query(name, job), job.job_no, MAX_EXAMPLES)
        for row in rows:
            tally.find(AuditFinding.MISSING_BATCHES, None, sentence.format(**row), number=0)
        if rows:
            tally.add(AuditFinding.MISSING_BATCHES, int(rows[0]["total"]))


async def _signatures_alone(connection: Connection, job: Job, tally: Tally, totals: Totals) -> set[int]:
    """Finds what is under no statement; returns the batches that have such signatures because they have no statement.

    A signature is under one statement at most. If all are under one, their numbers are the same, and the search is skipped.
    """
    if totals.signatures == tally.counts[Count.STATED]:
        return set()
    unstated = set()
    for row in await connection.fetch(job_query("audit_unstated_signatures", job), job.job_no, MAX_EXAMPLES):
        batch = row["batch_no"]
        if batch is not None and not row["stated"]:
            unstated.add(batch)
            continue
        where = (
            "no batch covers it" if batch is None else f"it is in batch {batch}, and not under its statement"
        )
        for record in row["records"]:
            tally.find(AuditFinding.ADDED, record, where, number=0)
        tally.add(AuditFinding.ADDED, row["signatures"])
    return unstated


_ROWS_OF_BATCHES = (
    ("audit_missing_batches", "the batches from number {first} to {last} are gone"),
    ("audit_stray_statements", "batch {first} has a statement of its key, but is not settled"),
    ("audit_empty_batches", "batch {first} has no records, or not as many as its row says"),
    ("audit_undivided_batches", "batch {first} is split, and no parts of its own cover its records"),
)
"""Queries for rows of batches that are gone or can't be, and the sentence for each row."""
