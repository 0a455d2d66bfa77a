"""Verifies a whole job: every record is accounted for, every signature is valid, no leases of a key overlap."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from vaultstream.api import SignatureForm
from vaultstream.audit.checks.checker import Assignment, read_keys
from vaultstream.audit.checks.coverage import Totals, check_coverage
from vaultstream.audit.checks.judgement import aware
from vaultstream.audit.checks.leases import check_leases
from vaultstream.audit.checks.payloads import open_audited_source, pinned, unchanged
from vaultstream.audit.checks.pinned_keys import PinnedKeys, check_pinned
from vaultstream.audit.checks.source_rows import count_rows_since, find_uncovered, relieve, source_ranges
from vaultstream.audit.checks.statements import check_batches
from vaultstream.audit.exports.formats import rfc3339
from vaultstream.audit.pool import Run, check_runs
from vaultstream.audit.report import AuditFinding, AuditReport, Count, RevokedKey, Tally
from vaultstream.audit.seals.kept_copies import read_kept_copies
from vaultstream.audit.seals.lost_jobs import explain_unknown
from vaultstream.audit.seals.seal_trust import SealTrust
from vaultstream.audit.seals.sealed import SealCheck
from vaultstream.audit.snapshot import export_snapshot, open_snapshot, open_source_snapshot
from vaultstream.cores import usable_cores
from vaultstream.crypto.revocations import Revocations
from vaultstream.plurals import counted
from vaultstream.store.database import connect
from vaultstream.store.jobs import Job, find_job
from vaultstream.store.source_login import SourceDatabase, find_place
from vaultstream.store.sql import query

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    import asyncpg

    from vaultstream.store.database import Connection

OnChecked = Callable[[int, int], None]
"""Called with the number of records checked so far and the total."""

MAX_RUN_RECORDS = 16384
MIN_RUN_RECORDS = 250
RUNS_A_PROCESS = 5
"""Runs per process: enough for the processes to end at about the same time, and few, so that a run has many signatures by each key."""

_FIRST, _LAST = -(2**63), 2**63 - 1
"""Every number of a batch is between these."""


async def verify_job(
    database_url: str,
    job_name: str,
    *,
    source_url: str | None = None,
    processes: int | None = None,
    progress: OnChecked | None = None,
    revocations: Revocations | None = None,
    pinned_keys: PinnedKeys | None = None,
    compare_source: bool = False,
    seal_trust: SealTrust | None = None,
) -> AuditReport:
    """Verifies a job in one snapshot of the database, on several cores.

    Args:
        database_url: the database.
        job_name: the job's name or token.
        source_url: the same database under the login by which records are read; see `SourceDatabase`.
        processes: how many processes verify; None: one per core.
        progress: called after each run of batches.
        revocations: keys to take for revoked even if the database does not, because it may be a restored backup.
        pinned_keys: the keys that may have signed; None: those that the database has.
        compare_source: whether rows of the source that no batch covers are searched for.
        seal_trust: what seals are verified with; None: no key and no checkpoint.

    Raises:
        UnknownJobError: there is no such job.
        AuditError: it was sealed and is gone, or not each signature was judged once.
        UsageError: records are not read by this login.
        SourceError: the source or its schema was altered meanwhile.
        DatabaseError: the connection to Postgres was lost.
    """
    began = time.monotonic()
    sources, trust = SourceDatabase.of(database_url, source_url), seal_trust or SealTrust()
    copies = await asyncio.to_thread(read_kept_copies, trust.folder, job_name)  # before the snapshot
    async with open_snapshot(database_url, role="verify") as connection, AsyncExitStack() as stack:
        snapshot = await export_snapshot(connection)
        place = await find_place(connection)
        job = await pinned(connection, await _find_job(connection, job_name, trust))
        reading = await stack.enter_async_context(
            open_source_snapshot(sources, place=place, role="verify", snapshot=snapshot)
        )
        watching = await stack.enter_async_context(connect(database_url, role="verify"))
        source, obstacle = await open_audited_source(reading, watching, job)
        processes = processes or usable_cores()
        compare_source = compare_source and source is not None
        runs = await _plan_runs(connection, job, processes, compare_source=compare_source)
        keys = await connection.fetch(query("audit_keys"), job.job_no)
        revoked_at = _revoked_at(keys, revocations or Revocations())
        assignment = Assignment(
            job_no=job.job_no,
            id_type=job.id_type,
            algorithm=job.spec.keys.algorithm,
            max_payload_bytes=job.spec.records.max_payload_bytes,
            token=job.token,
            jws=job.spec.signature.format is SignatureForm.JWS,
            source=source,
            revoked_at=revoked_at,
        )
        hello = {
            "database_url": database_url,
            "source_url": source_url,
            "place": place,
            "snapshot": snapshot,
            "assignment": assignment.dump(),
        }
        async with unchanged(watching, source):
            advance = _counter(sum(run.records for run in runs), progress)
            tally = await check_runs(
                hello, runs, processes=processes, advance=advance, relieve=partial(relieve, connection, job)
            )
        tally.require_judged()
        await check_leases(connection, job, tally)
        totals = await Totals.read(connection, job)
        await check_coverage(connection, job, tally, totals)
        stated = await connection.fetchval(query("audit_is_stated"), job.job_no) is True
        await check_batches(connection, job, tally, totals, stated=stated)
        if pinned_keys is not None:
            public = await read_keys(connection, job.job_no, job.spec.keys.algorithm)
            await check_pinned(connection, job, public, pinned_keys, tally)
        added_since = None
        if compare_source and source is not None:
            await find_uncovered(connection, job, tally)
            added_since = await count_rows_since(reading, source, job)
        seals = SealCheck(
            connection,
            job,
            trust,
            tally,
            totals=totals,
            settled=job.planned and not tally.counts[AuditFinding.PENDING],
            copies=copies,
        )
        seal = await seals.run()
    return AuditReport.of(
        tally,
        planned=job.planned,
        job=job.name,
        token=job.token,
        algorithm=str(job.spec.keys.algorithm),
        notes=(*_notes(obstacle, tally, stated=stated), *seals.notes),
        seconds=time.monotonic() - began,
        processes=min(processes, len(runs)),
        revoked_keys=_revoked_keys(keys, revoked_at, tally),
        added_since=added_since,
        seal=seal,
    )


async def _find_job(connection: Connection, name: str, trust: SealTrust) -> Job:
    job = await find_job(connection, name)
    if job is None:
        raise await explain_unknown(connection, name, trust)
    return job


def _notes(obstacle: str | None, tally: Tally, *, stated: bool) -> Iterator[str]:
    """Yields what limits a report."""
    if obstacle:
        yield obstacle
    if not stated:
        number = tally.counts[Count.BEFORE_STATEMENTS]
        have = counted(number, "batch has signatures", "batches have signatures")
        yield (
            f"The job is from before there were statements: none proves that it is complete. {have} and no statement; nothing proves "
            "their ids, their order, their times and their number of records."
        )


def _revoked_at(keys: Sequence[asyncpg.Record], revocations: Revocations) -> dict[int, datetime]:
    """Returns when each revoked key was revoked, by key number: the earlier of what the database and the file say."""
    found = {}
    for key in keys:
        times = [aware(key["ended_at"])] if key["state"] == "revoked" and key["ended_at"] else []
        if revocation := revocations.find(key["key_id"], key["public_key"]):
            times.append(revocation.revoked_at)
        if times:
            found[key["key_no"]] = min(times)
    return found


def _revoked_keys(
    keys: Sequence[asyncpg.Record], revoked_at: dict[int, datetime], tally: Tally
) -> tuple[RevokedKey, ...]:
    ids = {key["key_no"]: key["key_id"] for key in keys}
    found = (
        RevokedKey(ids[key_no], rfc3339(revoked_at[key_no]), signatures)
        for key_no, signatures in tally.by_key.items()
    )
    return tuple(sorted(found, key=lambda key: key.key_id))


def _counter(total: int, progress: OnChecked | None) -> Callable[[Run], None]:
    done = 0

    def advance(run: Run) -> None:
        nonlocal done
        done += run.records
        if progress is not None:
            progress(done, total)

    if progress is not None:
        progress(0, total)
    return advance


async def _plan_runs(connection: Connection, job: Job, processes: int, *, compare_source: bool) -> list[Run]:
    records = await connection.fetchval(query("audit_count_planned"), job.job_no)
    size = min(MAX_RUN_RECORDS, max(MIN_RUN_RECORDS, int(records) // (processes * RUNS_A_PROCESS)))
    rows = await connection.fetch(query("audit_chunks"), job.job_no, size)
    # Parts and retries have numbers between and after those of planned batches: the runs leave out no number.
    lasts = [*(row["last"] for row in rows[:-1]), _LAST]
    firsts = [_FIRST, *(last + 1 for last in lasts[:-1])]
    records = [row["records"] for row in rows] or [0]
    runs = [Run(*run) for run in zip(firsts, lasts, records, strict=True)]
    if not compare_source:
        return runs
    ranges = await source_ranges(connection, job, lasts[:-1])
    return [replace(run, rows=rows_of) for run, rows_of in zip(runs, ranges, strict=True)]
