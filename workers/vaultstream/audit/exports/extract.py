"""Extracts one signature into files that can be checked without VaultStream."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vaultstream.api import SignatureForm
from vaultstream.audit.checks.checker import read_keys
from vaultstream.audit.checks.judgement import (
    Absence,
    CommittedLease,
    JwsKey,
    Outcome,
    SignatureVerdict,
    judge,
    lease_fault,
    stored_signature,
)
from vaultstream.audit.checks.payloads import open_audited_source, pinned, present_payloads, unchanged
from vaultstream.audit.checks.queries import RecordId, job_query, parse_record_id
from vaultstream.audit.exports.formats import ExportedSignature, rfc3339
from vaultstream.audit.snapshot import export_snapshot, open_snapshot, open_source_snapshot
from vaultstream.crypto.algorithms import JWS_ALG, known_algorithm, openssl_command, public_key_pem
from vaultstream.errors import AuditError, NotAllSignedError, UsageError
from vaultstream.proof.jws import JwsForm, attached
from vaultstream.store.batches import listed_ids
from vaultstream.store.database import connect
from vaultstream.store.jobs import get_job
from vaultstream.store.source_login import SourceDatabase, find_place
from vaultstream.store.sql import query

if TYPE_CHECKING:
    from pathlib import Path

    import asyncpg

    from vaultstream.store.database import Connection
    from vaultstream.store.jobs import Job

PAYLOAD, SIGNATURE, PUBLIC, RECORD = "payload.bin", "signature.bin", "public.pem", "record.json"
JWS, SIGNED = "signature.jws", "signed.bin"
"""Only of a job that signs JWS: the compact JWS with its payload, and the part of it that is signed."""


@dataclass(frozen=True)
class Extract:
    """What was written."""

    folder: Path
    record: dict[str, Any]
    """The content of record.json."""
    command: str | None
    """The `openssl` command that checks the signature; None if there is no payload to check it against."""
    problem: str | None
    """What is wrong with the signature; None: it is valid."""


async def extract_record(
    database_url: str, job_name: str, record_id: str, *, to: Path, source_url: str | None = None
) -> Extract:
    """Writes a record's payload, signature and public key, and the facts about them, into a folder.

    Args:
        database_url: the database.
        job_name: the job's name or token.
        record_id: the record.
        to: the folder, created if missing; files of the same names in it are replaced.
        source_url: the same database under the login by which records are read; see `SourceDatabase`.

    Raises:
        UnknownJobError: there is no such job.
        NotAllSignedError: the record is in the dead letters; the message says why.
        UsageError: the job has no signature of this record, or the folder can't be written to.
        AuditError: the record has several signatures, or one under a key that the job does not have.
    """
    sources = SourceDatabase.of(database_url, source_url)
    async with open_snapshot(database_url, role="extract") as connection:
        snapshot = await export_snapshot(connection)
        place = await find_place(connection)
        job = await pinned(connection, await get_job(connection, job_name))
        record = parse_record_id(record_id, job.id_type)
        row = await signature_of(connection, job, record)
        stored = stored_signature(row)
        key = (await read_keys(connection, job.job_no, job.spec.keys.algorithm)).get(stored.key_no)
        if key is None:
            raise AuditError(
                f"The signature of record {record_id!r} names a key that job {job.name} does not have."
            )
        async with (
            open_source_snapshot(sources, place=place, role="extract", snapshot=snapshot) as reading,
            connect(database_url, role="extract") as watching,
        ):
            source, obstacle = await open_audited_source(reading, watching, job)
            limit = job.spec.records.max_payload_bytes
            found = present_payloads(reading, source, [record], max_bytes=limit)
            async with unchanged(watching, source):
                [present] = [payload async for _, payload in found]
        leases = await connection.fetch(query("audit_committed_leases"), [stored.key_no], [stored.epoch])
        [exported] = await connection.fetch(job_query("audit_export", job), [record])

    facts_of_signature, jws = ExportedSignature(**dict(exported)), None
    if job.spec.signature.format is SignatureForm.JWS:
        jws = JwsForm(JWS_ALG[job.spec.keys.algorithm], job.token)
        facts_of_signature = facts_of_signature.with_jws(job.token)
    verdict = judge(stored, JwsKey(key, jws, str(record)) if jws else key, present)
    problem = _problem(
        record_id, verdict, lease_fault(stored, [CommittedLease.of(lease) for lease in leases])
    )
    if problem and obstacle:
        problem = f"{problem} {obstacle}"
    command = None
    files: dict[str, bytes | None] = {
        SIGNATURE: stored.signature,
        PUBLIC: public_key_pem(key.public_key).encode("ascii"),
        PAYLOAD: None,
        JWS: None,
        SIGNED: None,
    }
    if not isinstance(present, Absence):
        files[PAYLOAD] = present
        if jws is not None:
            files[SIGNED] = jws.signing_input(key.key_id, str(record), present)
            if facts_of_signature.jws is not None:
                files[JWS] = attached(facts_of_signature.jws, present).encode()
        command = openssl_command(
            known_algorithm(key.algorithm),
            public=str(to / PUBLIC),
            signature=str(to / SIGNATURE),
            payload=str(to / (SIGNED if jws else PAYLOAD)),
        )
    facts = {
        "job": job.name,
        "token": job.token,
        **facts_of_signature.to_json(),
        "leases": [
            {
                "holder": lease["holder"],
                "batch_no": lease["batch_no"],
                "from": rfc3339(lease["began"]) if lease["began"] else None,
                "to": rfc3339(lease["ended"]) if lease["ended"] else None,
                "committed_at": rfc3339(lease["committed_at"]) if lease["committed_at"] else None,
            }
            for lease in leases
        ],
        "status": str(verdict.outcome),
        "problem": problem,
        "source": source.relation if source else None,
        "command": command,
    }
    files[RECORD] = (json.dumps(facts, ensure_ascii=False, indent=2) + "\n").encode()
    _write(to, files)
    return Extract(folder=to, record=facts, command=command, problem=problem)


async def signature_of(connection: Connection, job: Job, record: RecordId) -> asyncpg.Record:
    """Returns the row of a record's signature.

    Raises:
        NotAllSignedError: the record is in the dead letters; the message says why.
        UsageError: the job has no signature of it.
        AuditError: it has several.
    """
    rows = await connection.fetch(job_query("audit_signatures", job), listed_ids([record], job.id_type))
    if len(rows) == 1:
        return rows[0]
    if rows:
        raise AuditError(
            f"Record {str(record)!r} has {len(rows)} signatures in job {job.name}.",
            hint=f"`vaultstream verify {job.name}` checks the whole job.",
        )
    dead = await connection.fetchrow(query("audit_dead_letters"), job.job_no, [str(record)])
    if dead is not None:
        raise NotAllSignedError(
            f"Record {str(record)!r} was not signed; it is in the dead letters of job {job.name}: "
            f"{dead['reason']}: {dead['message']}",
            hint=f"Fix the record, then run `vaultstream retry {job.name}` to sign it.",
        )
    raise UsageError(
        f"Job {job.name} has no signature of record {str(record)!r}.",
        hint="Check the id. A job that is still running may not have signed it yet: see `vaultstream status`.",
    )


def _problem(record_id: str, verdict: SignatureVerdict, fault: str | None) -> str | None:
    match verdict.outcome:
        case Outcome.CHANGED:
            return f"Record {record_id!r} has changed since it was signed: {verdict.reason}."
        case Outcome.INVALID:
            return f"The signature of record {record_id!r} is not valid: {verdict.reason}."
        case Outcome.VALID:
            return (
                f"The signature of record {record_id!r} was not made under a lease: {fault}."
                if fault
                else None
            )


def _write(folder: Path, files: dict[str, bytes | None]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            if content is None:
                (folder / name).unlink(
                    missing_ok=True
                )  # left by an earlier extract: it does not belong to this signature
            else:
                (folder / name).write_bytes(content)
    except OSError as error:
        raise UsageError(f"{error.filename or folder} can't be written: {error.strerror}.") from None
