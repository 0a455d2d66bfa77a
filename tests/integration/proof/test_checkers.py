"""Programs that are not ours accept the proof of a record, and refuse it after each kind of change."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from support.checkers import Judge, Proven
from support.proving import PAYLOAD, SignedBatch, SignedLog
from vaultstream.api import Algorithm
from vaultstream.crypto.algorithms import signer
from vaultstream.proof.canonical import canonical_text
from vaultstream.proof.checkpoint import Checkpoint, sign_checkpoint
from vaultstream.proof.cosignature import Cosigner
from vaultstream.proof.merkle import inclusion_path, leaf_hash, tree_root
from vaultstream.proof.note import NoteSigningKey, add_signatures
from vaultstream.proof.record_proof import PROOF_FILE, RECORD_FILE, STATEMENT_FILE
from vaultstream.proof.statement import PAYLOAD_TYPE, pae
from vaultstream.proof.tlog_proof import TlogProof

pytestmark = pytest.mark.integration

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Of the curve P-256 (FIPS 186-4)."""
SIZES = (3, 7, 1, 8)
BATCH, RECORD = 1, 4
"""The record whose proof is altered, and its batch."""


def batches(algorithm: Algorithm = Algorithm.ECDSA_P256_SHA256) -> list[SignedBatch]:
    ids = iter(range(9, 1000))
    return [
        SignedBatch(number, [str(next(ids)) for _ in range(size)], algorithm)
        for number, size in enumerate(SIZES, 1)
    ]


@pytest.fixture(scope="module")
def log() -> SignedLog:
    return SignedLog(batches())


@pytest.mark.parametrize(
    "algorithm", [Algorithm.ECDSA_P256_SHA256, Algorithm.ED25519, Algorithm.RSA_PSS_3072_SHA256]
)
def test_the_proof_of_a_record_is_accepted_for_its_algorithm(judge: Judge, algorithm: Algorithm) -> None:
    log = SignedLog([SignedBatch(1, ["a"]), SignedBatch(2, ["b", "é ☃", "d\n"], algorithm)])
    assert [judge(log.proven(1, record)) for record in range(3)] == [None] * 3


def test_the_proof_of_each_record_is_accepted(judge: Judge, log: SignedLog) -> None:
    for batch, size in enumerate(SIZES):
        for record in range(size):
            assert judge(log.proven(batch, record)) is None


def test_the_cosignature_of_an_unknown_witness_is_ignored(judge: Judge, log: SignedLog) -> None:
    proof = log.proof(BATCH, RECORD)
    checkpoint = log.checkpoint()
    witness = Cosigner("example.com/witness", Ed25519PrivateKey.generate(), 1_700_000_000)
    note = add_signatures(checkpoint, witness.line(checkpoint.decode().partition("\n\n")[0] + "\n"))
    assert (
        judge(with_file(log.proven(BATCH, RECORD), PROOF_FILE, replace(proof.log, checkpoint=note).data))
        is None
    )


def with_file(proven: Proven, name: str, data: bytes) -> Proven:
    return replace(proven, files={**proven.files, name: data})


def with_members(proven: Proven, name: str, **changes: Any) -> Proven:
    values = json.loads(proven.files[name])
    values.update({member: change(values[member]) for member, change in changes.items()})
    return with_file(proven, name, canonical_text(values).encode())


def with_text(proven: Proven, old: str, new: str) -> Proven:
    """Returns the proof with a changed file of the log's proof."""
    text = proven.files[PROOF_FILE].decode()
    assert old in text
    return with_file(proven, PROOF_FILE, text.replace(old, new, 1).encode())


def with_log(log: SignedLog, entries: list[bytes], entry: int) -> Proven:
    """Returns the proof of the record as if the log had other entries, sealed by the seal key."""
    leaves = [leaf_hash(each) for each in entries]
    note = sign_checkpoint(Checkpoint(log.origin, len(leaves), tree_root(leaves)), log.seal_key)
    proof = TlogProof(entry, tuple(inclusion_path(leaves, entry)), note).data
    proven = with_file(log.proven(BATCH, RECORD), PROOF_FILE, proof)
    return with_file(proven, STATEMENT_FILE, entries[entry])


