"""What the native extension accepts as a signature: the kinds of Project Wycheproof, made for a key of our own."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from random import Random

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey, derive_private_key
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from support.native import verified
from vaultstream.api import Algorithm
from vaultstream.crypto.algorithms import digest_verifier, signer
from vaultstream.crypto.batch_verifier import verify_digests
from vaultstream.crypto.low_s import P256_ORDER
from vaultstream.crypto.multibuffer import Multibuffer, _decide

pytestmark = pytest.mark.unit

ECDSA_P256 = Algorithm.ECDSA_P256_SHA256
FIELD = 2**256 - 2**224 + 2**192 + 2**96 - 1
SCALAR = 0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721
PAYLOAD = b"sample"
DIGEST = sha256(PAYLOAD).digest()


def public(scalar: int) -> EllipticCurvePublicKey:
    return derive_private_key(scalar, SECP256R1()).public_key()


def point(scalar: int) -> bytes:
    return public(scalar).public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def x_of(scalar: int) -> int:
    return public(scalar).public_numbers().x


def low(s: int) -> int:
    return min(s % P256_ORDER, -s % P256_ORDER)


VALID = signer(derive_private_key(SCALAR, SECP256R1()), ECDSA_P256, deterministic=True)(PAYLOAD)
R, S = decode_dss_signature(VALID)


def number(value: bytes, *, tag: int = 2, size: int | None = None) -> bytes:
    return bytes([tag, len(value) if size is None else size]) + value


def sequence(*parts: bytes, tag: int = 0x30) -> bytes:
    body = b"".join(parts)
    return bytes([tag, len(body)]) + body


def plain(value: int) -> bytes:
    return value.to_bytes(value.bit_length() // 8 + 1)


R_DER, S_DER = number(plain(R)), number(plain(S))

REFUSED = {
    "no bytes": b"",
    "a sequence alone": b"\x30",
    "an empty sequence": b"\x30\0",
    "r alone": sequence(R_DER),
    "three numbers": sequence(R_DER, S_DER, S_DER),
    "no number": sequence(b"\x05\0", b"\x05\0"),
    "empty numbers": sequence(b"\2\0", b"\2\0"),
    "an empty s": sequence(R_DER, b"\2\0"),
    "r is 0": encode_dss_signature(0, S),
    "s is 0": encode_dss_signature(R, 0),
    "both are 0": encode_dss_signature(0, 0),
    "both are 1": encode_dss_signature(1, 1),
    "r is n": encode_dss_signature(P256_ORDER, S),
    "s is n": encode_dss_signature(R, P256_ORDER),
    "r + n": encode_dss_signature(R + P256_ORDER, S),
    "s + n": encode_dss_signature(R, S + P256_ORDER),
    "r + 2^256": encode_dss_signature(R + 2**256, S),
    "s + 2^256": encode_dss_signature(R, S + 2**256),
    "r is p": encode_dss_signature(FIELD, S),
    "r is n - 1": encode_dss_signature(P256_ORDER - 1, S),
    "the high s": encode_dss_signature(R, P256_ORDER - S),
    "r and s swapped": sequence(S_DER, R_DER),
    "a negative r": sequence(number((-R % 2**264).to_bytes(33)), S_DER),
    "a negative s": sequence(R_DER, number((-S % 2**256).to_bytes(32))),
    "r without its sign": sequence(number(R.to_bytes(32)), S_DER),
    "r with a zero more": sequence(number(b"\0" + plain(R)), S_DER),
    "s with a zero more": sequence(R_DER, number(b"\0" + plain(S))),
    "a byte after it": VALID + b"\0",
    "a byte in the sequence after s": sequence(R_DER, S_DER, b"\0"),
    "a sequence that is too long": VALID[:1] + bytes([VALID[1] + 1]) + VALID[2:],
    "a sequence that is too short": VALID[:1] + bytes([VALID[1] - 1]) + VALID[2:],
    "r that is too long": sequence(number(plain(R), size=len(plain(R)) + 1), S_DER),
    "r as long as anything": sequence(number(plain(R), size=0xFF), S_DER),
    "s that is too long": sequence(R_DER, number(plain(S), size=len(plain(S)) + 1)),
    "s that is too short": sequence(R_DER, number(plain(S), size=len(plain(S)) - 1)),
    "a long form of length": b"\x30\x81" + VALID[1:],
    "a longer form of length": b"\x30\x82\0" + VALID[1:],
    "an indefinite length": b"\x30\x80" + VALID[2:] + b"\0\0",
    "a long form of length in r": sequence(b"\2\x81" + R_DER[1:], S_DER),
    "a set": sequence(R_DER, S_DER, tag=0x31),
    "an octet string for r": sequence(number(plain(R), tag=4), S_DER),
    "an octet string for s": sequence(R_DER, number(plain(S), tag=4)),
    "r and s without DER": R.to_bytes(32) + S.to_bytes(32),
    "zeros": bytes(70),
    "many bytes": b"\x30" * 5000,
    **{f"{size} bytes of it": VALID[:size] for size in range(1, len(VALID))},
}


def test_the_valid_signature_is_accepted(native: Multibuffer) -> None:
    assert verified(native, [point(SCALAR)], [1], [DIGEST], [VALID]) == b"\1"


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_signature_or_another_form_of_it_is_refused(native: Multibuffer, kind: str) -> None:
    assert verified(native, [point(SCALAR)], [1], [DIGEST], [REFUSED[kind]]) == b"\0"
    theirs = digest_verifier(public(SCALAR), ECDSA_P256)
    assert theirs
    assert theirs(REFUSED[kind], DIGEST) is False


def test_each_lane_has_its_own_answer(native: Multibuffer) -> None:
    refused = list(REFUSED.values())
    mixed = [VALID if index % 3 == 0 else refused[index % len(refused)] for index in range(2 * len(refused))]
    answers = native.verify([point(SCALAR)], [len(mixed)], [DIGEST] * len(mixed), mixed)
    assert answers == bytes(index % 3 == 0 for index in range(len(mixed)))
    for lane in range(8):
        wrong = [DIGEST] * 8
        wrong[lane] = sha256(b"another").digest()
        assert native.verify([point(SCALAR)], [8], wrong, [VALID] * 8) == bytes(i != lane for i in range(8))


def test_each_group_is_verified_with_its_own_key(native: Multibuffer) -> None:
    points = [point(7), point(SCALAR), point(9), point(SCALAR)]
    assert native.verify(points, [1, 2, 0, 1], [DIGEST] * 4, [VALID] * 4) == b"\0\1\1\1"


@pytest.mark.parametrize("digest", [b"", DIGEST[:31], DIGEST + b"\0", bytes(64)])
def test_a_digest_of_another_length_has_no_valid_signature(native: Multibuffer, digest: bytes) -> None:
    assert verified(native, [point(SCALAR)], [1], [digest], [VALID]) == b"\0"


@pytest.mark.parametrize("digest", [0, P256_ORDER])
def test_a_digest_that_is_zero_can_be_signed_and_is_refused_without_a_failure_of_the_others(
    native: Multibuffer, digest: int
) -> None:
    zero = digest.to_bytes(32)
    r = x_of(5)
    signature = encode_dss_signature(
        r, low(pow(5, -1, P256_ORDER) * r * SCALAR)
    )  # valid, were there a payload; `cryptography` says so
    assert native.verify([point(SCALAR)], [3], [DIGEST, zero, DIGEST], [VALID, signature, VALID]) == b"\1\0\1"
    assert native.known_answer(SCALAR.to_bytes(32), (5).to_bytes(32), zero) == signature


def meeting(scalar: int, t: int) -> tuple[bytes, bytes, bytes]:
    """Returns a digest and its valid signature of which both parts of the sum are t G; and a digest of which they are opposite."""
    r = x_of(2 * t % P256_ORDER) % P256_ORDER
    signature = encode_dss_signature(r, low(pow(t, -1, P256_ORDER) * r * scalar))
    return ((r * scalar) % P256_ORDER).to_bytes(32), signature, (-r * scalar % P256_ORDER).to_bytes(32)


MEETING = [1, 2, 3, P256_ORDER - 1, P256_ORDER // 2, 0x1234567890ABCDEF]


@pytest.mark.parametrize("scalar", [7, SCALAR])
def test_a_sum_at_infinity_is_refused(native: Multibuffer, scalar: int) -> None:
    for t in MEETING:
        _, signature, digest = meeting(scalar, t)
        assert verified(native, [point(scalar)], [1], [digest], [signature]) == b"\0"


@pytest.fixture(params=["auto", "off"])
def setting(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("VAULTSTREAM_MULTIBUFFER", request.param)
    _decide.cache_clear()
    yield request.param
    _decide.cache_clear()


@pytest.mark.parametrize("scalar", [7, SCALAR])
def test_a_sum_of_two_equal_points_is_valid_though_the_library_may_fail_to_add_them(
    setting: str, scalar: int
) -> None:
    signed = [meeting(scalar, t) for t in MEETING]
    digests = [digest for digest, _, _ in signed] + [opposite for _, _, opposite in signed]
    signatures = [signature for _, signature, _ in signed] * 2
    counts = [2, 2 * len(signed) - 2]
    for times in (1, 32):  # with tables, too
        answers = verify_digests(
            [public(scalar)] * 2, [count * times for count in counts], digests * times, signatures * times
        )
        assert answers == ([True] * len(signed) + [False] * len(signed)) * times
    with pytest.raises(ValueError, match=r"count|zip"):
        verify_digests([public(scalar)], [1], digests, signatures)


def test_keys_near_the_order_of_the_group_verify(native: Multibuffer) -> None:
    for scalar in (1, 2, 3, P256_ORDER - 3, P256_ORDER - 2, P256_ORDER - 1):
        signature = signer(derive_private_key(scalar, SECP256R1()), ECDSA_P256)(PAYLOAD)
        assert verified(native, [point(scalar)], [1], [DIGEST], [signature]) == b"\1"
        assert verified(native, [point(-scalar % P256_ORDER)], [1], [DIGEST], [signature]) == b"\0"


def test_what_is_no_point_on_the_curve_is_refused(native: Multibuffer) -> None:
    good = point(SCALAR)
    x, y = int.from_bytes(good[1:33]), int.from_bytes(good[33:])

    def wrong(of_x: int, of_y: int, first: int = 4) -> bytes:
        return bytes([first]) + of_x.to_bytes(32) + of_y.to_bytes(32)

    twisted = [wrong(x, y ^ 1), wrong(x ^ 1, y), wrong(y, x), wrong(0, 0), wrong(FIELD, y), wrong(x, FIELD)]
    too_large = [wrong(5 + FIELD, y), wrong(2**256 - 1, 2**256 - 1)]
    forms = [wrong(x, y, first) for first in (0, 2, 3, 5, 6, 7)]
    lengths = [b"", b"\0", good[:64], good + b"\0", good[:33], good[1:]]
    for each in twisted + too_large + forms + lengths:
        with pytest.raises(ValueError, match="no uncompressed point"):
            native.verify([each], [1], [DIGEST], [VALID])
    assert native.verify([wrong(x, -y % FIELD)], [1], [DIGEST], [VALID]) == b"\0"


@pytest.mark.parametrize(
    ("counts", "digests", "signatures"), [([2], 1, 1), ([0], 1, 1), ([-1], 1, 1), ([1, 1], 1, 1), ([1], 1, 2)]
)
def test_numbers_of_signatures_that_do_not_fit_are_refused(
    native: Multibuffer, counts: list[int], digests: int, signatures: int
) -> None:
    with pytest.raises(ValueError, match=r"count|signatures"):
        native.verify([point(SCALAR)], counts, [DIGEST] * digests, [VALID] * signatures)


def test_rows_that_do_not_fit_have_no_root(native: Multibuffer) -> None:
    row = bytes(32) + (71).to_bytes(2) + bytes(71)
    assert len(native.roots([[1]], [row], 105)[0]) == 32
    for ids, rows, width in (
        ([[1]], [row[:-1]], 105),
        ([[1, 2]], [row], 105),
        ([[1]], [row], 33),
        ([[1]], [row], 0),
        ([[1]], [row], -105),
        ([[1]], [row, row], 105),
        ([[1], [2]], [row], 105),
        ([[1], []], [b"", row], 105),
        ([[1]], [bytes(32) + (72).to_bytes(2) + bytes(71)], 105),
        ([[1]], [b"\xff" * 105], 105),
    ):
        with pytest.raises(ValueError, match="row"):
            native.roots(ids, rows, width)
    with pytest.raises(TypeError, match="ids"):
        native.roots([[1.0]], [row], 105)  # type: ignore[list-item]
    with pytest.raises(TypeError, match="bytes-like"):
        native.roots([[1]], ["row"], 105)  # type: ignore[list-item]
    with pytest.raises(OverflowError):
        native.roots([[2**63]], [row], 105)
    for digests, signatures in (([], [b""]), ([bytes(32)], []), ([bytes(32)] * 2, [b""])):
        with pytest.raises(ValueError, match="digest and a signature"):
            native.root([1], digests, signatures)


def test_digests_are_those_of_hashlib_whatever_lengths_are_hashed_together(native: Multibuffer) -> None:
    """Sixteen at a time: each length of the last block, lanes that end before others, and fewer texts than lanes."""
    chance = Random(7)
    texts = [chance.randbytes(length) for length in range(200)]
    for payloads in (
        texts,
        chance.sample(texts, len(texts)),
        [chance.randbytes(chance.choice([0, 64, 500, 5000])) for _ in range(99)],
        *(texts[55 : 55 + count] for count in range(20)),
    ):
        assert native.sha256(payloads) == [sha256(payload).digest() for payload in payloads]
