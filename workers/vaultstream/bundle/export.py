"""Exports a job as a bundle, streamed from one snapshot of Postgres."""

from __future__ import annotations

from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from vaultstream.api import JobState
from vaultstream.audit.checks.judgement import Absence
from vaultstream.audit.checks.payloads import open_audited_source, pinned, present_payloads, unchanged
from vaultstream.audit.checks.queries import RecordId, job_query
from vaultstream.audit.exports.export import BATCH_ROWS, recorded_export
from vaultstream.audit.snapshot import export_snapshot, open_snapshot, open_source_snapshot
from vaultstream.bundle.layout import AboutBundle, BundledRecord, BundleFile
from vaultstream.bundle.sealed_parts import SealedLog, write_sealed_log
from vaultstream.bundle.writer import BundleWriter, open_bundle
from vaultstream.crypto.jwks import ADDED, jwk_set
from vaultstream.errors import SourceError
from vaultstream.plurals import counted
from vaultstream.proof.dsse import StatementEnvelope
from vaultstream.store.database import connect
from vaultstream.store.jobs import get_job
from vaultstream.store.keys import list_keys
from vaultstream.store.source_login import SourceDatabase, find_place
from vaultstream.store.sql import query

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
    from pathlib import Path

    import asyncpg

    from vaultstream.audit.exports.export import OnWritten
    from vaultstream.records.source import Source
    from vaultstream.store.database import Connection
    from vaultstream.store.jobs import Job

HELD_BYTES = 64 * 1024 * 1024
"""Payloads held in memory at a time; one more portion may come on top."""


@dataclass(frozen=True)
class ExportedBundle:
    """What was written."""

    about: AboutBundle
    notes: tuple[str, ...]
    """What the bundle does not have, as sentences."""


async def export_bundle(
    database_url: str,
    job_name: str,
    *,
    folder: Path,
    payloads: bool = False,
    source_url: str | None = None,
    progress: OnWritten | None = None,
) -> ExportedBundle:
    """Writes a job's bundle, all as of the same moment.

    Args:
        database_url: the database.
        job_name: the job's name, or its token, which also finds a deleted job.
        folder: the bundle, which must not exist and appears only when it is complete.
        payloads: whether to read the payloads from the source too.
        source_url: the same database under the login by which records are read; see `SourceDatabase`.
        progress: called after each chunk of records.

    Raises:
        UnknownJobError: there is no such job.
        UsageError: the folder exists already or can't be created, or records are not read by this login.
        OutputError: the folder's disk is full or failing.
        SourceError: the source can't be read, or was altered meanwhile.
        ProofError: what is stored as a statement is none.
        AuditError: what was sealed is gone, or can't be read.
        DatabaseError: the export can't be recorded.
    """
    await recorded_export(database_url, job_name, what="bundle", payloads=payloads)
    async with AsyncExitStack() as stack:
        connection = await stack.enter_async_context(open_snapshot(database_url, role="export"))
        snapshot = await export_snapshot(connection)
        job = await pinned(connection, await get_job(connection, job_name))
        [totals] = await connection.fetch(job_query("audit_totals", job), job.job_no)
        writer = stack.enter_context(open_bundle(folder))
        sealed = await write_sealed_log(connection, job, writer)
        await _write_statements(connection, job, sealed, writer)
        reading = None
        if payloads:
            reading = await _Payloads.open(stack, connection, job, (database_url, source_url, snapshot))
        writer.append(BundleFile.RECORDS, [])
        async for rows in _portions(connection, job):
            if reading is None:
                writer.add_records(_record(row, {}) for row in rows)
            else:
                async for part, present in reading.parts(rows):
                    writer.add_records(_record(row, present) for row in part)
            if progress is not None:
                progress(writer.records, totals["signatures"])
        about = AboutBundle(
            job=job.name,
            token=job.token,
            origin=sealed.origin if sealed else "",
            algorithm=str(job.spec.keys.algorithm),
            signature_format=str(job.spec.signature.format),
            id_type=job.id_type,
            state=str(job.state),
            records=writer.records,
            payloads=writer.payloads,
        )
        keys = await list_keys(connection, job.job_no)
        added = sealed.added(keys) if sealed else set()
        marked = [key.jwk | ({ADDED: True} if key.key_id in added else {}) for key in keys]
        writer.finish(about, jwk_set(marked))
    unsealed = sealed.unsealed_revocations(keys) if sealed else 0
    return ExportedBundle(about, tuple(_notes(about, unsealed, payloads=payloads)))


