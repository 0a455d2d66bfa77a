"""Jobs that the product signs and seals: their records are proved to others, and others attest their seals."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

import vaultstream
from support.checkers import Judge, Proven
from support.engine import add_table, make_spec, new_name
from support.litewitness import LiteWitness
from support.proving import PAYLOAD
from support.timestamping import Authority
from vaultstream.api import Algorithm
from vaultstream.audit.exports.prove import prove_record
from vaultstream.crypto.algorithms import public_key_pem
from vaultstream.crypto.seal_keys import create_seal_keys
from vaultstream.local.services import Services
from vaultstream.proof.checkpoint import open_checkpoint
from vaultstream.proof.note import NoteKey
from vaultstream.sealing.attestor import COSIGNED, STAMP, STAMPED

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl, whose `ts` is the authority"),
]

ALGORITHMS = (Algorithm.ECDSA_P256_SHA256, Algorithm.ED25519)


@dataclass(frozen=True)
class Sealing:
    """Where the workers of this test seal, and who attests it."""

    seal_key: NoteKey
    seals: Path
    witness: LiteWitness
    authority: Authority


@pytest.fixture
async def sealing(
    litewitness: LiteWitness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Sealing]:
    seal_key = create_seal_keys(tmp_path / "seal-key", f"{new_name('seals')}.example").signing.public_key
    litewitness.know(seal_key.name, seal_key)
    authority = Authority(tmp_path / "authority")
    async with authority.serving() as url:
        for name, value in {
            "SEAL_KEY_FILE": tmp_path / "seal-key",
            "SEALS_DIR": tmp_path / "seals",
            "WITNESSES": litewitness.setting,
            "TIMESTAMP_URL": url,
            "TIMESTAMP_CA_FILE": authority.ca_file,
        }.items():
            monkeypatch.setenv(f"VAULTSTREAM_{name}", str(value))
        yield Sealing(seal_key, tmp_path / "seals", litewitness, authority)


@pytest.fixture
async def engine(
    engine_url: str, services: Services, sealing: Sealing, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[vaultstream.Engine]:
    monkeypatch.setenv("VAULTSTREAM_NATS_USER", services.nats_user)
    monkeypatch.setenv("VAULTSTREAM_NATS_PASSWORD", services.nats_password)
    async with vaultstream.open_engine(
        data_dir=services.data_dir,
        database_url=engine_url,
        nats_url=services.nats_url,
        kek_file=services.kek_file,
    ) as engine:
        yield engine


async def test_records_of_a_job_are_proved_and_its_seals_are_attested(
    db: asyncpg.Connection, engine_url: str, engine: vaultstream.Engine, sealing: Sealing, judges: list[Judge]
) -> None:
    seal_key, key = sealing.seal_key, sealing.witness.witness.key
    cosigned, stamped = sealing.seals / COSIGNED, sealing.seals / STAMPED
    for algorithm in ALGORITHMS:
        table = await add_table(db, range(1, 12))
        result = await engine.run(manifest(table, algorithm), max_signers=1)
        assert result.ok, result
        made = await prove_record(engine_url, result.token, "7")
        [row] = await db.fetch(f"SELECT payload FROM {table} WHERE id = 7")
        proven = Proven(
            made.proof.files | {PAYLOAD: row["payload"]},
            seal_key.vkey,
            f"{seal_key.name}/jobs/{result.token}",
            public_key_pem(made.key.public_key),
        )
        assert [judge(proven) for judge in judges] == [None] * len(judges)
        newest = (sealing.seals / "checkpoint").read_bytes()
        head = open_checkpoint(newest, [seal_key], origin=seal_key.name).checkpoint
        opened = open_checkpoint(cosigned.read_bytes(), [seal_key], origin=seal_key.name, witnesses=[key])
        assert (opened.checkpoint, opened.witnesses([key])) == (head, {key.name})
        assert stamped.read_bytes() == newest
        assert sealing.authority.verifies(sealing.seals / STAMP, stamped)


def manifest(table: str, algorithm: Algorithm) -> vaultstream.SigningJob:
    return vaultstream.SigningJob.model_validate(
        {
            "apiVersion": "vaultstream.dev/v1alpha1",
            "kind": "SigningJob",
            "metadata": {"name": new_name("job").replace("_", "-")},
            "spec": make_spec(table, batchSize=4, keys={"count": 2, "algorithm": algorithm}).dump(),
        }
    )
