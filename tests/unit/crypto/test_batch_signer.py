from __future__ import annotations

from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from vaultstream.api import Algorithm
from vaultstream.crypto.algorithms import PrivateKey, generate_private_key, private_key_to_bytes, verifier
from vaultstream.crypto.algorithms import signer as signature_by
from vaultstream.crypto.batch_signer import BatchSigner, LibrarySigner, batch_signer, root, roots
from vaultstream.crypto.multibuffer_signer import Ed25519MultibufferSigner, P256MultibufferSigner
from vaultstream.crypto.rows import Rows, pack
from vaultstream.errors import CustodyError, SigningFaultError
from vaultstream.proof.merkle import leaf_hash, tree_root
from vaultstream.proof.statement import record_hashes, record_leaf

if TYPE_CHECKING:
    from vaultstream.crypto.multibuffer import Multibuffer

pytestmark = pytest.mark.unit

every_algorithm = pytest.mark.parametrize("algorithm", list(Algorithm))
COUNTS = [3, 0, 1, 9]


@cache
def some_keys(algorithm: Algorithm) -> list[PrivateKey]:
    return [generate_private_key(algorithm) for _ in range(2)] * 2


def opened(signer: BatchSigner[Any], algorithm: Algorithm) -> Any:
    [key, *_] = some_keys(algorithm)
    return signer.open(key, private_key_to_bytes(key))


def payloads(count: int) -> list[bytes]:
    return [b"payload %d" % number * number for number in range(count)]


@every_algorithm
@pytest.mark.parametrize("form", ["the payloads", "messages"])
def test_each_row_has_the_payloads_digest_and_the_signature_by_its_key(
    algorithm: Algorithm, form: str
) -> None:
    signer, signed = batch_signer(algorithm), payloads(sum(COUNTS))
    messages = [b"message of " + each for each in signed] if form == "messages" else None
    keys = some_keys(algorithm)
    rows = Rows(
        signer.width,
        bytearray(
            signer.sign(
                [signer.open(key, private_key_to_bytes(key)) for key in keys], COUNTS, signed, messages
            )
        ),
    )
    assert len(rows) == len(signed)
    assert rows.digests == [sha256(each).digest() for each in signed]
    verify = [
        verifier(key.public_key(), algorithm)
        for key, count in zip(keys, COUNTS, strict=True)
        for _ in range(count)
    ]
    found = list(zip(verify, rows.signatures, messages or signed, strict=True))
    assert all(check(signature, message) for check, signature, message in found)
    check, signature, _ = found[0]
    assert not check(signature, found[1][2])
    assert not check(*found[-1][1:]), "the last is by the other key"


@every_algorithm
def test_no_payload_makes_no_row(algorithm: Algorithm) -> None:
    signer = batch_signer(algorithm)
    assert signer.sign([], [], []) == b""
    assert signer.sign([opened(signer, algorithm)], [0], []) == b""


@every_algorithm
def test_a_key_for_another_algorithm_is_not_opened(algorithm: Algorithm) -> None:
    other = Algorithm.ED25519 if algorithm is not Algorithm.ED25519 else Algorithm.ECDSA_P256_SHA256
    with pytest.raises(CustodyError, match="can't be used with"):
        opened(batch_signer(algorithm), other)


@pytest.mark.parametrize("deterministic", [True, False])
def test_ecdsa_signs_one_payload_alike_only_if_it_is_deterministic(deterministic: bool) -> None:
    signer = batch_signer(Algorithm.ECDSA_P256_SHA256, deterministic=deterministic)
    key = opened(signer, Algorithm.ECDSA_P256_SHA256)
    assert (signer.sign([key], [1], [b"one"]) == signer.sign([key], [1], [b"one"])) is deterministic


def test_a_signature_that_is_too_long_for_its_row_is_not_packed() -> None:
    with pytest.raises(ValueError, match="longer than the 3 bytes"):
        pack([bytes(32), bytes(32)], [b"1234", b"12"], 37)


@pytest.mark.parametrize("width", [None, 50])
def test_rows_are_read_as_they_were_packed(width: int | None) -> None:
    digests, signatures = [bytes([n]) * 32 for n in range(3)], [b"", b"a\0", b"0123456789"]
    rows = Rows.of(digests, signatures, width=width)
    assert (rows.width, len(rows)) == (width or 44, 3)
    assert (rows.digests, rows.signatures) == (digests, signatures)
    rows.reorder([2, 0, 1])
    assert rows.signatures == [signatures[at] for at in (2, 0, 1)]
    assert rows.digests == [digests[at] for at in (2, 0, 1)]


def test_a_signature_can_have_more_than_255_bytes() -> None:
    assert Rows.of([bytes(32)], [b"x" * 3309]).signatures == [b"x" * 3309]


