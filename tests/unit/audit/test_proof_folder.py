"""The files of a proof, verified with keys that the reader has."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from support.proving import SignedBatch, SignedLog
from vaultstream.api import Algorithm
from vaultstream.audit.exports.proof_folder import MAX_PROOF_FILE_BYTES, read_given, read_proof, verify_proof
from vaultstream.crypto.algorithms import JWS_ALG, signer
from vaultstream.crypto.jwks import JwkKey
from vaultstream.errors import ProofError, UsageError
from vaultstream.proof.jws import JwsForm
from vaultstream.proof.note import NoteKey, NoteSigningKey
from vaultstream.proof.record_proof import PROOF_FILE, RECORD_FILE, STATEMENT_FILE

pytestmark = pytest.mark.unit

NAME = "example.com/vaultstream"


@pytest.fixture(scope="module")
def log() -> SignedLog:
    return SignedLog([SignedBatch(1, ["1", "2", "3"]), SignedBatch(2, ["4", "5"], Algorithm.ED25519)])


def keys_of(batch: SignedBatch, **changes: object) -> dict[str, JwkKey]:
    spki = batch.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    key_id = batch.signed.statement.key_id
    key = replace(JwkKey(key_id, batch.algorithm, spki, revoked=False), **changes)  # type: ignore[arg-type]
    return {key.key_id: key}


def test_the_files_of_a_proof_are_read_and_verified(log: SignedLog, tmp_path: Path) -> None:
    for batch in (0, 1):
        for name, data in log.proof(batch, 1).files.items():
            (tmp_path / name).write_bytes(data)
        of = log.batches[batch]
        verified = verify_proof(read_proof(tmp_path), of.payloads[1], keys_of(of), [log.seal_key.public_key])
        assert (verified.record_id, verified.statement, verified.head.size) == (
            of.ids[1],
            of.signed.statement,
            2,
        )


def test_the_log_of_a_tenants_job_is_under_the_seal_key_too() -> None:
    log = SignedLog([SignedBatch(1, ["1"])], f"{NAME}/tenants/shop/jobs/job1")
    of = log.batches[0]
    assert verify_proof(log.proof(0, 0), of.payloads[0], keys_of(of), [log.seal_key.public_key])


@pytest.mark.parametrize(
    "origin",
    [
        f"{NAME}/jobs/job2",
        f"{NAME}/jobs/job1/jwks/00",
        f"{NAME}/tenants/jobs/job1",
        f"{NAME}/tenants/a/b/jobs/job1",
        f"{NAME}x/jobs/job1",
        NAME,
    ],
)
def test_a_checkpoint_of_another_log_of_the_seal_key_proves_nothing(origin: str) -> None:
    log = SignedLog([SignedBatch(1, ["1"])], origin)
    of = log.batches[0]
    with pytest.raises(ProofError, match="no log of job job1"):
        verify_proof(log.proof(0, 0), of.payloads[0], keys_of(of), [log.seal_key.public_key])


def test_a_record_that_was_signed_as_a_jws_is_verified_with_its_payload(log: SignedLog) -> None:
    batch = SignedBatch(1, ["1", "2"])
    form = JwsForm(JWS_ALG[batch.algorithm], batch.token)
    key_id, sign = "job1-key-1", signer(batch.key, batch.algorithm)
    batch.__dict__["signatures"] = [
        sign(form.signing_input(key_id, record, payload))
        for record, payload in zip(batch.ids, batch.payloads, strict=True)
    ]
    log = SignedLog([batch])
    seal_keys = [log.seal_key.public_key]
    assert verify_proof(log.proof(0, 1), batch.payloads[1], keys_of(batch), seal_keys)
    with pytest.raises(ProofError, match="payload"):
        verify_proof(log.proof(0, 1), batch.payloads[0], keys_of(batch), seal_keys)


@pytest.mark.parametrize(
    ("keys", "what"),
    [
        (lambda _: {}, "not among the keys"),
        (lambda batch: keys_of(batch, revoked=True), "revoked"),
        (lambda batch: keys_of(batch, algorithm=Algorithm.ED25519), "is of ECDSA"),
        (lambda _: keys_of(SignedBatch(1, ["1"])), "signature of the statement"),
    ],
)
def test_another_key_than_the_pinned_one_proves_nothing(
    log: SignedLog, keys: Callable[[SignedBatch], dict[str, JwkKey]], what: str
) -> None:
    of = log.batches[0]
    with pytest.raises(ProofError, match=what):
        verify_proof(log.proof(0, 0), of.payloads[0], keys(of), [log.seal_key.public_key])


def test_another_seal_key_proves_nothing(log: SignedLog) -> None:
    of = log.batches[0]
    same_name: NoteKey = NoteSigningKey(NAME, Ed25519PrivateKey.generate()).public_key
    for other in (same_name, replace(same_name, name="other.example")):
        with pytest.raises(ProofError):
            verify_proof(log.proof(0, 0), of.payloads[0], keys_of(of), [other])


def test_a_pipe_in_a_folder_of_a_proof_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / RECORD_FILE)
    with pytest.raises(UsageError, match="no regular file"):
        read_proof(tmp_path)


def test_a_payload_without_an_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "payload.bin").symlink_to("/dev/zero")
    with pytest.raises(UsageError, match="longer than 64 MiB"):
        read_given(tmp_path / "payload.bin")


def test_files_that_are_missing_or_too_long_are_named(log: SignedLog, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=RECORD_FILE) as error:
        read_proof(tmp_path)
    assert error.value.hint
    for name, data in log.proof(0, 0).files.items():
        (tmp_path / name).write_bytes(data)
    for name in (RECORD_FILE, STATEMENT_FILE, PROOF_FILE):
        kept = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(b" " * (MAX_PROOF_FILE_BYTES + 1))
        with pytest.raises(ProofError, match=name):
            read_proof(tmp_path)
        (tmp_path / name).write_bytes(kept)