async def _write_statements(
    connection: Connection, job: Job, sealed: SealedLog | None, writer: BundleWriter
) -> None:
    """Writes the statements that are not under the seal; if none are, there is a file for them only if there is no seal."""
    log = (sealed.log.log_no, sealed.seal.tree_size) if sealed else (None, 0)
    lines: list[bytes] = []
    async for row in connection.cursor(query("bundle_statements"), job.job_no, *log, prefetch=BATCH_ROWS):
        lines.append(StatementEnvelope(row["body"], row["signature"]).data)
        if len(lines) == BATCH_ROWS:
            writer.append(BundleFile.STATEMENTS, lines)
            lines.clear()
    if lines or sealed is None:
        writer.append(BundleFile.STATEMENTS, lines)


async def _portions(connection: Connection, job: Job) -> AsyncIterator[list[asyncpg.Record]]:
    cursor = await connection.cursor(job_query("bundle_records", job), job.job_no)
    while rows := await cursor.fetch(BATCH_ROWS):
        yield rows


def _record(row: asyncpg.Record, present: dict[RecordId, bytes]) -> BundledRecord:
    payload = present.get(row["record_id"])
    if payload is not None and sha256(payload).digest() != row["digest"]:
        payload = None
    return BundledRecord(str(row["record_id"]), row["batch"], row["digest"], row["signature"], payload)


class _Payloads:
    """Reads the payloads of a job's records from its source."""

    def __init__(self, reading: Connection, source: Source, max_bytes: int) -> None:
        self._reading = reading
        self._source = source
        self._max_bytes = max_bytes

    @classmethod
    async def open(
        cls, stack: AsyncExitStack, connection: Connection, job: Job, where: tuple[str, str | None, str]
    ) -> _Payloads:
        database_url, source_url, snapshot = where
        place = await find_place(connection)
        reading = await stack.enter_async_context(
            open_source_snapshot(
                SourceDatabase.of(database_url, source_url), place=place, role="export", snapshot=snapshot
            )
        )
        watching = await stack.enter_async_context(connect(database_url, role="export"))
        source, obstacle = await open_audited_source(reading, watching, job)
        if source is None:
            raise SourceError(
                f"The payloads can't be read: {obstacle}", hint="Without --payloads, the source is not read."
            )
        await stack.enter_async_context(unchanged(watching, source))
        return cls(reading, source, job.spec.records.max_payload_bytes)

    async def parts(
        self, rows: Sequence[asyncpg.Record]
    ) -> AsyncGenerator[tuple[Sequence[asyncpg.Record], dict[RecordId, bytes]]]:
        """Yields the rows in their order with their payloads, in parts of limited size."""
        present: dict[RecordId, bytes] = {}
        held = 0
        ids = [row["record_id"] for row in rows]
        async with aclosing(
            present_payloads(self._reading, self._source, ids, max_bytes=self._max_bytes)
        ) as found:
            async for record, payload in found:
                if isinstance(payload, Absence):
                    continue
                present[record] = payload
                held += len(payload)
                if held > HELD_BYTES and len(rows) > 1:
                    break
            else:
                yield rows, present
                return
        present.clear()
        middle = len(rows) // 2
        for half in (rows[:middle], rows[middle:]):
            async for part in self.parts(half):
                yield part


def _notes(about: AboutBundle, unsealed: int, *, payloads: bool) -> Iterator[str]:
    if about.state != JobState.COMPLETE:
        yield f"The job is {about.state}, not complete: verifiers say so, and don't exit with 0."
    if unsealed:
        yield f"Not sealed yet: {counted(unsealed, 'revocation')}. Run `vaultstream log seal {about.job}`, and export again."
    if not about.origin:
        yield (
            "The job is not sealed: the bundle shows what its keys signed, and can't show that no batch is missing."
        )
    if payloads and about.payloads < about.records:
        number = about.records - about.payloads
        yield (
            f"{counted(number, 'payload')} left out: the rows were changed or deleted since they were signed."
        )
