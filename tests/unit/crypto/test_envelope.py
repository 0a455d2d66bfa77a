from __future__ import annotations

import json
from dataclasses import replace
from typing import ClassVar

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vaultstream.api import Algorithm
from vaultstream.crypto.algorithms import generate_private_key, private_key_to_bytes
from vaultstream.crypto.envelope import MAX_KEY_MESSAGE_BYTES, WrappedKey, rewrap, unwrap, unwrapped, wrap
from vaultstream.crypto.keyring import KeyEncryptionKey, KeyRing
from vaultstream.errors import CustodyError

pytestmark = pytest.mark.unit

KEK = KeyEncryptionKey.generate()
RING = KeyRing((KEK,))
SECRET = b"thirty-two bytes of a private key"


def wrapped(kek: KeyEncryptionKey = KEK) -> WrappedKey:
    return wrap(kek, SECRET, job="nightly-1", key_id="key-7", version=3, algorithm=Algorithm.ED25519)


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_a_real_key_of_each_algorithm_comes_out_as_it_went_in(algorithm: Algorithm) -> None:
    der = private_key_to_bytes(generate_private_key(algorithm))
    envelope = wrap(KEK, der, job="j", key_id="k", version=1, algorithm=algorithm)
    assert der not in envelope.wrapped
    assert unwrap(RING, WrappedKey.from_message(envelope.to_message())) == der


def test_the_format_is_the_documented_one() -> None:
    fields = [b"vaultstream wrapped key 1", b"nightly-1", b"key-7", b"3", b"ED25519"]
    bound = b"".join(len(data).to_bytes(4, "big") + data for data in fields)
    envelope = wrapped()
    assert AESGCM(KEK.secret).decrypt(envelope.wrapped[:12], envelope.wrapped[12:], bound) == SECRET
    assert len(envelope.wrapped) == 12 + len(SECRET) + 16


def test_what_was_unwrapped_is_wiped_even_after_an_error() -> None:
    seen = []

    def use() -> None:
        with unwrapped(RING, wrapped()) as der:
            seen.append((der, bytes(der)))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        use()
    [(der, before)] = seen
    assert before == SECRET
    assert der == bytes(len(SECRET))


class RecordedAESGCM:
    """The real one; it keeps the buffers into which it decrypts."""

    buffers: ClassVar[list[bytearray]] = []

    def __init__(self, secret: bytes) -> None:
        self._real = AESGCM(secret)

    def decrypt_into(self, nonce: bytes, sealed: bytes, bound: bytes, to: bytearray) -> int:
        self.buffers.append(to)
        return self._real.decrypt_into(nonce, sealed, bound, to)


