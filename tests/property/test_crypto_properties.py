from __future__ import annotations

import tempfile
from functools import cache
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vaultstream.api import Algorithm
from vaultstream.crypto.algorithms import (
    PrivateKey,
    digest_verifier,
    generate_private_key,
    private_key_from_bytes,
    public_key_from_bytes,
    signer,
    verifier,
)
from vaultstream.crypto.keyring import load_keyring
from vaultstream.errors import CustodyError

pytestmark = pytest.mark.unit

every_algorithm = pytest.mark.parametrize("algorithm", list(Algorithm))


@cache
def a_key(algorithm: Algorithm) -> PrivateKey:
    return generate_private_key(algorithm)


@every_algorithm
@given(payload=st.binary(max_size=2000))
@settings(max_examples=50, deadline=None)
def test_what_was_signed_is_valid_by_payload_and_by_digest(algorithm: Algorithm, payload: bytes) -> None:
    public = a_key(algorithm).public_key()
    signature = signer(a_key(algorithm), algorithm)(payload)
    assert verifier(public, algorithm)(signature, payload)
    by_digest = digest_verifier(public, algorithm)
    assert by_digest is None or by_digest(signature, sha256(payload).digest())


@every_algorithm
@given(signature=st.binary(max_size=4000), payload=st.binary(max_size=100))
@settings(deadline=None)
def test_garbage_is_no_signature_and_no_error(algorithm: Algorithm, signature: bytes, payload: bytes) -> None:
    public = a_key(algorithm).public_key()
    by_digest = digest_verifier(public, algorithm)
    assert verifier(public, algorithm)(signature, payload) is False
    assert by_digest is None or by_digest(signature, payload) is False


@given(st.binary(max_size=200))
def test_garbage_is_no_key_and_refused_by_the_documented_error(data: bytes) -> None:
    with pytest.raises(CustodyError):
        private_key_from_bytes(data)
    with pytest.raises(CustodyError):
        public_key_from_bytes(data)


@given(st.binary(max_size=300))
def test_an_arbitrary_file_is_no_ring_and_refused_by_the_documented_error(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kek")
        path.write_bytes(data)
        path.chmod(0o600)
        with pytest.raises(CustodyError):
            load_keyring(path)