@pytest.mark.parametrize("counts", [[], [1], [3, 0, 5], [7, 1]])
def test_the_root_of_each_group_is_that_of_its_statement(counts: list[int]) -> None:
    count = sum(counts)
    ids = [f"record {number}" for number in range(count)]
    digests = [sha256(each.encode()).digest() for each in ids]
    signatures = [each.encode() * 3 for each in ids]
    hashes = [leaf_hash(record_leaf(*each)) for each in zip(ids, digests, signatures, strict=True)]
    starts = [sum(counts[:at]) for at in range(len(counts))]
    places = [slice(start, start + size) for start, size in zip(starts, counts, strict=True)]
    expected = [tree_root(hashes[place]) for place in places]
    rows = [Rows.of(digests[place], signatures[place], width=200) for place in places]
    for own in (ids, [UUID(int=number) for number in range(count)]):
        if own != ids:
            hashes = record_hashes(own, digests, signatures)
            expected = [tree_root(hashes[place]) for place in places]
        assert roots([own[place] for place in places], rows) == expected
        assert [root(own[place], digests[place], signatures[place]) for place in places] == expected


@cache
def ecdsa_key() -> tuple[PrivateKey, bytes]:
    [key, *_] = some_keys(Algorithm.ECDSA_P256_SHA256)
    return key, private_key_to_bytes(key)


def test_ed25519_has_the_same_rows_whatever_signs(native: Multibuffer) -> None:
    algorithm, signed = Algorithm.ED25519, payloads(sum(COUNTS))
    rows = []
    for signer in (LibrarySigner(algorithm), Ed25519MultibufferSigner(native)):
        keys = [signer.open(key, private_key_to_bytes(key)) for key in some_keys(algorithm)]
        rows.append(signer.sign(keys, COUNTS, signed))
    assert rows[0] == rows[1]
    assert isinstance(batch_signer(algorithm), Ed25519MultibufferSigner)


class Native:
    """The part of the extension that a test needs."""

    def __init__(self) -> None:
        self.scalars: list[bytes] = []

    def Key(self, scalar: memoryview) -> object:  # noqa: N802 - a class
        self.scalars.append(bytes(scalar))
        return object()

    def Ed25519Key(self, seed: memoryview, public_key: bytes) -> object:  # noqa: N802 - a class
        return object()

    def sign(self, *_: object) -> bytes:
        raise RuntimeError("no randomness")

    def verify(self, points: list[bytes], *_: object) -> bytes:
        return bytes(len(points))

    verify_ed25519 = verify


def test_the_extension_gets_the_scalar_and_no_view_of_what_is_wiped_afterwards() -> None:
    key, der = ecdsa_key()
    native, data = Native(), bytearray(der)
    P256MultibufferSigner(cast("Multibuffer", native)).open(key, data)
    assert isinstance(key, EllipticCurvePrivateKey)
    assert native.scalars == [key.private_numbers().private_value.to_bytes(32)]
    data.clear()  # fails while there is a view


@pytest.mark.parametrize("der", [b"", b"0", bytes(138)])
def test_a_key_in_another_form_is_not_opened(der: bytes) -> None:
    with pytest.raises(CustodyError, match="not in the form"):
        P256MultibufferSigner(cast("Multibuffer", Native())).open(ecdsa_key()[0], der)


def test_that_the_extension_fails_is_no_fault_of_a_key_or_payload() -> None:
    signer = P256MultibufferSigner(cast("Multibuffer", Native()))
    key = signer.open(*ecdsa_key())
    with pytest.raises(SigningFaultError, match="no randomness"):
        signer.sign([key], [1], [b"one"])


@pytest.mark.parametrize("error", [RuntimeError, ValueError])
@pytest.mark.parametrize("algorithm", [Algorithm.ECDSA_P256_SHA256, Algorithm.ED25519])
def test_that_the_extension_cannot_open_or_verify_is_no_fault_of_a_batch(
    algorithm: Algorithm, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> bytes:
        raise error("lanes disagree")

    native = Native()
    kind = P256MultibufferSigner if algorithm is Algorithm.ECDSA_P256_SHA256 else Ed25519MultibufferSigner
    signer = kind(cast("Multibuffer", native))
    key = opened(signer, algorithm)
    for name in ("Key", "Ed25519Key", "verify", "verify_ed25519"):
        monkeypatch.setattr(native, name, fail)
    with pytest.raises(SigningFaultError, match="lanes disagree"):
        signer.verify([key], [b"one"], [b"signature"])
    with pytest.raises(SigningFaultError, match="lanes disagree"):
        opened(signer, algorithm)


def test_what_the_extension_calls_invalid_is_judged_again() -> None:
    """Its library refuses a few valid signatures."""
    signer = P256MultibufferSigner(cast("Multibuffer", Native()))
    key = signer.open(*ecdsa_key())
    valid = signature_by(ecdsa_key()[0], Algorithm.ECDSA_P256_SHA256)(b"one")
    assert signer.verify([key, key], [b"one", b"two"], [valid, valid]) == [True, False]


@every_algorithm
def test_a_signature_is_verified_with_its_key_over_its_message(algorithm: Algorithm) -> None:
    signer = batch_signer(algorithm)
    first, second = (signer.open(key, private_key_to_bytes(key)) for key in some_keys(algorithm)[:2])
    rows = Rows(signer.width, bytearray(signer.sign([first, second], [1, 1], [b"one", b"two"])))
    one, two = rows.signatures
    assert signer.verify([first, second], [b"one", b"two"], [one, two]) == [True, True]
    assert signer.verify([first, second, first], [b"two", b"two", b"one"], [one, one, b""]) == [False] * 3
