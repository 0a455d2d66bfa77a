"""Someone who writes to Postgres as the schema's owner, and has no private key: `verify` finds what was put there."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from integration.audit.audits import audit, found, named
from integration.audit.signed_job import SignedJob, make_job, payload_of
from support.guarded import GuardedDatabase
from vaultstream.api import Algorithm
from vaultstream.crypto.algorithms import generate_private_key, public_key_to_bytes, signer
from vaultstream.crypto.low_s import P256_ORDER
from vaultstream.store.jobs import delete_job

pytestmark = pytest.mark.integration

NEUTRAL_POINT = (1).to_bytes(32, "little")
FORGED = NEUTRAL_POINT + bytes(32)
"""R and S that OpenSSL accepts for every payload under the neutral point as the public key."""


@pytest.fixture
async def signed(
    request: pytest.FixtureRequest, database: GuardedDatabase, owner: asyncpg.Connection
) -> AsyncIterator[SignedJob]:
    job = await make_job(owner, database.urls["owner"], algorithm=request.param)
    yield job
    await delete_job(owner, job.job.job_no, "Delete")
    await owner.execute("DROP TABLE receipts")


with_ecdsa = pytest.mark.parametrize("signed", [Algorithm.ECDSA_P256_SHA256], indirect=True)
with_ed25519 = pytest.mark.parametrize("signed", [Algorithm.ED25519], indirect=True)


@with_ecdsa
async def test_a_signature_replaced_by_its_high_s_form_is_found(signed: SignedJob) -> None:
    signature = await signed.connection.fetchval(
        f"SELECT signature FROM {signed.signatures} WHERE record_id = 3"
    )
    r, s = decode_dss_signature(signature)
    twin = encode_dss_signature(r, P256_ORDER - s)
    await signed.execute("UPDATE {s} SET signature = $1 WHERE record_id = 3", twin)
    report = await audit(signed)
    assert found(report) == {"invalid": 1}
    assert named(report, "invalid") == {"3"}
    assert "high-s form" in report.examples["invalid"][0].reason


@with_ed25519
async def test_a_public_key_of_small_order_proves_nothing(signed: SignedJob) -> None:
    planted = Ed25519PublicKey.from_public_bytes(NEUTRAL_POINT)
    planted.verify(FORGED, b"whatever is in the record")  # raises InvalidSignature if it does not hold
    await signed.execute(
        "UPDATE vaultstream.keys SET public_key = $1",
        planted.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
    )
    await signed.execute("UPDATE {s} SET signature = $1", FORGED)
    report = await audit(signed)
    assert found(report) == {"invalid": 12}
    assert "small order" in report.examples["invalid"][0].reason


@with_ecdsa
async def test_a_planted_key_of_another_algorithm_is_found(signed: SignedJob) -> None:
    planted = generate_private_key(Algorithm.ED25519)
    await signed.execute(
        "INSERT INTO vaultstream.keys (job_no, ordinal, key_id, algorithm, public_key) VALUES ($1, 99, 'planted', $2, $3)",
        signed.job.job_no,
        str(Algorithm.ED25519),
        public_key_to_bytes(planted),
    )
    forged = signer(planted, Algorithm.ED25519)(payload_of(5).encode())
    await signed.execute(
        "UPDATE {s} SET signature = $1, key_no = (SELECT key_no FROM vaultstream.keys WHERE key_id = 'planted') WHERE record_id = 5",
        forged,
    )
    report = await audit(signed)
    assert named(report, "invalid") == {"5"}
    assert "ED25519" in report.examples["invalid"][0].reason


@with_ecdsa
async def test_a_key_whose_algorithm_nobody_knows_is_a_finding_and_no_crash(signed: SignedJob) -> None:
    await signed.execute(
        "UPDATE vaultstream.keys SET algorithm = 'ROT13' WHERE job_no = $1", signed.job.job_no
    )
    assert found(await audit(signed)) == {"invalid": 12}
