"""The native extension against `cryptography` and the pure code, for all lengths and numbers, in both directions."""

from __future__ import annotations

from functools import cache
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, derive_private_key
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import example, given, settings
from hypothesis import strategies as st

from support.native import rows_of, verified
from vaultstream.api import Algorithm
from vaultstream.crypto.algorithms import Signer, Verifier, digest_verifier, signer
from vaultstream.crypto.batch_verifier import verify_digests
from vaultstream.crypto.low_s import HIGHEST_S, P256_ORDER
from vaultstream.crypto.multibuffer import Multibuffer, NativeKey
from vaultstream.crypto.rows import LEAST_WIDTH
from vaultstream.proof.merkle import leaf_hash, tree_root
from vaultstream.proof.statement import record_leaf

pytestmark = pytest.mark.unit

ECDSA_P256 = Algorithm.ECDSA_P256_SHA256
MOST = 70
"""Records of a call: more than a slice between two looks at a lease."""

scalars = st.integers(1, P256_ORDER - 1) | st.integers(1, 8) | st.integers(P256_ORDER - 8, P256_ORDER - 1)
digests = st.integers(1, 2**256 - 1) | st.integers(P256_ORDER - 8, P256_ORDER + 8)
digests = digests.filter(lambda number: number != P256_ORDER).map(lambda number: number.to_bytes(32))
"""SHA-256 of something; what is 0 modulo n is that of nothing known."""

record_ids = st.integers(-(2**63), 2**63 - 1) | st.text(max_size=80)


class Pair:
    """A key here and there."""

    def __init__(self, native: Multibuffer, scalar: int) -> None:
        private = derive_private_key(scalar, SECP256R1())
        public = private.public_key()
        self.native: NativeKey = native.Key(scalar.to_bytes(32))
        self.point = public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        self.public = public
        self.sign: Signer = signer(private, ECDSA_P256, deterministic=True)
        found = digest_verifier(public, ECDSA_P256)
        assert found
        self.is_valid: Verifier = found


@pytest.fixture(scope="module", name="pairs")
def three_keys(native: Multibuffer) -> list[Pair]:
    return [Pair(native, scalar) for scalar in (1, P256_ORDER - 1, 0xC9AFA9D845BA75166B5C215767B1D693)]


