from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from vaultstream.api import Algorithm
from vaultstream.audit.checks.judgement import (
    Absence,
    AuditKey,
    CommittedLease,
    Outcome,
    StoredSignature,
    judge,
    lease_fault,
)
from vaultstream.crypto.algorithms import PrivateKey, generate_private_key, public_key_to_bytes, signer
from vaultstream.crypto.low_s import P256_ORDER

pytestmark = pytest.mark.unit

NOW = datetime(2030, 1, 1, tzinfo=UTC)
PAYLOAD = b"paid 12 EUR"
OTHER = b"paid 99 EUR"
algorithms = pytest.mark.parametrize("algorithm", list(Algorithm))
by_digest = pytest.mark.parametrize("algorithm", [Algorithm.ECDSA_P256_SHA256, Algorithm.RSA_PSS_3072_SHA256])
by_payload = pytest.mark.parametrize("algorithm", [Algorithm.ED25519, Algorithm.ML_DSA_65])


@cache
def private_key(algorithm: Algorithm) -> PrivateKey:
    return generate_private_key(algorithm)


def key(algorithm: Algorithm) -> AuditKey:
    public = public_key_to_bytes(private_key(algorithm))
    return AuditKey(key_id="k-1", algorithm=algorithm, public_key=public, state="active")


def stored_row(algorithm: Algorithm, *, digest: bytes | None = None, flip: bool = False) -> StoredSignature:
    signature = signer(private_key(algorithm), algorithm)(PAYLOAD)
    if flip:
        signature = signature[:40] + bytes([signature[40] ^ 1]) + signature[41:]
    return StoredSignature(1, 1, NOW, digest or sha256(PAYLOAD).digest(), signature)


@algorithms
def test_a_signature_over_the_present_payload_is_valid(algorithm: Algorithm) -> None:
    assert judge(stored_row(algorithm), key(algorithm), PAYLOAD).outcome is Outcome.VALID


@algorithms
def test_a_flipped_bit_is_invalid(algorithm: Algorithm) -> None:
    assert judge(stored_row(algorithm, flip=True), key(algorithm), PAYLOAD).outcome is Outcome.INVALID


@algorithms
@pytest.mark.parametrize("garbage", [b"", b"\x00", b"\xff" * 5000])
def test_garbage_is_invalid(algorithm: Algorithm, garbage: bytes) -> None:
    row = StoredSignature(1, 1, NOW, sha256(PAYLOAD).digest(), garbage)
    assert judge(row, key(algorithm), PAYLOAD).outcome is Outcome.INVALID


@algorithms
def test_another_payload_is_changed(algorithm: Algorithm) -> None:
    assert judge(stored_row(algorithm), key(algorithm), OTHER).outcome is Outcome.CHANGED


@algorithms
@pytest.mark.parametrize("absence", list(Absence))
def test_no_payload_is_changed_and_says_why(algorithm: Algorithm, absence: Absence) -> None:
    verdict = judge(stored_row(algorithm), key(algorithm), absence)
    assert verdict.outcome is Outcome.CHANGED
    assert absence in verdict.reason


@algorithms
def test_a_digest_that_is_not_the_signed_payloads_is_invalid(algorithm: Algorithm) -> None:
    row = stored_row(algorithm, digest=sha256(OTHER).digest())
    assert judge(row, key(algorithm), PAYLOAD).outcome is Outcome.INVALID


@by_digest
@pytest.mark.parametrize("present", [OTHER, *Absence])
def test_a_bad_signature_of_a_changed_record_is_invalid_where_the_digest_tells(
    algorithm: Algorithm, present: bytes | Absence
) -> None:
    assert judge(stored_row(algorithm, flip=True), key(algorithm), present).outcome is Outcome.INVALID


@by_payload
@pytest.mark.parametrize("present", [OTHER, *Absence])
def test_a_bad_signature_of_a_changed_record_can_not_be_detected_without_the_payload(
    algorithm: Algorithm, present: bytes | Absence
) -> None:
    assert judge(stored_row(algorithm, flip=True), key(algorithm), present).outcome is Outcome.CHANGED


@algorithms
@pytest.mark.parametrize("digest", [b"", b"short", b"\x00" * 33])
def test_a_digest_of_another_length_is_no_crash(algorithm: Algorithm, digest: bytes) -> None:
    row = StoredSignature(1, 1, NOW, digest, stored_row(algorithm).signature)
    assert judge(row, key(algorithm), PAYLOAD).outcome is Outcome.INVALID
    expected = Outcome.CHANGED if key(algorithm).needs_payload else Outcome.INVALID
    assert judge(row, key(algorithm), OTHER).outcome is expected


def test_a_key_that_the_job_does_not_have_makes_it_invalid() -> None:
    assert judge(stored_row(Algorithm.ED25519), None, PAYLOAD).outcome is Outcome.INVALID


