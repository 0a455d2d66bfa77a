from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from vaultstream.crypto.algorithms import public_key_from_bytes
from vaultstream.crypto.edwards_points import point_fault
from vaultstream.errors import CustodyError

pytestmark = pytest.mark.unit

P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P
ORDER = 2**252 + 27742317777372353535851937790883648493
"""Of the base point: the curve has 8 times as many points."""
SIGN = 1 << 255

Point = tuple[int, int]


def add(p: Point, q: Point) -> Point:
    """RFC 8032, section 5.1.4, in affine coordinates."""
    (x1, y1), (x2, y2) = p, q
    product = D * x1 * x2 * y1 * y2
    return (
        (x1 * y2 + x2 * y1) * pow(1 + product, -1, P) % P,
        (y1 * y2 + x1 * x2) * pow(1 - product, -1, P) % P,
    )


def times(scalar: int, point: Point) -> Point:
    result = (0, 1)
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point, scalar = add(point, point), scalar >> 1
    return result


def x_of(y: int) -> int | None:
    """RFC 8032, section 5.1.3: one of the two x of a y; None if there is none."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    root = pow(square, (P + 3) // 8, P)
    for x in (root, root * pow(2, (P - 1) // 4, P) % P):
        if x * x % P == square:
            return x
    return None


def encodings(point: Point) -> set[bytes]:
    """All that decode to a point if neither y < p nor the sign of x = 0 is checked."""
    x, y = point
    signs = (0, SIGN) if x == 0 else (SIGN * (x & 1),)
    return {
        (number | sign).to_bytes(32, "little") for number in (y, y + P) if number < SIGN for sign in signs
    }


def small_points() -> set[Point]:
    """The eight points of small order, as multiples of the part of a point that the base point's order leaves over."""
    for y in range(2, 100):
        x = x_of(y)
        if x is not None and times(4, generator := times(ORDER, (x, y))) != (0, 1):
            return {times(n, generator) for n in range(8)}
    raise AssertionError("no generator found")


def spki(raw: bytes) -> bytes:
    return Ed25519PublicKey.from_public_bytes(raw).public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )


SMALL = sorted(small_points())
SMALL_ENCODINGS = sorted(encoding for point in SMALL for encoding in encodings(point))


def test_there_are_eight_points_of_small_order_and_fourteen_encodings() -> None:
    assert (len(SMALL), len(SMALL_ENCODINGS)) == (8, 14)


@pytest.mark.parametrize("raw", SMALL_ENCODINGS, ids=bytes.hex)
def test_a_public_key_of_small_order_is_refused_in_each_encoding(raw: bytes) -> None:
    assert "small order" in (point_fault(raw) or "")
    with pytest.raises(CustodyError):
        public_key_from_bytes(spki(raw))


@given(seed=st.binary(min_size=32, max_size=32))
def test_the_public_key_of_a_private_key_is_accepted(seed: bytes) -> None:
    raw = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    assert point_fault(raw) is None
    public_key_from_bytes(spki(raw))


@given(y=st.integers(0, P - 1) | st.integers(0, 40), sign=st.sampled_from([0, SIGN]))
def test_32_bytes_are_accepted_exactly_if_they_are_a_point_of_large_order(y: int, sign: int) -> None:
    x = x_of(y)
    large = x is not None and times(8, (x, y)) != (0, 1)
    assert (point_fault((y | sign).to_bytes(32, "little")) is None) is large


@given(y=st.integers(P, SIGN - 1), sign=st.sampled_from([0, SIGN]))
def test_a_second_encoding_of_a_point_is_refused(y: int, sign: int) -> None:
    assert point_fault((y | sign).to_bytes(32, "little")) is not None
