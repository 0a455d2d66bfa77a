"""The two encodings of an ECDSA signature on P-256: DER, in which it is stored, and r ‖ s, which JOSE and WebCrypto take."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

NUMBER_BYTES = 32


def raw_ecdsa(signature: bytes) -> bytes:
    """Returns r and s of a signature in DER, 32 bytes each, as IEEE P1363 and RFC 7518 (section 3.4) concatenate them.

    Raises:
        ValueError: it is no DER of two numbers, or one of them is too large for P-256.
    """
    try:
        return b"".join(number.to_bytes(NUMBER_BYTES, "big") for number in decode_dss_signature(signature))
    except OverflowError:  # also of a negative number
        raise ValueError("A number of the signature does not fit into 32 bytes.") from None