def test_a_key_that_does_not_belong_to_its_name_is_not_left_in_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only the tag says so, after all of the key was decrypted."""
    misnamed = replace(wrapped(), key_id="key-8")
    monkeypatch.setattr("vaultstream.crypto.envelope.AESGCM", RecordedAESGCM)
    monkeypatch.setattr(RecordedAESGCM, "buffers", [])
    with pytest.raises(CustodyError):
        unwrap(RING, misnamed)
    assert RecordedAESGCM.buffers == [bytes(len(SECRET))]


def test_no_nonce_is_used_twice() -> None:
    assert len({wrapped().wrapped[:12] for _ in range(1000)}) == 1000


def test_the_end_of_a_field_can_not_move_into_the_next() -> None:
    envelope = wrap(KEK, SECRET, job="ab", key_id="c", version=1, algorithm=Algorithm.ED25519)
    with pytest.raises(CustodyError):
        unwrap(RING, replace(envelope, job="a", key_id="bc"))


def test_another_key_encryption_key_under_the_same_name_does_not_unwrap() -> None:
    impostor = KeyRing((KeyEncryptionKey(KEK.kek_id, bytes(32)),))
    with pytest.raises(CustodyError) as refused:
        unwrap(impostor, wrapped())
    assert "key-7" in refused.value.message
    assert KEK.kek_id in refused.value.message
    assert refused.value.hint
    assert refused.value.__cause__ is None


def test_a_key_encryption_key_that_is_not_in_the_ring_is_named() -> None:
    with pytest.raises(CustodyError, match=KEK.kek_id) as refused:
        unwrap(KeyRing((KeyEncryptionKey.generate(),)), wrapped())
    assert refused.value.hint
    assert "VAULTSTREAM_KEK_FILE" in refused.value.hint


@pytest.mark.parametrize("length", [0, 5, 11, 12, 27, 28])
def test_an_envelope_cut_short_is_refused(length: int) -> None:
    envelope = wrapped()
    with pytest.raises(CustodyError):
        unwrap(RING, replace(envelope, wrapped=envelope.wrapped[:length]))


def test_rewrapping_moves_a_key_under_the_primary_and_raises_its_version() -> None:
    primary = KeyEncryptionKey.generate()
    before = replace(wrapped(), state="retired")
    after = rewrap(KeyRing((primary, KEK)), before)
    assert after == replace(before, version=4, kek_id=primary.kek_id, wrapped=after.wrapped)
    assert unwrap(KeyRing((primary,)), after) == SECRET
    assert unwrap(RING, before) == SECRET


def test_an_envelope_of_an_older_version_does_not_pass_for_a_newer_one() -> None:
    with pytest.raises(CustodyError):
        unwrap(RING, replace(wrapped(), version=4))


def test_the_state_is_carried_but_does_not_decide_whether_a_key_unwraps() -> None:
    revoked = WrappedKey.from_message(replace(wrapped(), state="revoked").to_message())
    assert revoked.state == "revoked"
    assert unwrap(RING, revoked) == SECRET


def test_a_message_is_compact_json_of_the_fields() -> None:
    message = wrapped().to_message()
    fields = json.loads(message)
    assert list(fields) == ["job", "key_id", "version", "algorithm", "kek_id", "wrapped", "state"]
    assert json.dumps(fields, separators=(",", ":")).encode() == message
    assert SECRET not in message


def test_a_field_of_a_later_version_is_ignored() -> None:
    message = json.dumps({**json.loads(wrapped().to_message()), "comment": "new"}).encode()
    assert WrappedKey.from_message(message).key_id == "key-7"


@pytest.mark.parametrize("missing", ["job", "key_id", "version", "algorithm", "kek_id", "wrapped", "state"])
def test_a_message_without_a_field_is_refused_by_the_fields_name(missing: str) -> None:
    fields = json.loads(wrapped().to_message())
    del fields[missing]
    with pytest.raises(CustodyError, match=f"field {missing} "):
        WrappedKey.from_message(json.dumps(fields).encode())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("job", ""),
        ("job", 7),
        ("key_id", None),
        ("key_id", "k" * 1025),
        ("version", 0),
        ("version", True),
        ("version", "1"),
        ("version", 1.5),
        ("version", 2**31),
        ("algorithm", "ROT13"),
        ("kek_id", "kek-1\nsomething"),
        ("wrapped", "*not base64*"),
        ("wrapped", "c2hvcnQ="),
        ("state", "lost"),
        ("state", "active\n"),
    ],
)
def test_a_message_with_an_invalid_field_is_refused_without_showing_it(field: str, value: object) -> None:
    fields = {**json.loads(wrapped().to_message()), field: value}
    with pytest.raises(CustodyError) as refused:
        WrappedKey.from_message(json.dumps(fields).encode())
    assert (
        refused.value.message
        == f"A message can't be read as a wrapped key: its field {field} is missing or invalid."
    )
    assert refused.value.__cause__ is None


@pytest.mark.parametrize(
    "garbage",
    [b"", b"null", b"[]", b'"text"', b"\xff\xfe", b"{", b"[" * 60_000, b'{"a":' * 10_000, b"9" * 60_000],
)
def test_a_message_that_is_not_an_object_is_refused(garbage: bytes) -> None:
    with pytest.raises(CustodyError, match="not a JSON object"):
        WrappedKey.from_message(garbage)


def test_a_lone_surrogate_in_a_name_is_refused() -> None:
    message = wrapped().to_message().replace(b"nightly-1", rb"\ud800")
    with pytest.raises(CustodyError):
        WrappedKey.from_message(message)


def test_an_oversize_message_is_refused_unread() -> None:
    message = wrapped().to_message()
    whole = message + b" " * (MAX_KEY_MESSAGE_BYTES - len(message))
    assert WrappedKey.from_message(whole).key_id == "key-7"
    with pytest.raises(CustodyError, match="65,537 bytes"):
        WrappedKey.from_message(whole + b" ")
