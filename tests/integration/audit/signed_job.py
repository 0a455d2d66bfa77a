"""Jobs with real signatures, made by the product's own SQL functions, to be tampered with."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from uuid import UUID

import asyncpg

from support.engine import lease_of, statement_for
from vaultstream.api import Algorithm, KeysSpec, RecordsSpec, SignatureForm, SigningJobSpec
from vaultstream.api.signingjob import SignatureSpec
from vaultstream.crypto.algorithms import (
    JWS_ALG,
    PrivateKey,
    generate_private_key,
    public_key_to_bytes,
    signer,
)
from vaultstream.crypto.rows import Rows
from vaultstream.proof.jws import JwsForm
from vaultstream.records.source import inspect_source
from vaultstream.store.jobs import Job, complete_job_if_settled, create_job, get_job
from vaultstream.store.leases import COMMITTED, DeadRecord, SignedBatch, commit_batches

RecordId = int | str | UUID


@cache
def private_key(algorithm: Algorithm, ordinal: int) -> PrivateKey:
    return generate_private_key(algorithm)


def payload_of(record: RecordId) -> str:
    return json.dumps({"of": str(record), "née": "ß"}, ensure_ascii=False)


@dataclass(frozen=True)
class SignedJob:
    """A job whose source is the table `receipts` (id, payload)."""

    url: str
    connection: asyncpg.Connection
    job: Job
    ids: list[RecordId]

    @property
    def signatures(self) -> str:
        return self.job.signatures_table

    async def read_through(self, columns: str) -> None:
        """Puts a view over the source in its place, as the owner of the schema accepts it."""
        await self.execute("ALTER TABLE receipts RENAME TO stored")
        await self.execute(f"CREATE VIEW receipts AS SELECT {columns} FROM stored")
        await self.execute("SELECT vaultstream.accept_source($1, 'receipts'::regclass)", self.job.job_no)

    async def execute(self, statement: str, *values: object) -> None:
        """Runs a statement in which {s} stands for the table of signatures and {t} for the type of ids."""
        await self.connection.execute(statement.format(s=self.signatures, t=self.job.id_type), *values)


async def make_job(
    connection: asyncpg.Connection,
    url: str,
    *,
    name: str = "receipts",
    algorithm: Algorithm = Algorithm.ECDSA_P256_SHA256,
    id_column: str = "bigint",
    payload_column: str = "bytea",
    ids: list[RecordId] | None = None,
    dead: frozenset[RecordId] = frozenset(),
    waiting: frozenset[RecordId] = frozenset(),
    batch_size: int = 4,
    keys: int = 2,
    max_payload_bytes: int = 1024 * 1024,
    form: SignatureForm = SignatureForm.RAW,
) -> SignedJob:
    """Makes the source and a job on it; each batch is leased, signed and committed as the signer does it.

    Args:
        dead: records that end in the dead letters.
        waiting: records whose batches are planned but left pending.
    """
    ids = list(range(1, 13)) if ids is None else ids
    await connection.execute(f"CREATE TABLE receipts (id {id_column} PRIMARY KEY, payload {payload_column})")
    from_bytes = "$2::bytea" if payload_column == "bytea" else f"convert_from($2, 'UTF8')::{payload_column}"
    await connection.executemany(
        f"INSERT INTO receipts VALUES ($1, {from_bytes})", [(i, payload_of(i).encode()) for i in ids]
    )
    spec = SigningJobSpec(
        records=RecordsSpec(table="receipts", max_payload_bytes=max_payload_bytes),
        batch_size=batch_size,
        keys=KeysSpec(count=keys, algorithm=algorithm),
        signature=SignatureSpec(format=form),
    )
    source = await inspect_source(connection, spec.records)
    job = await create_job(connection, name, spec, id_type=source.id_type, source_oid=source.oid)
    for ordinal in range(1, keys + 1):
        await connection.execute(
            "INSERT INTO vaultstream.keys (job_no, ordinal, key_id, algorithm, public_key) VALUES ($1, $2, $3, $4, $5)",
            job.job_no,
            ordinal,
            f"{job.token}-{ordinal}",
            str(algorithm),
            public_key_to_bytes(private_key(algorithm, ordinal)),
        )
    payloads = dict(await connection.fetch(f"SELECT {source.id_sql}, {source.payload_sql} FROM receipts"))
    cut = [ids[start : start + batch_size] for start in range(0, len(ids), batch_size)]
    for batch_no, batch in enumerate(cut, start=1):
        dense = source.id_type == "bigint" and batch[-1] - batch[0] == len(batch) - 1
        await connection.execute(
            "INSERT INTO vaultstream.batches (job_no, batch_no, records, first_id, last_id, ids) "
            "VALUES ($1, $2, $3, $4, $5, $6)",
            job.job_no,
            batch_no,
            len(batch),
            str(batch[0]),
            str(batch[-1]),
            None if dense else [str(i) for i in batch],
        )
        if waiting.isdisjoint(batch):
            signed = [i for i in batch if i not in dead]
            await commit(connection, job, batch_no, signed, payloads, dead=[i for i in batch if i in dead])
    await connection.execute(
        "UPDATE vaultstream.jobs SET planned = true, state = 'Running', next_batch_no = $2, "
        "upper_id = (SELECT id::text FROM receipts ORDER BY receipts.id DESC LIMIT 1) WHERE job_no = $1",
        job.job_no,
        len(cut) + 1,
    )
    await complete_job_if_settled(connection, job.job_no)
    return SignedJob(url, connection, await get_job(connection, job.token), ids)


async def commit(
    connection: asyncpg.Connection,
    job: Job,
    batch_no: int,
    ids: list[RecordId],
    payloads: dict[RecordId, bytes],
    *,
    dead: list[RecordId],
) -> None:
    """Leases a key, signs the records under it and commits the batch."""
    row = await connection.fetchrow(
        "SELECT *, clock_timestamp() AS answered_at FROM vaultstream.lease_keys($1, 'signer', 1, 30)",
        job.job_no,
    )
    ordinal = int(row["key_id"].rsplit("-", 1)[1])
    algorithm = job.spec.keys.algorithm
    sign = signer(private_key(algorithm, ordinal), algorithm)
    lease, ids = lease_of(row, "signer"), sorted(ids)
    digests = [sha256(payloads[i]).digest() for i in ids]
    if job.spec.signature.format is SignatureForm.JWS:
        jws = JwsForm(JWS_ALG[algorithm], job.token)
        signatures = [sign(jws.signing_input(row["key_id"], str(i), payloads[i])) for i in ids]
    else:
        signatures = [sign(payloads[i]) for i in ids]
    batch = SignedBatch(
        batch_no=batch_no,
        lease=lease,
        record_ids=ids,
        rows=Rows.of(digests, signatures),
        dead=[DeadRecord(i, "PayloadNull", "the payload is NULL") for i in dead],
        statement=statement_for(
            batch_no, lease, ids, digests, signatures, sign=sign, algorithm=str(algorithm)
        )
        if ids
        else None,
    )
    outcomes = await commit_batches(connection, job.job_no, "signer", [batch], id_type=job.id_type)
    assert outcomes == [COMMITTED]
