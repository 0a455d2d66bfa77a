"""Export of a job's signatures, streamed from Postgres in the order of the records."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, BinaryIO, cast

from vaultstream.api import SignatureForm
from vaultstream.audit.checks.queries import RecordId, job_query, parse_record_id
from vaultstream.audit.exports.formats import ExportedSignature, ExportFormat, SignatureFormat, open_writer
from vaultstream.audit.snapshot import open_snapshot
from vaultstream.errors import UsageError
from vaultstream.output_file import open_output
from vaultstream.store.audit_events import record_export
from vaultstream.store.batches import listed_ids
from vaultstream.store.database import connect
from vaultstream.store.jobs import get_job
from vaultstream.visible import visible

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    import asyncpg

    from vaultstream.store.jobs import Job

log = logging.getLogger(__name__)

BATCH_ROWS = 5000
"""Signatures held in memory at a time."""

OnWritten = Callable[[int, int], None]
"""Called with the number of signatures written so far and the total."""


async def export_job(
    database_url: str,
    job_name: str,
    *,
    form: ExportFormat,
    output: Path | None,
    signature_format: SignatureFormat = SignatureFormat.DER,
    records: Sequence[str] = (),
    progress: OnWritten | None = None,
) -> int:
    """Writes a job's signatures, all as of the same moment.

    Args:
        database_url: the database.
        job_name: the job's name, or its token, which also finds a deleted job.
        form: the format of the output.
        output: the file, which has its content only when it is complete; a device or a pipe is written to; None: standard output.
        signature_format: the encoding of ECDSA signatures.
        records: ids of the records; empty: all.
        progress: called after each chunk of signatures.

    Returns:
        How many signatures were written.

    Raises:
        UnknownJobError: there is no such job.
        UsageError: one of `records` has no signature, or the file can't be created.
        OutputError: the file's disk is full or failing.
        AuditError: a stored ECDSA signature can't be encoded.
        DatabaseError: the export can't be recorded.
    """
    await recorded_export(database_url, job_name, what=form, records=records)
    async with open_snapshot(database_url, role="export") as connection:
        job = await get_job(connection, job_name)
        total = await _count(connection, job, _parsed(records, job))
        written = 0
        async with _open(output) as stream:
            writer = open_writer(form, stream, id_type=job.id_type, jws=_signs_jws(job))
            rows: list[ExportedSignature] = []
            async for signature in read_signatures(connection, job, records):
                rows.append(signature.encoded(signature_format))
                if len(rows) == BATCH_ROWS:
                    writer.write(rows)
                    written += len(rows)
                    rows.clear()
                    if progress is not None:
                        progress(written, total)
            if rows:
                writer.write(rows)
                written += len(rows)
            writer.close()
            if progress is not None:
                progress(written, total)
    return written


async def recorded_export(
    database_url: str, job_name: str, *, what: str, records: Sequence[str] = (), payloads: bool = False
) -> None:
    """Records in a job's audit events that it is exported. A login that has no right to record that is warned, and may go on.

    Args:
        database_url: the database.
        job_name: the job's name or token.
        what: is exported: a format of signatures, or `bundle`.
        records: ids of the records; empty: all.
        payloads: whether their payloads are exported too.

    Raises:
        UnknownJobError: there is no such job.
        DatabaseError: it can't be recorded.
    """
    async with connect(database_url, role="export") as connection:
        job = await get_job(connection, job_name)
        chosen = {"records": str(len(records))} if records else {}
        chosen |= {"payloads": "true"} if payloads else {}
        if not await record_export(connection, job.job_no, {"what": what, **chosen}):
            log.warning(
                "this export is not in the audit events of job %s: this login may not execute "
                "vaultstream.record_export",
                job.name,
            )


async def read_signatures(
    connection: asyncpg.Connection, job: Job, records: Sequence[str] = ()
) -> AsyncIterator[ExportedSignature]:
    """Yields a job's signatures in the order of the records, a portion in memory at a time.

    Args:
        connection: in a transaction.
        job: the job.
        records: ids of the wanted records; without any, all.

    Raises:
        UsageError: no record of this job can have one of the ids.
    """
    statement, jws = job_query("audit_export", job), _signs_jws(job)
    async for row in connection.cursor(statement, _parsed(records, job), prefetch=BATCH_ROWS):
        signature = ExportedSignature(**dict(row))
        yield signature.with_jws(job.token) if jws else signature


def _signs_jws(job: Job) -> bool:
    return job.spec.signature.format is SignatureForm.JWS


def _parsed(records: Sequence[str], job: Job) -> list[RecordId] | None:
    return [parse_record_id(text, job.id_type) for text in records] or None


async def _count(connection: asyncpg.Connection, job: Job, chosen: list[RecordId] | None) -> int:
    if chosen is None:
        totals = job_query("audit_totals", job)
        return int(await connection.fetchval(totals, job.job_no))
    rows = await connection.fetch(job_query("audit_signatures", job), listed_ids(chosen, job.id_type))
    signed = {row["record_id"] for row in rows}
    for record in chosen:
        if record not in signed:
            raise UsageError(
                f"Record {str(record)!r} has no signature in job {job.name}.",
                hint=f"`vaultstream extract {job.name} {record} --to DIR` shows why.",
            )
    return len(rows)


class _Terminal:
    """Standard output where a person reads it: control characters are escaped. A file or a pipe gets the exact bytes."""

    def write(self, text: bytes) -> None:
        sys.stdout.write(visible(text.decode(), keep="\n"))

    def flush(self) -> None:
        sys.stdout.flush()


@asynccontextmanager
async def _open(output: Path | None) -> AsyncIterator[BinaryIO]:
    """Opens standard output, or a file that has its content only when it is complete."""
    if output is None:
        yield cast("BinaryIO", _Terminal()) if sys.stdout.isatty() else sys.stdout.buffer
        return
    async with open_output(output) as stream:
        yield stream
