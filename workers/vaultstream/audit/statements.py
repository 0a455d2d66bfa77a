"""Checks the statements of a job's batches against its rows: one for each batch, by its key, about what is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaultstream.audit.judgement import stored_signature
from vaultstream.audit.queries import job_query
from vaultstream.audit.report import MAX_EXAMPLES, AuditFinding, Count, Tally
from vaultstream.audit.stated import RecordRow, StoredStatement, judge_statement
from vaultstream.store.sql import query

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vaultstream.audit.checker import Assignment
    from vaultstream.audit.judgement import AuditKey
    from vaultstream.store.database import Connection
    from vaultstream.store.jobs import Job

STATED_RECORDS = 2000
"""Records read at a time, unless one batch has more."""


async def check_statements(
    connection: Connection, job: Assignment, keys: dict[int, AuditKey], batches: tuple[int, int], tally: Tally
) -> None:
    """Checks the settled batches from the first to the last of these numbers, planned or not; adds to the tally."""
    waiting: list[StoredStatement] = []
    records = 0
    for row in await connection.fetch(query("audit_statements"), job.job_no, *batches):
        stored = StoredStatement(**dict(row))
        if stored.body is None:
            _without(stored, job, tally)
            continue
        waiting.append(stored)
        records += stored.signed
        if records >= STATED_RECORDS:
            await _check(connection, job, keys, waiting, tally)
            waiting, records = [], 0
    await _check(connection, job, keys, waiting, tally)


def _without(stored: StoredStatement, job: Assignment, tally: Tally) -> None:
    if not stored.signed:
        return
    if job.stated:
        tally.find(AuditFinding.UNSTATED, None, f"batch {stored.batch_no} has no statement of its key")
    else:
        tally.add(Count.BEFORE_STATEMENTS)


async def _check(
    connection: Connection,
    job: Assignment,
    keys: dict[int, AuditKey],
    batches: Sequence[StoredStatement],
    tally: Tally,
) -> None:
    if not batches:
        return
    covered = await connection.fetch(
        job_query("audit_covered_by", job), job.job_no, [each.batch_no for each in batches]
    )
    rows: dict[object, list[RecordRow]] = {}
    for row in await connection.fetch(job_query("audit_signatures", job), [each["id"] for each in covered]):
        rows.setdefault(row["record_id"], []).append((row["record_id"], stored_signature(row)))
    of_batch: dict[int, list[RecordRow]] = {each.batch_no: [] for each in batches}
    for each in covered:
        of_batch[each["batch_no"]] += rows.get(each["id"], ())
    for stored in batches:
        key = keys.get(stored.key_no or 0)
        found = judge_statement(
            stored, of_batch[stored.batch_no], key, job_token=job.token, algorithm=job.algorithm
        )
        tally.add(Count.STATED, found.records)
        tally.add(Count.STATEMENTS, not found.faults)
        for fault in found.faults:
            tally.find(fault.kind, fault.record, fault.reason, number=fault.number)


async def check_batches(connection: Connection, job: Job, tally: Tally) -> None:
    """Finds batches that are gone, and statements of batches that are not settled."""
    for name, sentence in (
        ("audit_missing_batches", "the batches from number {first} to {last} are gone"),
        ("audit_stray_statements", "batch {first} has a statement of its key, but is not settled"),
    ):
        rows = await connection.fetch(query(name), job.job_no, MAX_EXAMPLES)
        for row in rows:
            tally.find(AuditFinding.MISSING_BATCHES, None, sentence.format(**row), number=0)
        if rows:
            tally.add(AuditFinding.MISSING_BATCHES, int(rows[0]["total"]))
