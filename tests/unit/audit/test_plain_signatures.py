"""Signatures wait for each other, to be verified together, in limited memory."""

from __future__ import annotations

from hashlib import sha256

import pytest

from vaultstream.api import Algorithm
from vaultstream.audit.checks.plain_signatures import MAX_BYTES, MAX_HELD, PlainSignatures
from vaultstream.crypto.algorithms import generate_private_key, signer

pytestmark = pytest.mark.unit

ED25519 = Algorithm.ED25519
KEYS = [generate_private_key(ED25519) for _ in range(2)]


def add(plain: PlainSignatures[int], item: int, payload: bytes, *, signed: bytes | None = None) -> None:
    key = KEYS[item % 2]
    plain.add(
        item % 2,
        key.public_key(),
        item,
        signer(key, ED25519)(payload if signed is None else signed),
        sha256(payload).digest(),
        payload=payload,
    )


def test_the_invalid_ones_come_back_and_nothing_is_held_afterwards() -> None:
    plain = PlainSignatures[int](ED25519)
    for item in range(20):
        add(plain, item, b"payload %d" % item, signed=None if item % 5 else b"another")
    valid, invalid = plain.verify()
    assert (valid, sorted(invalid)) == (16, [0, 5, 10, 15])
    assert plain.verify() == (0, [])


def test_long_payloads_are_not_held_for_long() -> None:
    plain = PlainSignatures[int](ED25519)
    add(plain, 1, bytes(MAX_BYTES))
    assert not plain.is_full
    add(plain, 2, b"x")
    assert plain.is_full
    assert plain.verify() == (2, [])
    assert not plain.is_full


def test_only_so_many_signatures_are_held() -> None:
    plain = PlainSignatures[int](ED25519)
    signature, key = signer(KEYS[0], ED25519)(b""), KEYS[0].public_key()
    for item in range(MAX_HELD):
        assert not plain.is_full
        plain.add(0, key, item, signature, sha256(b"").digest(), payload=b"")
    assert plain.is_full
    assert plain.verify() == (MAX_HELD, [])
