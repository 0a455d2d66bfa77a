"""Ed25519 of the native extension: the bytes and the judgments of `cryptography`."""

from __future__ import annotations

from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from support.native import rows_of
from vaultstream.api import Algorithm
from vaultstream.crypto.algorithms import verifier
from vaultstream.crypto.batch_verifier import verify_messages
from vaultstream.crypto.multibuffer import Multibuffer, NativeKey

pytestmark = pytest.mark.unit

ORDER = 2**252 + 27742317777372353535851937790883648493
FIELD = 2**255 - 19
PRIVATE = [Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32) for number in range(3)]
PUBLIC = [key.public_key() for key in PRIVATE]
POINTS = [key.public_bytes_raw() for key in PUBLIC]
IS_VALID = [verifier(key, Algorithm.ED25519) for key in PUBLIC]

# RFC 8032, section 7.1: seed, public key, message, signature.
VECTORS = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
]


@pytest.mark.parametrize(("seed", "key", "message", "signature"), VECTORS, ids=["1", "2", "3"])
def test_the_vectors_of_rfc_8032_are_signed_and_verified(
    native: Multibuffer, seed: str, key: str, message: str, signature: str
) -> None:
    text, expected = bytes.fromhex(message), bytes.fromhex(signature)
    packed = native.sign([native.Ed25519Key(bytes.fromhex(seed), bytes.fromhex(key))], [1], [text], None, 98)
    assert rows_of(packed, 98) == [(sha256(text).digest(), expected)]
    assert native.verify_ed25519([bytes.fromhex(key)], [1], [text], [expected]) == b"\1"


def opened(native: Multibuffer, key: Ed25519PrivateKey) -> NativeKey:
    return native.Ed25519Key(key.private_bytes_raw(), key.public_key().public_bytes_raw())


@pytest.mark.parametrize("count", range(1, 71))
def test_every_number_of_records_is_signed_with_the_same_bytes(native: Multibuffer, count: int) -> None:
    payloads = [b"%d " % index * (count * index % 100) for index in range(count)]
    counts = [count // 3, count // 5, count - count // 3 - count // 5]
    keys = [number for number, size in enumerate(counts) for _ in range(size)]
    theirs = [PRIVATE[key].sign(payload) for key, payload in zip(keys, payloads, strict=True)]
    ours = [opened(native, key) for key in PRIVATE]
    width = 98 + count
    assert rows_of(native.sign(ours, counts, payloads, None, width), width) == [
        (sha256(payload).digest(), signature) for payload, signature in zip(payloads, theirs, strict=True)
    ]
    theirs[count // 2] = theirs[count // 2][:63] + bytes([theirs[count // 2][63] ^ 1])
    answers = native.verify_ed25519(POINTS, counts, payloads, theirs)
    assert answers == bytes(index != count // 2 for index in range(count))


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=1000), st.binary(max_size=1000))
@settings(max_examples=50)
def test_any_seed_and_message_are_signed_with_the_same_bytes(
    native: Multibuffer, seed: bytes, payload: bytes, message: bytes
) -> None:
    private = Ed25519PrivateKey.from_private_bytes(seed)
    packed = native.sign([opened(native, private)], [1], [payload], [message], 98)
    assert rows_of(packed, 98) == [(sha256(payload).digest(), private.sign(message))]


def refused(message: bytes) -> list[bytes]:
    """Returns what is no signature of the first key, or another form of it."""
    signature = PRIVATE[0].sign(message)
    r, s = signature[:32], int.from_bytes(signature[32:], "little")
    others = [s + ORDER, s + 2 * ORDER, s + 15 * ORDER, ORDER, ORDER - s, 0, 2**256 - 1, s | 1 << 255]
    points = [FIELD, FIELD + 1, 2**255 - 1, 2**256 - 1, 0, 1, FIELD + (1 << 255)]
    return [
        *(r + other.to_bytes(32, "little") for other in others),
        *(other.to_bytes(32, "little") + signature[32:] for other in points),
        *(signature[:size] for size in (0, 1, 32, 63)),
        signature + b"\0",
        signature[32:] + r,
        bytes([*signature[:31], signature[31] ^ 0x80, *signature[32:]]),
        bytes(64),
        PRIVATE[1].sign(message),
        PRIVATE[0].sign(message + b"\0"),
    ]


def test_another_form_of_a_signature_is_refused(native: Multibuffer) -> None:
    """The library alone takes s + n for s."""
    for number in range(20):
        message = b"%d" % number
        signatures = [*refused(message), PRIVATE[0].sign(message)]
        messages = [message] * len(signatures)
        expected = [IS_VALID[0](signature, message) for signature in signatures]
        assert expected == [False] * (len(signatures) - 1) + [True]
        assert native.verify_ed25519(POINTS[:1], [len(signatures)], messages, signatures) == bytes(expected)
        assert verify_messages(PUBLIC[:1], [len(signatures)], messages, signatures) == expected


@given(data=st.data(), message=st.binary(max_size=100))
@settings(max_examples=200)
def test_a_changed_signature_is_judged_as_by_cryptography(
    native: Multibuffer, data: st.DataObject, message: bytes
) -> None:
    signature = bytearray(PRIVATE[0].sign(message))
    for _ in range(data.draw(st.integers(0, 2))):
        signature[data.draw(st.integers(0, 63))] = data.draw(st.integers(0, 255))
    answer = native.verify_ed25519(POINTS[:1], [1], [message], [bytes(signature)])
    assert answer[0] == IS_VALID[0](bytes(signature), message)


@pytest.mark.parametrize(
    "point",
    [
        b"",
        POINTS[0][:31],
        POINTS[0] + b"\0",
        FIELD.to_bytes(32, "little"),
        b"\xff" * 32,
        b"\xee" + b"\xff" * 31,
    ],
)
def test_what_is_no_encoded_point_is_no_key(native: Multibuffer, point: bytes) -> None:
    with pytest.raises(ValueError, match="no encoded point"):
        native.verify_ed25519([point], [1], [b""], [bytes(64)])


def test_keys_of_two_types_are_not_mixed_and_rows_have_room(native: Multibuffer) -> None:
    edwards, other = opened(native, PRIVATE[0]), native.Key(b"\1" * 32)
    for keys in ([edwards, other], [other, edwards]):
        with pytest.raises(TypeError, match="one of the types"):
            native.sign(keys, [1, 1], [b"a", b"b"], None, 105)
    with pytest.raises(ValueError, match="width"):
        native.sign([edwards], [1], [b"a"], None, 97)
    for seed in (bytes(31), bytes(33)):
        with pytest.raises(ValueError, match="32 bytes"):
            native.Ed25519Key(seed, bytes(32))
