"""Signatures wait for each other, to be verified together, in limited memory."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256

import pytest

from vaultstream.api import Algorithm
from vaultstream.audit.checks.judgement import StoredSignature
from vaultstream.audit.checks.plain_signatures import MAX_BYTES, PlainSignatures
from vaultstream.crypto.algorithms import generate_private_key, signer

pytestmark = pytest.mark.unit

ED25519 = Algorithm.ED25519


def test_the_invalid_ones_come_back_with_what_explains_them_and_nothing_is_held_afterwards() -> None:
    keys = [generate_private_key(ED25519) for _ in range(2)]
    plain = PlainSignatures(ED25519)
    wrong = []
    for record in range(20):
        payload = f"payload {record}".encode()
        key_no = record % 2
        signed = payload if record % 5 else b"another"
        signature = signer(keys[key_no], ED25519)(signed)
        stored = StoredSignature(key_no, 1, datetime.now(UTC), sha256(payload).digest(), signature)
        plain.add(keys[key_no].public_key(), record, stored, payload)
        if signed != payload:
            wrong.append((record, stored, payload))
    valid, invalid = plain.verify()
    assert (valid, sorted(invalid)) == (16, wrong)
    assert plain.verify() == (0, [])


def test_long_payloads_are_not_held_for_long() -> None:
    key = generate_private_key(ED25519)
    plain = PlainSignatures(ED25519)
    payload = bytes(MAX_BYTES)
    stored = StoredSignature(1, 1, datetime.now(UTC), sha256(payload).digest(), signer(key, ED25519)(payload))
    plain.add(key.public_key(), 1, stored, payload)
    assert not plain.is_full
    plain.add(key.public_key(), 2, stored, payload)
    assert plain.is_full
    assert plain.verify() == (2, [])
    assert not plain.is_full
