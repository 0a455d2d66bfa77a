"""The points that Ed25519 public keys may be: OpenSSL takes any 32 bytes.

Eight points of the curve have a small order: 1, 2, 4 or 8. Under such a "public key" one signature is valid for many
payloads or, for the neutral element, for every payload, and nobody needs a private key to make it. The points are recognized
by what they are, since [8]P is the neutral element only for them, and not by a list of their encodings.

The doubling formula is that of Bernstein et al., "Twisted Edwards Curves" (2008), section 6, with a = -1.
"""

from __future__ import annotations

_P = 2**255 - 19
_D = -121665 * pow(121666, -1, _P) % _P
_SIGN = 1 << 255


def point_fault(encoded: bytes) -> str | None:
    """Returns why a public key must not be used, as a clause; None if it may be.

    Args:
        encoded: the 32 bytes of RFC 8032, section 5.1.2.
    """
    number = int.from_bytes(encoded, "little")
    sign, y = number & _SIGN, (number & ~_SIGN) % _P
    yy = y * y % _P
    xx = (
        (yy - 1) * pow(_D * yy + 1, -1, _P) % _P
    )  # -x² + y² = 1 + d·x²·y²; the divisor is never 0, as -1 / d is no square
    if pow(xx, (_P - 1) // 2, _P) == _P - 1:
        return "it is not a point of the curve"
    if _has_small_order(xx, yy):
        return "it is a point of small order, under which anyone can make signatures"
    if y != number & ~_SIGN or (sign and not xx):
        return "its encoding is not the canonical one"
    return None


def _has_small_order(xx: int, yy: int) -> bool:
    """Whether [8]P is the neutral element (0, 1); a point is given by the squares of its coordinates, without their signs."""
    for _ in range(3):
        both = _D * xx * yy % _P
        # x(2P)² = (2xy)² / (1 + dx²y²)², y(2P)² = (x² + y²)² / (1 - dx²y²)²: d is no square, so no divisor is 0
        y = (xx + yy) * pow(1 - both, -1, _P) % _P
        xx, yy = 4 * xx * yy * pow(1 + both, -2, _P) % _P, y * y % _P
    return y == 1