def restated(log: SignedLog, *, signed: bool = False, **changes: Any) -> Proven:
    """Returns the proof with an altered statement: by someone without a key, or, if `signed`, with the batch's key."""
    batch = log.batches[BATCH]
    statement = replace(batch.signed.statement, **changes)
    new = batch.sign(statement) if signed else replace(batch.signed, body=statement.body)
    return with_file(log.proven(BATCH, RECORD), STATEMENT_FILE, new.data)


def sealed(log: SignedLog, **changes: Any) -> Proven:
    """Returns the proof where an altered statement without a signature is sealed, as if the sealer were deceived."""
    batch = log.batches[BATCH]
    forged = replace(batch.signed, body=replace(batch.signed.statement, **changes).body)
    entries = [each.signed.data for each in log.batches]
    entries[BATCH] = forged.data
    return with_log(log, entries, BATCH)


def resealed(log: SignedLog, **changes: Callable[[Any], Any]) -> Proven:
    """Returns the proof where a statement with altered members of its envelope is sealed."""
    entries = [each.signed.data for each in log.batches]
    entries[BATCH] = with_members(log.proven(BATCH, RECORD), STATEMENT_FILE, **changes).files[STATEMENT_FILE]
    return with_log(log, entries, BATCH)


def flipped(data: bytes, place: int = -1) -> bytes:
    altered = bytearray(data)
    altered[place] ^= 1
    return bytes(altered)


def base64(change: Callable[[bytes], bytes]) -> Callable[[str], str]:
    return lambda text: b64encode(change(b64decode(text))).decode()


def high_s(signature: bytes) -> bytes:
    """Returns the other valid form of an ECDSA signature."""
    r, s = decode_dss_signature(signature)
    return encode_dss_signature(r, ORDER - s)


def two_swapped(log: SignedLog) -> Proven:
    """The record as if it had the id of its neighbor, which is what swapping two records makes of it."""
    return with_members(
        log.proven(BATCH, RECORD), RECORD_FILE, id=lambda _: log.batches[BATCH].ids[RECORD + 1]
    )


def of_another_key(log: SignedLog) -> Proven:
    """The whole batch, signed by another key, which the sealer has never seen."""
    other = SignedLog(batches(), log.origin)
    return replace(other.proven(BATCH, RECORD), seal_key=log.seal_key.public_key.vkey)


def sealed_by_another(log: SignedLog) -> Proven:
    other = NoteSigningKey(log.seal_key.name, Ed25519PrivateKey.generate())
    note = sign_checkpoint(Checkpoint(log.origin, len(log.leaves), tree_root(log.leaves)), other)
    return with_file(
        log.proven(BATCH, RECORD), PROOF_FILE, replace(log.proof(BATCH, RECORD).log, checkpoint=note).data
    )


def longer_log(log: SignedLog) -> Proven:
    """The statement in a log that has one entry more than the checkpoint says."""
    leaves = [*log.leaves, leaf_hash(b"more")]
    proof = replace(log.proof(BATCH, RECORD).log, path=tuple(inclusion_path(leaves, BATCH)))
    return with_file(log.proven(BATCH, RECORD), PROOF_FILE, proof.data)


def neighbor(log: SignedLog, name: str, batch: int = BATCH, record: int = RECORD + 1) -> Proven:
    """The proof with one file of another record's."""
    return with_file(log.proven(BATCH, RECORD), name, log.proven(batch, record).files[name])


def of_another_batch(log: SignedLog) -> Proven:
    """A record of another batch, signed by the same key, and stated as one of this batch."""
    other = SignedBatch(9, ["9000", "9001", "9002"])
    other.__dict__["key"] = log.batches[BATCH].key
    foreign = SignedLog([other]).proven(0, 1)
    files = {name: foreign.files[name] for name in (PAYLOAD, RECORD_FILE)}
    proven = log.proven(BATCH, RECORD)
    return replace(proven, files={**proven.files, **files})