@pytest.mark.parametrize(
    "public_key",
    [b"", b"\x30\x00", public_key_to_bytes(private_key(Algorithm.ED25519))],
    ids=["empty", "garbage", "another algorithm's"],
)
def test_a_public_key_that_can_not_be_used_makes_it_invalid(public_key: bytes) -> None:
    broken = AuditKey(
        key_id="k-1", algorithm=Algorithm.ECDSA_P256_SHA256, public_key=public_key, state="active"
    )
    verdict = judge(stored_row(Algorithm.ECDSA_P256_SHA256), broken, PAYLOAD)
    assert verdict.outcome is Outcome.INVALID
    assert "public key of k-1" in verdict.reason


def high_s(signature: bytes) -> bytes:
    r, s = decode_dss_signature(signature)
    return encode_dss_signature(r, P256_ORDER - s)


@pytest.mark.parametrize("present", [PAYLOAD, OTHER, Absence.DELETED])
def test_the_high_s_form_of_a_signature_is_invalid_and_says_so(present: bytes | Absence) -> None:
    good = stored_row(Algorithm.ECDSA_P256_SHA256)
    twin = good._replace(signature=high_s(good.signature))
    verdict = judge(twin, key(Algorithm.ECDSA_P256_SHA256), present)
    assert verdict.outcome is Outcome.INVALID
    assert "high-s form of a valid signature" in verdict.reason


def test_a_bad_signature_with_a_high_s_is_not_called_a_form_of_a_valid_one() -> None:
    good = stored_row(Algorithm.ECDSA_P256_SHA256)
    bad = good._replace(
        signature=high_s(
            signer(private_key(Algorithm.ECDSA_P256_SHA256), Algorithm.ECDSA_P256_SHA256)(OTHER)
        ),
    )
    verdict = judge(bad, key(Algorithm.ECDSA_P256_SHA256), PAYLOAD)
    assert verdict.outcome is Outcome.INVALID
    assert "high-s" not in verdict.reason


def test_a_signature_under_a_neutral_ed25519_key_is_invalid_though_openssl_accepts_it() -> None:
    neutral = (1).to_bytes(32, "little")
    forged = neutral + bytes(32)
    public = Ed25519PublicKey.from_public_bytes(neutral)
    public.verify(forged, PAYLOAD)  # raises InvalidSignature if it does not hold
    spki = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    planted = AuditKey(key_id="k-1", algorithm=Algorithm.ED25519, public_key=spki, state="active")
    row = StoredSignature(1, 1, NOW, sha256(PAYLOAD).digest(), forged)
    verdict = judge(row, planted, PAYLOAD)
    assert verdict.outcome is Outcome.INVALID
    assert "small order" in verdict.reason


@algorithms
def test_a_key_for_another_algorithm_than_the_job_s_makes_it_invalid(algorithm: Algorithm) -> None:
    for wanted in set(Algorithm) - {algorithm}:
        planted = AuditKey(
            key_id="k-1",
            algorithm=algorithm,
            public_key=public_key_to_bytes(private_key(algorithm)),
            state="active",
            wanted=wanted,
        )
        assert judge(stored_row(algorithm), planted, PAYLOAD).outcome is Outcome.INVALID


def test_a_key_for_an_unknown_algorithm_makes_it_invalid() -> None:
    public = public_key_to_bytes(private_key(Algorithm.ED25519))
    planted = AuditKey(key_id="k-1", algorithm="ROT13", public_key=public, state="active")
    assert judge(stored_row(Algorithm.ED25519), planted, PAYLOAD).outcome is Outcome.INVALID


MOMENT = timedelta(microseconds=1)


HOUR = timedelta(hours=1)


def unstated(*commits: datetime | None) -> list[CommittedLease]:
    return [CommittedLease(NOW - HOUR, at, stated=False) for at in commits]


def stated(began: datetime | None, committed_at: datetime | None) -> list[CommittedLease]:
    return [CommittedLease(began, committed_at, stated=True)]


@pytest.mark.parametrize(
    "commits",
    [
        unstated(NOW),
        unstated(NOW - MOMENT, NOW),
        unstated(None, NOW),
        stated(NOW - MOMENT, NOW + MOMENT),
        stated(NOW, NOW + MOMENT),
        stated(NOW - MOMENT, NOW),
        stated(None, NOW + MOMENT),
        stated(NOW + HOUR, NOW + MOMENT),  # the clock was set back
    ],
)
def test_a_signature_is_made_at_the_time_of_its_commit_or_stated_within_its_lease(
    commits: list[CommittedLease],
) -> None:
    assert lease_fault(stored_row(Algorithm.ED25519), commits) is None


@pytest.mark.parametrize(
    "commits",
    [
        [],
        unstated(NOW - MOMENT),
        unstated(NOW + MOMENT, None),
        stated(NOW - HOUR, NOW - MOMENT),
        stated(NOW + MOMENT, NOW + HOUR),
        stated(NOW + HOUR, NOW - MOMENT),
        stated(NOW - HOUR, None),
    ],
)
def test_any_other_time_is_an_error(commits: list[CommittedLease]) -> None:
    assert "epoch 1" in (lease_fault(stored_row(Algorithm.ED25519), commits) or "")
