from __future__ import annotations

from functools import cache
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import example, given
from hypothesis import strategies as st

from vaultstream.api import Algorithm
from vaultstream.crypto.algorithms import digest_verifier, generate_private_key, signer, verifier
from vaultstream.crypto.low_s import HIGHEST_S, P256_ORDER, all_low_s, is_low_s, low_s

pytestmark = pytest.mark.unit

ECDSA_P256 = Algorithm.ECDSA_P256_SHA256
scalars = st.integers(1, P256_ORDER - 1) | st.integers(1, 1 << 64)
near_the_middle = st.integers(-(1 << 64), 1 << 64).map(lambda offset: HIGHEST_S + offset)


@cache
def a_key() -> EllipticCurvePrivateKey:
    key = generate_private_key(ECDSA_P256)
    assert isinstance(key, EllipticCurvePrivateKey)
    return key


@given(r=scalars, s=scalars | near_the_middle)
@example(r=1, s=HIGHEST_S)
@example(r=1, s=HIGHEST_S + 1)
@example(r=P256_ORDER - 1, s=P256_ORDER - 1)
@example(r=1 << 255, s=1 << 255)
@example(r=1 << 247, s=0x7F << 8)
@example(r=1, s=P256_ORDER - (1 << 247))
@example(r=1, s=P256_ORDER - (1 << 247) + 1)
def test_the_low_form_is_the_smaller_s_in_the_der_of_openssl(r: int, s: int) -> None:
    signature = encode_dss_signature(r, s)
    low = encode_dss_signature(r, min(s, P256_ORDER - s))
    assert low_s(signature) == low
    assert all_low_s([signature, low, signature]) == [low, low, low]
    assert is_low_s(signature) is (s <= HIGHEST_S)


@pytest.mark.parametrize("deterministic", [False, True], ids=["random", "RFC 6979"])
@given(payload=st.binary(max_size=40))
def test_each_signature_has_a_low_s_and_its_high_twin_is_refused(deterministic: bool, payload: bytes) -> None:
    public = a_key().public_key()
    signature = signer(a_key(), ECDSA_P256, deterministic=deterministic)(payload)
    r, s = decode_dss_signature(signature)
    assert s <= HIGHEST_S
    assert verifier(public, ECDSA_P256)(signature, payload)

    twin = encode_dss_signature(r, P256_ORDER - s)
    public.verify(twin, payload, ECDSA(SHA256()))  # raises InvalidSignature if OpenSSL does not accept it
    assert not verifier(public, ECDSA_P256)(twin, payload)
    by_digest = digest_verifier(public, ECDSA_P256)
    assert by_digest is not None
    assert not by_digest(twin, sha256(payload).digest())