def signed_under_another_type(log: SignedLog) -> Proven:
    """Something else that the batch's key signed, with the members of a statement."""
    batch, kind = log.batches[BATCH], PAYLOAD_TYPE.replace("v1", "v2")
    body = batch.signed.body.encode()
    signature = b64encode(signer(batch.key, batch.algorithm)(pae(kind, body))).decode()
    return resealed(log, payloadType=lambda _: kind, signatures=lambda each: [{**each[0], "sig": signature}])


def stated_wrong_signature(log: SignedLog) -> Proven:
    own = SignedLog(batches())
    signatures = own.batches[BATCH].signatures
    signatures[RECORD] = flipped(signatures[RECORD])
    return own.proven(BATCH, RECORD)


def earlier(log: SignedLog) -> datetime:
    return log.batches[BATCH].signed.statement.signed_at - timedelta(days=365)


ALTERATIONS: dict[str, Callable[[SignedLog], Proven]] = {
    "the payload is altered": lambda log: with_file(log.proven(BATCH, RECORD), PAYLOAD, b"other"),
    "the payload and its digest are altered": lambda log: with_members(
        neighbor(log, PAYLOAD),
        RECORD_FILE,
        payloadSha256=lambda _: json.loads(log.proven(BATCH, RECORD + 1).files[RECORD_FILE])["payloadSha256"],
    ),
    "the record has the id of another": two_swapped,
    "the record is another one's": lambda log: neighbor(log, RECORD_FILE),
    "the record is of another batch": of_another_batch,
    "the signature is altered": lambda log: with_members(
        log.proven(BATCH, RECORD), RECORD_FILE, signature=base64(flipped)
    ),
    "the signature has its other form": lambda log: with_members(
        log.proven(BATCH, RECORD), RECORD_FILE, signature=base64(high_s)
    ),
    "the signature is that of another record": lambda log: with_members(
        log.proven(BATCH, RECORD),
        RECORD_FILE,
        signature=lambda _: b64encode(log.batches[BATCH].signatures[0]).decode(),
    ),
    "the record is at another place": lambda log: with_members(
        log.proven(BATCH, RECORD), RECORD_FILE, index=lambda index: index - 1
    ),
    "the record is beyond its batch": lambda log: with_members(
        log.proven(BATCH, RECORD), RECORD_FILE, index=lambda _: SIZES[BATCH]
    ),
    "the record's path is altered": lambda log: with_members(
        log.proven(BATCH, RECORD), RECORD_FILE, path=lambda path: [path[0][::-1], *path[1:]]
    ),
    "the record's path is shorter": lambda log: with_members(
        log.proven(BATCH, RECORD), RECORD_FILE, path=lambda path: path[:-1]
    ),
    "the record's path is longer": lambda log: with_members(
        log.proven(BATCH, RECORD), RECORD_FILE, path=lambda path: [*path, path[0]]
    ),
    "a hash of the record's path is shorter": lambda log: with_members(
        log.proven(BATCH, RECORD), RECORD_FILE, path=lambda path: [path[0][:-2], *path[1:]]
    ),
    "the statement's time is set back": lambda log: restated(log, signed_at=earlier(log)),
    "the statement counts fewer records": lambda log: restated(log, count=SIZES[BATCH] - 1),
    "the statement has another root": lambda log: restated(
        log, root=tree_root(log.batches[BATCH].leaves[:-1])
    ),
    "the statement's signature is altered": lambda log: with_file(
        log.proven(BATCH, RECORD),
        STATEMENT_FILE,
        replace(log.batches[BATCH].signed, signature=flipped(log.batches[BATCH].signed.signature)).data,
    ),
    "the statement is stated again by its key": lambda log: restated(
        log, signed=True, signed_at=earlier(log)
    ),
    "the statement is another batch's": lambda log: neighbor(log, STATEMENT_FILE, 2, 0),
    "the statement is of another type": lambda log: with_members(
        log.proven(BATCH, RECORD), STATEMENT_FILE, payloadType=lambda text: text.replace("v1", "v2")
    ),
    "the statement has two signatures": lambda log: with_members(
        log.proven(BATCH, RECORD), STATEMENT_FILE, signatures=lambda each: each * 2
    ),
    "the sealed statement has an altered time": lambda log: sealed(log, signed_at=earlier(log)),
    "the sealed statement has an altered holder": lambda log: sealed(log, holder="signer-2"),
    "the sealed statement has another root": lambda log: sealed(log, root=bytes(32)),
    "the sealed statement is of another type": lambda log: resealed(
        log, payloadType=lambda text: text.replace("v1", "v2")
    ),
    "the key signed the sealed statement under another type": signed_under_another_type,
    "the key stated a signature that is not valid": stated_wrong_signature,
    "the sealed statement has two signatures": lambda log: resealed(log, signatures=lambda each: each * 2),
    "the sealed log has no such entry": lambda log: with_file(
        with_log(log, [batch.signed.data for batch in log.batches if batch.number != BATCH + 1], 0),
        STATEMENT_FILE,
        log.proven(BATCH, RECORD).files[STATEMENT_FILE],
    ),
    "the batch is signed by another key": of_another_key,
    "the pinned key is another": lambda log: replace(
        log.proven(BATCH, RECORD), key_pem=log.batches[0].key_pem
    ),
    "the checkpoint is signed by another key with the name": sealed_by_another,
    "the pinned seal key is another": lambda log: replace(
        log.proven(BATCH, RECORD), seal_key=SignedLog([]).seal_key.public_key.vkey
    ),
    "the checkpoint is of another log": lambda log: replace(
        log.proven(BATCH, RECORD), origin=log.origin + "1"
    ),
    "the checkpoint has another size": lambda log: with_text(
        log.proven(BATCH, RECORD), f"\n{len(SIZES)}\n", f"\n{len(SIZES) - 1}\n"
    ),
    "the checkpoint has another origin": lambda log: with_text(
        replace(log.proven(BATCH, RECORD), origin=log.origin + "1"), log.origin, log.origin + "1"
    ),
    "the checkpoint has no signature": lambda log: with_text(
        log.proven(BATCH, RECORD), log.checkpoint().decode().partition("\n\n")[2], ""
    ),
    "the log is longer than its checkpoint": longer_log,
    "the statement is at another place of the log": lambda log: with_text(
        log.proven(BATCH, RECORD), f"index {BATCH}\n", f"index {BATCH - 1}\n"
    ),
    "the statement is beyond the log": lambda log: with_text(
        log.proven(BATCH, RECORD), f"index {BATCH}\n", f"index {len(SIZES)}\n"
    ),
    "the log's path has a hash more": lambda log: with_text(
        log.proven(BATCH, RECORD), f"index {BATCH}\n", f"index {BATCH}\n{b64encode(bytes(32)).decode()}\n"
    ),
    "the log's path is cut off": lambda log: with_file(
        log.proven(BATCH, RECORD), PROOF_FILE, replace(log.proof(BATCH, RECORD).log, path=()).data
    ),
    "the proof is of another version": lambda log: with_text(log.proven(BATCH, RECORD), "@v1", "@v2"),
    "the proof is empty": lambda log: with_file(log.proven(BATCH, RECORD), PROOF_FILE, b""),
}
"""Each makes of a right proof one that must be refused."""


@pytest.mark.parametrize("alteration", ALTERATIONS)
def test_an_altered_proof_is_refused(judge: Judge, log: SignedLog, alteration: str) -> None:
    altered = ALTERATIONS[alteration](log)
    assert altered != log.proven(BATCH, RECORD)
    assert judge(altered) is not None
