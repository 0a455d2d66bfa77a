"""`prove` makes proofs that others' programs accept, and none from what was altered or is not sealed."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from integration.audit.signed_job import RecordId, SignedJob, make_job, payload_of
from support.as_user import connect
from support.checkers import Judge, Proven, build_go
from support.forking import run_command
from support.proving import PAYLOAD
from support.sealed import SEAL_KEY, seal_statements
from vaultstream.api import Algorithm
from vaultstream.audit.exports.prove import MadeProof, make_proof, prove_record
from vaultstream.crypto.algorithms import public_key_jwk, public_key_pem
from vaultstream.crypto.jwks import jwk_set
from vaultstream.errors import AuditError, ExitCode, NotAllSignedError, UnknownJobError, UsageError
from vaultstream.proof.note import NoteSigningKey

pytestmark = pytest.mark.integration


Database = tuple[asyncpg.Connection, str]


@pytest.fixture
async def database(migrated_url: str) -> AsyncIterator[Database]:
    async with connect(migrated_url) as connection:
        yield connection, migrated_url


@pytest.fixture
async def job(database: Database) -> SignedJob:
    """A sealed job of 12 records in three batches; record 6 is a dead letter."""
    made = await make_job(*database, dead=frozenset({6}))
    await seal_statements(made.connection, made.job)
    return made


def proven(made: MadeProof, origin: str) -> Proven:
    payload = payload_of(made.proof.record.record_id).encode()
    files = made.proof.files | {PAYLOAD: payload}
    return Proven(files, SEAL_KEY.public_key.vkey, origin, public_key_pem(made.key.public_key))


@pytest.mark.parametrize(
    ("id_column", "ids", "algorithm"),
    [
        ("bigint", list(range(-3, 10)), Algorithm.ECDSA_P256_SHA256),
        ("uuid", [UUID(int=number << 100) for number in range(1, 8)], Algorithm.ED25519),
        ("text", ["10", "9", "B", "a", "\u00e9", "\u2603"], Algorithm.ED25519),
    ],
)
async def test_the_proof_of_each_record_is_accepted_by_programs_that_are_not_ours(
    judges: list[Judge], database: Database, id_column: str, ids: list[RecordId], algorithm: Algorithm
) -> None:
    db, url = database
    job = await make_job(db, url, id_column=id_column, ids=ids, algorithm=algorithm)
    origin = await seal_statements(db, job.job)
    for record in ids:
        made = await prove_record(url, job.job.name, str(record))
        assert made.proof.record.record_id == str(record)
        assert [judge(proven(made, origin)) for judge in judges] == [None] * len(judges)
        assert all(judge(proven(made, origin + "1")) for judge in judges)


async def test_a_program_of_some_40_lines_finds_the_statement_in_the_log(
    job: SignedJob, tmp_path: Path
) -> None:
    program = build_go(tmp_path / "logged", "./logged")
    if program is None:
        pytest.skip("Go is not installed")
    made = await prove_record(job.url, "receipts", "3")
    for name, data in made.proof.files.items():
        (tmp_path / name).write_bytes(data)
    key, head = SEAL_KEY.public_key.vkey, made.head

    def answer(entry: str, seal_key: str, origin: str) -> tuple[int, str]:
        files = (tmp_path / entry, tmp_path / "statement.tlog-proof")
        ran = subprocess.run([program, *files, seal_key, origin], capture_output=True, text=True, check=False)
        return ran.returncode, ran.stdout[:4].strip()

    assert answer("statement.json", key, head.origin) == (0, "yes")
    other = NoteSigningKey(SEAL_KEY.name, Ed25519PrivateKey.generate()).public_key.vkey
    for wrong in (
        ("record.json", key, head.origin),
        ("statement.json", key, "a"),
        ("statement.json", other, head.origin),
    ):
        assert answer(*wrong) == (1, "no:"), wrong


async def test_what_was_not_signed_has_no_proof_and_is_named(job: SignedJob) -> None:
    with pytest.raises(NotAllSignedError, match="PayloadNull"):
        await prove_record(job.url, "receipts", "6")
    for record in ("99", "6a", "-9223372036854775809"):
        with pytest.raises(UsageError, match=record):
            await prove_record(job.url, "receipts", record)
    with pytest.raises(UnknownJobError):
        await prove_record(job.url, "nothing", "1")


async def test_a_record_whose_batch_is_not_sealed_yet_is_said_so_with_the_next_step(
    database: Database,
) -> None:
    db, url = database
    job = await make_job(db, url)
    for last in (0, 2):
        with pytest.raises(UsageError, match="not sealed yet") as error:
            await prove_record(url, "receipts", "12")
        assert "log seal receipts" in (error.value.hint or "")
        await seal_statements(db, job.job, last=last)
    assert (await prove_record(url, "receipts", "5")).head.size == 2
    await seal_statements(db, job.job)
    assert (await prove_record(url, "receipts", "12")).head.size == 3


async def test_the_command_writes_the_proof_and_says_where_it_leads(job: SignedJob, tmp_path: Path) -> None:
    made = await prove_record(job.url, "receipts", "3")
    done = run_prove(job, tmp_path, "receipts", "3", "--out", "a/b", "--json")
    assert done.returncode == 0, done.stderr
    assert {path.name: path.read_bytes() for path in (tmp_path / "a/b").iterdir()} == made.proof.files
    said = json.loads(done.stdout)
    assert said == made.to_json() | {"files": [f"a/b/{name}" for name in made.proof.files]}
    assert (said["batch"], said["tree_size"], said["index"]) == (1, 3, 0)
    assert run_prove(job, tmp_path, "receipts", "-3").returncode == ExitCode.USAGE
    assert run_prove(job, tmp_path, "receipts", "6").returncode == ExitCode.NOT_ALL_SIGNED
    assert not (tmp_path / "proof").exists()
    assert run_prove(job, tmp_path, "receipts", "3").stdout.split() == [
        f"proof/{name}" for name in made.proof.files
    ]


async def test_the_command_verifies_what_it_wrote_without_a_database(job: SignedJob, tmp_path: Path) -> None:
    made = await prove_record(job.url, "receipts", "3")
    for name, data in made.proof.files.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "payload.bin").write_bytes(payload_of(3).encode())
    jwk = public_key_jwk(made.key.public_key, key_id=made.key.key_id, algorithm=job.job.spec.keys.algorithm)
    (tmp_path / "keys.jwks").write_text(jwk_set([jwk]))
    given = ("--proof", ".", "--keys", "keys.jwks", "--seal-key", SEAL_KEY.public_key.vkey)
    done = run_offline(tmp_path, *given, "--payload", "payload.bin", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["record_id"] == "3"
    assert run_offline(tmp_path, *given).returncode == ExitCode.USAGE
    no_keys = run_offline(tmp_path, *given, "--payload", "payload.bin", "--keys", "payload.bin")
    assert (no_keys.returncode, "payload.bin is not a set" in no_keys.stderr) == (ExitCode.USAGE, True)
    (tmp_path / "payload.bin").write_bytes(b"other")
    assert run_offline(tmp_path, *given, "--payload", "payload.bin").returncode == ExitCode.AUDIT


def run_offline(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"DATABASE_URL": "postgresql://127.0.0.1:1/none"}
    return run_command(["verify", *arguments], cwd=folder, env=environment)


def run_prove(job: SignedJob, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"DATABASE_URL": job.url, "VAULTSTREAM_NATS_URL": "nats://127.0.0.1:4222"}
    return run_command(["prove", *arguments], cwd=folder, env=environment)


async def test_a_job_from_before_statements_says_so(job: SignedJob) -> None:
    await job.execute("DELETE FROM vaultstream.statements")
    await job.execute("ALTER TABLE vaultstream.jobs DISABLE TRIGGER USER")
    await job.execute("UPDATE vaultstream.jobs SET stated = false")
    with pytest.raises(UsageError, match="before keys made statements"):
        await prove_record(job.url, "receipts", "1")


TAMPERINGS = [
    ("DELETE FROM {s} WHERE record_id = 2", "not those that its key has signed"),
    ("UPDATE {s} SET record_id = 99 WHERE record_id = 2", "not those that its key has signed"),
    ("UPDATE {s} SET signature = '\\x00' WHERE record_id = 2", "not those that its key has signed"),
    ("UPDATE {s} SET digest = sha256('') WHERE record_id = 3", "not those that its key has signed"),
    ("UPDATE {s} SET epoch = 7 WHERE record_id = 3", "no statements of its key"),
    ("DELETE FROM vaultstream.batches WHERE batch_no = 1", "not those that its key has signed"),
    ("DELETE FROM vaultstream.statements WHERE batch_no = 1", "no statements of its key"),
    ("UPDATE vaultstream.statements SET key_no = 1, epoch = 1", "3 statements of its key"),
    ("UPDATE vaultstream.statements SET signature = '\\x00'", "signature of the statement"),
    ("UPDATE vaultstream.statements SET body = replace(body, '2', '3')", "key|statement"),
    (
        "UPDATE vaultstream.log_entries SET leaf = sha256('') WHERE index = 0",
        "is not the statement of batch 1",
    ),
    ("UPDATE vaultstream.log_entries SET leaf = sha256('') WHERE index = 1", "not that of its entries"),
    ("DELETE FROM vaultstream.log_entries WHERE index = 1", "has 2 of its entries"),
    (
        "UPDATE vaultstream.checkpoints SET note = replace(note, 'vaultstream', 'other')",
        "not that of its entries",
    ),
]


async def test_no_proof_is_made_of_what_is_not_what_was_signed_and_sealed(job: SignedJob) -> None:
    for table in ("batches", "log_entries", "checkpoints"):
        await job.execute(f"ALTER TABLE vaultstream.{table} DISABLE TRIGGER USER")
    for statement, what in TAMPERINGS:
        tampering = job.connection.transaction()
        await tampering.start()
        await job.execute(statement)
        with pytest.raises(AuditError, match=what):
            await make_proof(job.connection, "receipts", "3")
        await tampering.rollback()
    assert await make_proof(job.connection, "receipts", "3")