def shared_out(count: int, groups: int) -> list[int]:
    """Divides a number into groups of about the same size, some of which may be empty."""
    return [count * (group + 1) // groups - count * group // groups for group in range(groups)]


@pytest.mark.parametrize("count", range(1, MOST + 1))
def test_every_number_of_records_is_signed_and_verified_over_the_boundaries_of_keys(
    native: Multibuffer, pairs: list[Pair], count: int
) -> None:
    payloads = [b"%d " % index * (count * index % 100) for index in range(1, count + 1)]
    counts = shared_out(count, len(pairs))
    keys = [pair for pair, size in zip(pairs, counts, strict=True) for _ in range(size)]
    width = LEAST_WIDTH + count
    rows = rows_of(native.sign([pair.native for pair in pairs], counts, payloads, None, width), width)
    assert [digest for digest, _ in rows] == [sha256(payload).digest() for payload in payloads]
    assert all(pair.is_valid(signature, digest) for pair, (digest, signature) in zip(keys, rows, strict=True))
    assert len({decode_dss_signature(signature)[0] for _, signature in rows}) == count

    theirs = [pair.sign(payload) for pair, payload in zip(keys, payloads, strict=True)]
    theirs[count // 2] = rows[0][1] if count > 1 else b""  # over another payload
    answers = native.verify([pair.point for pair in pairs], counts, [digest for digest, _ in rows], theirs)
    assert answers == bytes(index != count // 2 for index in range(count))


@given(payload=st.binary(max_size=2000))
@example(payload=b"")
@settings(max_examples=50)
def test_a_payload_of_any_length_is_hashed_and_signed(
    native: Multibuffer, pairs: list[Pair], payload: bytes
) -> None:
    ((digest, signature),) = rows_of(native.sign([pairs[2].native], [1], [payload], None, 105), 105)
    assert native.sha256([payload]) == [digest] == [sha256(payload).digest()]
    assert pairs[2].is_valid(signature, digest)


def test_every_length_is_hashed_as_hashlib_does(native: Multibuffer) -> None:
    text = bytes(range(256)) * 3
    for start in range(3):  # also where nothing is aligned
        payloads = [text[start : start + length] for length in range(600)]
        assert native.sha256(payloads) == [sha256(payload).digest() for payload in payloads]


@given(scalar=scalars, nonce=scalars, digest=digests)
@example(scalar=1, nonce=1, digest=b"\0" * 31 + b"\1")
@example(scalar=P256_ORDER - 1, nonce=P256_ORDER - 1, digest=(P256_ORDER + 1).to_bytes(32))
@example(scalar=2, nonce=P256_ORDER // 2, digest=b"\xff" * 32)
@settings(max_examples=200)
def test_a_signature_is_what_the_standard_computes(
    native: Multibuffer, scalar: int, nonce: int, digest: bytes
) -> None:
    r = derive_private_key(nonce, SECP256R1()).public_key().public_numbers().x % P256_ORDER
    s = pow(nonce, -1, P256_ORDER) * (int.from_bytes(digest) + r * scalar) % P256_ORDER
    if s == 0:
        return
    answer = native.known_answer(scalar.to_bytes(32), nonce.to_bytes(32), digest)
    assert answer == encode_dss_signature(r, min(s, P256_ORDER - s))
    pair = _pair(native, scalar)
    assert pair.is_valid(answer, digest)
    assert verified(native, [pair.point], [1], [digest], [answer]) == b"\1"


def of_digits(digits: list[int]) -> int:
    """Returns the scalar that has these digits in the base of the tables."""
    return sum(digit << 7 * place for place, digit in enumerate(digits)) % P256_ORDER


factors = scalars | st.lists(st.sampled_from([0, 1, -1, 2, 63, -63, 64]), min_size=37, max_size=37).map(
    of_digits
)
"""What the generator or the key is multiplied with, the ends of all digits among them."""


LIKE_ANY = 0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721


@given(scalar=scalars | st.just(LIKE_ANY), of_generator=factors, of_key=factors)
@example(scalar=LIKE_ANY, of_generator=of_digits([64] * 36), of_key=of_digits([-63] * 36))
@example(scalar=LIKE_ANY, of_generator=of_digits([63, -63] * 18), of_key=of_digits([64, 0, 1] * 12))
@example(scalar=LIKE_ANY, of_generator=P256_ORDER - 1, of_key=P256_ORDER - 1)
@example(scalar=3, of_generator=of_digits([64] * 36), of_key=of_digits([-63] * 36))
@example(scalar=1, of_generator=64, of_key=65)
@settings(max_examples=200)
def test_a_sum_of_any_two_multiples_is_judged_as_by_cryptography(
    native: Multibuffer, scalar: int, of_generator: int, of_key: int
) -> None:
    """u1 G + u2 Q with u1 and u2 of one's choice; where the two meet, the last word is that of `cryptography`."""
    nonce = (of_generator + of_key * scalar) % P256_ORDER
    if not (nonce and of_generator and of_key):
        return
    r = derive_private_key(nonce, SECP256R1()).public_key().public_numbers().x % P256_ORDER
    s = r * pow(of_key, -1, P256_ORDER) % P256_ORDER
    digest = (of_generator * s % P256_ORDER).to_bytes(32)
    # With the lower s both factors are negative, and so is the sum: its x is the same.
    signature = encode_dss_signature(r, min(s, P256_ORDER - s))
    pair, least = _pair(native, scalar), native.table_least
    assert pair.is_valid(signature, digest)
    digests_of_it, signatures = [digest] * least, [signature] * least
    assert all(verify_digests([pair.public], [least], digests_of_it, signatures))
    if scalar == LIKE_ANY:  # no multiple of it by a digit is one of the generator
        assert native.verify([pair.point], [least], digests_of_it, signatures) == b"\1" * least
    other = bytes([digest[0] ^ 1]) + digest[1:]
    assert verified(native, [pair.point], [1], [other], [signature]) == bytes(
        [pair.is_valid(signature, other)]
    )


@pytest.mark.parametrize("count", [31, 32, 33, 255, 256, 257, 264, 520])
def test_every_number_of_records_by_a_key_is_verified_with_a_table(native: Multibuffer, count: int) -> None:
    """Beside a key with too few, and one of whose signatures every third is none."""
    pairs = [_pair(native, int.from_bytes(sha256(name).digest())) for name in (b"a", b"b", b"c")]
    payloads = [b"%d" % index for index in range(count)]
    digests = [sha256(payload).digest() for payload in payloads]
    of_each = [
        [signature for _, signature in rows_of(native.sign([pair.native], [count], payloads, None, 105), 105)]
        for pair in pairs
    ]
    wrong = [b"" if index % 3 == 0 else of_each[2][index] for index in range(count)]
    answers = native.verify(
        [pairs[0].point, pairs[1].point, pairs[2].point],
        [count, 3, count],
        [*digests, *digests[:3], *digests],
        [*of_each[0], *of_each[1][:3], *wrong],
    )
    assert answers == b"\1" * (count + 3) + bytes(index % 3 != 0 for index in range(count))
    for at in (0, 7, 8, count - 1):
        changed = [*digests[:at], sha256(b"another").digest(), *digests[at + 1 :]]
        answers = native.verify([pairs[0].point], [count], changed, of_each[0])
        assert answers == bytes(index != at for index in range(count))


def test_tables_of_more_keys_than_are_kept_are_those_of_their_keys(native: Multibuffer) -> None:
    """130 keys, then the first ones again, whose tables had to make room; one wrong signature by each."""
    least = native.table_least
    pairs = [_pair(native, scalar) for scalar in range(1000, 1130)]
    digest = sha256(b"text").digest()
    for pair in (*pairs, *pairs[:3], *pairs[:2]):
        signed = rows_of(native.sign([pair.native], [least], [b"text"] * least, None, 105), 105)
        signatures = [signature for _, signature in signed]
        digests_of_it = [digest] * (least - 1) + [sha256(b"another").digest()]
        answers = native.verify([pair.point], [least], digests_of_it, signatures)
        assert answers == b"\1" * (least - 1) + b"\0"


def test_a_signature_of_which_no_sum_is_computed_makes_no_other_one_invalid(native: Multibuffer) -> None:
    """Where two points meet, nothing is added in that lane: the last word is that of `cryptography`, for all of its signatures."""
    # The last digit of u1, with the generator, and the first one of u2, with this key, name the same point: the two are added.
    scalar, count = 1 << 252, 3 * native.table_least
    pair = _pair(native, scalar)
    rows = rows_of(native.sign([pair.native], [count], [b"text"] * count, None, 105), 105)
    digests_of_it, signatures = map(list, zip(*rows, strict=True))
    for other_digits in range(20):
        u1, u2 = (5 << 252) + other_digits, (9 << 252) + 5
        r = derive_private_key((u1 + u2 * scalar) % P256_ORDER, SECP256R1()).public_key().public_numbers().x
        s = r * pow(u2, -1, P256_ORDER) % P256_ORDER
        if s <= HIGHEST_S:
            break
    digests_of_it[17], signatures[17] = (u1 * s % P256_ORDER).to_bytes(32), encode_dss_signature(r, s)
    assert pair.is_valid(signatures[17], digests_of_it[17])
    assert native.verify([pair.point], [count], digests_of_it, signatures)[17] == 0
    assert all(verify_digests([pair.public], [count], digests_of_it, signatures))
    digests_of_it[25] = sha256(b"another").digest()
    found = verify_digests([pair.public], [count], digests_of_it, signatures)
    assert [index for index, is_valid in enumerate(found) if not is_valid] == [25]


@cache
def _pair(native: Multibuffer, scalar: int) -> Pair:
    return Pair(native, scalar)


@given(
    scalar=scalars,
    r=scalars | st.integers(0, 2**257),
    s=scalars | st.integers(0, 2**257) | st.integers(-4, 4).map(lambda offset: HIGHEST_S + offset),
    digest=digests,
)
@settings(max_examples=200)
def test_any_two_numbers_are_judged_as_by_cryptography(
    native: Multibuffer, *, scalar: int, r: int, s: int, digest: bytes
) -> None:
    pair, signature = _pair(native, scalar), encode_dss_signature(r, s)
    answers = verified(native, [pair.point], [1], [digest], [signature])
    assert answers[0] == pair.is_valid(signature, digest)


@given(data=st.data(), payload=st.binary(max_size=20))
@settings(max_examples=300)
def test_a_changed_signature_is_judged_as_by_cryptography(
    native: Multibuffer, pairs: list[Pair], data: st.DataObject, payload: bytes
) -> None:
    pair, digest = pairs[2], sha256(payload).digest()
    signature = bytearray(pair.sign(payload))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(signature) - 1))
        match data.draw(st.sampled_from(["set", "delete", "insert"])):
            case "set":
                signature[place] = data.draw(st.integers(0, 255))
            case "delete" if len(signature) > 1:
                del signature[place]
            case _:
                signature.insert(place, data.draw(st.sampled_from([0, 1, 2, 0x30, 0x7F, 0x80, 0x81, 0xFF])))
    answer = verified(native, [pair.point], [1], [digest], [bytes(signature)])
    assert answer[0] == pair.is_valid(bytes(signature), digest)


@given(
    batches=st.lists(
        st.lists(
            st.tuples(record_ids, st.binary(min_size=32, max_size=32), st.binary(max_size=300)),
            max_size=40,
        ),
        max_size=5,
    )
)
def test_roots_are_those_of_the_pure_code(
    native: Multibuffer, batches: list[list[tuple[int | str, bytes, bytes]]]
) -> None:
    width = 34 + 300
    rows = [
        b"".join(
            (digest + len(signature).to_bytes(2) + signature).ljust(width, b"\0")
            for _, digest, signature in batch
        )
        for batch in batches
    ]
    ids = [[record_id for record_id, _, _ in batch] for batch in batches]
    expected = [tree_root([leaf_hash(record_leaf(*record)) for record in batch]) for batch in batches]
    assert native.roots(ids, rows, width) == expected
    texts = [[str(each).encode() for each in own] for own in ids]
    assert native.roots(texts, list(map(bytearray, rows)), width) == expected
    for batch, own, tree in zip(batches, ids, expected, strict=True):
        assert native.root(own, [each[1] for each in batch], [each[2] for each in batch]) == tree
