"""Signatures that are verified together are judged as each one alone."""

from __future__ import annotations

from hashlib import sha256
from types import SimpleNamespace
from typing import Never

import pytest

from vaultstream.api import Algorithm
from vaultstream.crypto import batch_verifier
from vaultstream.crypto.algorithms import generate_private_key, signer, verifier
from vaultstream.crypto.batch_verifier import verify_many
from vaultstream.errors import CustodyError

pytestmark = pytest.mark.unit

COUNTS = (1, 9, 0, 3)


@pytest.mark.parametrize("algorithm", Algorithm)
def test_many_signatures_are_judged_as_each_one_alone(algorithm: Algorithm) -> None:
    keys = [generate_private_key(algorithm) for _ in COUNTS]
    payloads = [f"payload {n}".encode() for n in range(sum(COUNTS))]
    by = [key for key, count in zip(keys, COUNTS, strict=True) for _ in range(count)]
    signatures = [signer(key, algorithm)(payload) for key, payload in zip(by, payloads, strict=True)]
    signatures[1], signatures[2] = signatures[2], signatures[1]
    signatures[4] = b""
    signatures[12] = signer(keys[1], algorithm)(payloads[12])
    alone = [
        verifier(key.public_key(), algorithm)(signature, payload)
        for key, signature, payload in zip(by, signatures, payloads, strict=True)
    ]
    assert [at for at, valid in enumerate(alone) if not valid] == [1, 2, 4, 12]
    together = verify_many(
        algorithm,
        [key.public_key() for key in keys],
        COUNTS,
        signatures,
        payloads=payloads,
        digests=[sha256(payload).digest() for payload in payloads],
    )
    assert together == alone


@pytest.mark.parametrize("algorithm", Algorithm)
def test_a_key_for_another_algorithm_verifies_nothing(algorithm: Algorithm) -> None:
    other = next(each for each in Algorithm if each is not algorithm)
    keys = [generate_private_key(each).public_key() for each in (algorithm, other)]
    with pytest.raises(CustodyError, match="can't be used with"):
        verify_many(algorithm, keys, [1, 1], [b"", b""], payloads=[b"", b""], digests=[bytes(32)] * 2)


@pytest.mark.parametrize("algorithm", [Algorithm.ECDSA_P256_SHA256, Algorithm.ED25519])
def test_where_the_extension_fails_cryptography_judges_all_and_one_warning_says_so(
    algorithm: Algorithm, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object) -> Never:
        raise RuntimeError(f"a lane failed with {algorithm}")

    broken = SimpleNamespace(verify=fails, verify_ed25519=fails)
    monkeypatch.setattr(batch_verifier, "multibuffer", lambda: broken)
    key = generate_private_key(algorithm)
    signature = signer(key, algorithm)(b"one")
    payloads = [b"one", b"two", b"one"]
    digests = [sha256(payload).digest() for payload in payloads]
    signatures = [signature, signature, b""]
    for _ in range(2):
        answers = verify_many(
            algorithm, [key.public_key()], [3], signatures, payloads=payloads, digests=digests
        )
        assert answers == [True, False, False]
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert f"a lane failed with {algorithm}" in record.message
